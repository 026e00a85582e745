#include "keccak.hpp"

#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hawse {
namespace {

#define HAWSE_INLINE inline __attribute__((always_inline))

constexpr uint64_t ROUND_CONSTANTS[24] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000, 0x000000000000808b,
    0x0000000080000001, 0x8000000080008081, 0x8000000000008009, 0x000000000000008a, 0x0000000000000088,
    0x0000000080008009, 0x000000008000000a, 0x000000008000808b, 0x800000000000008b, 0x8000000000008089,
    0x8000000000008003, 0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008};

// Keccak-f[1600] on words of type T: one state in 64-bit words, or several side by side in vectors of them.
template <class T> HAWSE_INLINE void permute(T *s) {
#define ROL(x, n) (((x) << (n)) | ((x) >> (64 - (n))))
#define XOR3(x, y, z) ((x) ^ (y) ^ (z))
#define MIX(word, column, rotated, sum) ((word) ^ (sum))
#define CHI(x, y, z) ((x) ^ (~(y) & (z)))
#define ROUND(x, constant) ((x) ^ (constant))
#include "keccak_rounds.hpp"
#undef ROL
#undef XOR3
#undef MIX
#undef CHI
#undef ROUND
}

HAWSE_INLINE uint64_t word(const uint8_t *at) {
    uint64_t value;
    std::memcpy(&value, at, 8);
    return value;
}

void absorb(uint64_t *state, const uint8_t *block) {
    for (size_t i = 0; i < KECCAK_RATE / 8; ++i)
        state[i] ^= word(block + 8 * i);
    permute(state);
}

// T is a vector of `sizeof(T) / 8` words; lanes beyond `count` repeat the first message and are thrown away.
template <class T>
HAWSE_INLINE void side_by_side(const uint8_t *const *messages, size_t count, size_t blocks, Hash *out) {
    constexpr size_t lanes = sizeof(T) / 8;
    const uint8_t *at[lanes];
    for (size_t lane = 0; lane < lanes; ++lane)
        at[lane] = messages[lane < count ? lane : 0];
    T state[25];
    std::memset(state, 0, sizeof state);
    for (size_t block = 0; block < blocks; ++block) {
        for (size_t i = 0; i < KECCAK_RATE / 8; ++i) {
            T input;
            for (size_t lane = 0; lane < lanes; ++lane)
                input[lane] = word(at[lane] + block * KECCAK_RATE + 8 * i);
            state[i] ^= input;
        }
        permute(state);
    }
    for (size_t lane = 0; lane < count; ++lane)
        for (size_t i = 0; i < 4; ++i) {
            const uint64_t value = state[i][lane];
            std::memcpy(out[lane].bytes + 8 * i, &value, 8);
        }
}

#if defined(__x86_64__)
typedef uint64_t Words4 __attribute__((vector_size(32)));
typedef uint64_t Words8 __attribute__((vector_size(64)));

__attribute__((target("avx2"))) void four(const uint8_t *const *messages, size_t count, size_t blocks, Hash *out) {
    side_by_side<Words4>(messages, count, blocks, out);
}

__attribute__((target("avx512f"))) void eight(const uint8_t *const *messages, size_t count, size_t blocks,
                                              Hash *out) {
    side_by_side<Words8>(messages, count, blocks, out);
}

// What AVX-512 has for any function of three bits does the work of two instructions.
__attribute__((target("avx512f"))) void eight_states(uint64_t (*states)[KECCAK_LANES]) {
    using T = Words8;
    T *const s = reinterpret_cast<T *>(states);
#define ROL(x, n) (((x) << (n)) | ((x) >> (64 - (n))))
#define OF_THREE(x, y, z, bits) T(_mm512_ternarylogic_epi64(__m512i(x), __m512i(y), __m512i(z), bits))
#define XOR3(x, y, z) OF_THREE(x, y, z, 0x96)
#define MIX(word, column, rotated, sum) XOR3(word, column, rotated)
#define CHI(x, y, z) OF_THREE(x, y, z, 0xD2)
#define ROUND(x, constant) ((x) ^ (constant))
#include "keccak_rounds.hpp"
#undef ROL
#undef XOR3
#undef MIX
#undef CHI
#undef ROUND
#undef OF_THREE
}

__attribute__((target("avx2"))) void four_states(uint64_t (*states)[KECCAK_LANES], size_t count) {
    for (size_t first = 0; first < count; first += 4) {
        Words4 state[25];
        for (size_t i = 0; i < 25; ++i)
            std::memcpy(&state[i], &states[i][first], sizeof state[i]);
        permute(state);
        for (size_t i = 0; i < 25; ++i)
            std::memcpy(&states[i][first], &state[i], sizeof state[i]);
    }
}

#ifndef HAWSE_KECCAK_WIDTH
#define HAWSE_KECCAK_WIDTH 8 // widest path to use; tests narrow it
#endif
const bool HAS_FOUR = HAWSE_KECCAK_WIDTH >= 4 && __builtin_cpu_supports("avx2");
const bool HAS_EIGHT = HAWSE_KECCAK_WIDTH >= 8 && __builtin_cpu_supports("avx512f");
#endif

} // namespace

Hash keccak256(const uint8_t *data, size_t size) {
    uint64_t state[25] = {};
    for (; size >= KECCAK_RATE; data += KECCAK_RATE, size -= KECCAK_RATE)
        absorb(state, data);
    uint8_t last[KECCAK_RATE] = {};
    if (size)
        std::memcpy(last, data, size);
    last[size] = 0x01;
    last[KECCAK_RATE - 1] |= 0x80;
    absorb(state, last);
    Hash hash;
    std::memcpy(hash.bytes, state, 32);
    return hash;
}

void keccak256_blocks(const uint8_t *const *messages, size_t count, size_t blocks, Hash *out) {
#if defined(__x86_64__)
    if (HAS_EIGHT && count > 1)
        return eight(messages, count, blocks, out);
    for (; HAS_FOUR && count > 1;) {
        const size_t some = count < 4 ? count : 4;
        four(messages, some, blocks, out);
        messages += some, out += some, count -= some;
    }
#endif
    for (; count; ++messages, ++out, --count) {
        uint64_t state[25] = {};
        for (size_t block = 0; block < blocks; ++block)
            absorb(state, *messages + block * KECCAK_RATE);
        std::memcpy(out->bytes, state, 32);
    }
}

size_t keccak256_width() {
#if defined(__x86_64__)
    return HAS_EIGHT ? 8 : HAS_FOUR ? 4 : 1;
#else
    return 1;
#endif
}

void keccak_permute_lanes(uint64_t (*states)[KECCAK_LANES], size_t count) {
#if defined(__x86_64__)
    if (HAS_EIGHT && count > 1)
        return eight_states(states);
    if (HAS_FOUR && count > 1)
        return four_states(states, count);
#endif
    for (size_t lane = 0; lane < count; ++lane) {
        uint64_t state[25];
        for (size_t i = 0; i < 25; ++i)
            state[i] = states[i][lane];
        permute(state);
        for (size_t i = 0; i < 25; ++i)
            states[i][lane] = state[i];
    }
}

} // namespace hawse
