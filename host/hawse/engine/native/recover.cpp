// Who signed: libsecp256k1, which the caller has, in a loop without the interpreter.
#include <cstring>

#include "c_api.h"
#include "keccak.hpp"

namespace {

constexpr size_t SIGNATURE = 65, DIGEST = 32, ADDRESS = 20, POINT = 65;
constexpr unsigned UNCOMPRESSED = 2;
// Half of the group's order; a higher s is no signature here.
constexpr uint8_t HALF_ORDER[32] = {0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                    0xff, 0xff, 0xff, 0xff, 0xff, 0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4,
                                    0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0};

// The uncompressed public key behind a signature.
bool recover(const hawse_secp256k1 &library, const uint8_t *signature, const uint8_t *digest, uint8_t *point) {
    alignas(16) uint8_t parsed[65], key[64];
    size_t size = POINT;
    return memcmp(signature + 32, HALF_ORDER, 32) <= 0 &&
           library.parse(library.context, parsed, signature, signature[64]) &&
           library.recover(library.context, key, parsed, digest) &&
           library.serialize(library.context, point, &size, key, UNCOMPRESSED);
}

} // namespace

void hawse_recover(const hawse_secp256k1 *library, const uint8_t *signatures, const uint8_t *digests, size_t count,
                   uint8_t *addresses, uint8_t *good) {
    for (size_t n = 0; n < count; ++n) {
        uint8_t point[POINT];
        good[n] = recover(*library, signatures + SIGNATURE * n, digests + DIGEST * n, point);
        if (!good[n])
            continue;
        const hawse::Hash hash = hawse::keccak256(point + 1, POINT - 1);
        memcpy(addresses + ADDRESS * n, hash.bytes + DIGEST - ADDRESS, ADDRESS);
    }
}
