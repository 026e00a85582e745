#include "keccak.hpp"

#include <cstring>
#include <vector>

namespace hawse {

void keccak256_each(const uint8_t *messages, size_t size, size_t count, Hash *out) {
    const size_t blocks = size / KECCAK_RATE + 1, padded = blocks * KECCAK_RATE;
    std::vector<uint8_t> lanes(KECCAK_LANES * padded, 0);
    const uint8_t *at[KECCAK_LANES];
    for (size_t lane = 0; lane < KECCAK_LANES; ++lane) {
        uint8_t *message = &lanes[lane * padded];
        message[size] = 0x01;
        message[padded - 1] |= 0x80;
        at[lane] = message;
    }
    while (count) {
        const size_t some = count < KECCAK_LANES ? count : KECCAK_LANES;
        for (size_t lane = 0; lane < some; ++lane, messages += size)
            if (size)
                std::memcpy(&lanes[lane * padded], messages, size);
        keccak256_blocks(at, some, blocks, out);
        out += some, count -= some;
    }
}

} // namespace hawse
