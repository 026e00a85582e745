#include "keccak.hpp"

#include <cstring>

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
// Everything is in named variables, so that a compiler can keep what fits in registers.
template <class T> HAWSE_INLINE void permute(T *s) {
    T a0 = s[0], a1 = s[1], a2 = s[2], a3 = s[3], a4 = s[4], a5 = s[5], a6 = s[6], a7 = s[7], a8 = s[8], a9 = s[9],
      a10 = s[10], a11 = s[11], a12 = s[12], a13 = s[13], a14 = s[14], a15 = s[15], a16 = s[16], a17 = s[17],
      a18 = s[18], a19 = s[19], a20 = s[20], a21 = s[21], a22 = s[22], a23 = s[23], a24 = s[24];
#define ROL(x, n) (((x) << (n)) | ((x) >> (64 - (n))))
#define CHI(x, y, z) ((x) ^ (~(y) & (z)))
    for (uint64_t constant : ROUND_CONSTANTS) {
        const T c0 = a0 ^ a5 ^ a10 ^ a15 ^ a20, c1 = a1 ^ a6 ^ a11 ^ a16 ^ a21, c2 = a2 ^ a7 ^ a12 ^ a17 ^ a22,
                c3 = a3 ^ a8 ^ a13 ^ a18 ^ a23, c4 = a4 ^ a9 ^ a14 ^ a19 ^ a24;
        const T d0 = c4 ^ ROL(c1, 1), d1 = c0 ^ ROL(c2, 1), d2 = c1 ^ ROL(c3, 1), d3 = c2 ^ ROL(c4, 1),
                d4 = c3 ^ ROL(c0, 1);
        // theta, rho and pi: the word at (x, y) goes, rotated, to (y, 2x + 3y)
        const T b0 = a0 ^ d0, t1 = a1 ^ d1, t2 = a2 ^ d2, t3 = a3 ^ d3, t4 = a4 ^ d4;
        const T t5 = a5 ^ d0, t6 = a6 ^ d1, t7 = a7 ^ d2, t8 = a8 ^ d3, t9 = a9 ^ d4;
        const T t10 = a10 ^ d0, t11 = a11 ^ d1, t12 = a12 ^ d2, t13 = a13 ^ d3, t14 = a14 ^ d4;
        const T t15 = a15 ^ d0, t16 = a16 ^ d1, t17 = a17 ^ d2, t18 = a18 ^ d3, t19 = a19 ^ d4;
        const T t20 = a20 ^ d0, t21 = a21 ^ d1, t22 = a22 ^ d2, t23 = a23 ^ d3, t24 = a24 ^ d4;
        const T b10 = ROL(t1, 1), b20 = ROL(t2, 62), b5 = ROL(t3, 28), b15 = ROL(t4, 27);
        const T b16 = ROL(t5, 36), b1 = ROL(t6, 44), b11 = ROL(t7, 6), b21 = ROL(t8, 55), b6 = ROL(t9, 20);
        const T b7 = ROL(t10, 3), b17 = ROL(t11, 10), b2 = ROL(t12, 43), b12 = ROL(t13, 25), b22 = ROL(t14, 39);
        const T b23 = ROL(t15, 41), b8 = ROL(t16, 45), b18 = ROL(t17, 15), b3 = ROL(t18, 21), b13 = ROL(t19, 8);
        const T b14 = ROL(t20, 18), b24 = ROL(t21, 2), b9 = ROL(t22, 61), b19 = ROL(t23, 56), b4 = ROL(t24, 14);
        a0 = CHI(b0, b1, b2) ^ constant, a1 = CHI(b1, b2, b3), a2 = CHI(b2, b3, b4), a3 = CHI(b3, b4, b0);
        a4 = CHI(b4, b0, b1), a5 = CHI(b5, b6, b7), a6 = CHI(b6, b7, b8), a7 = CHI(b7, b8, b9);
        a8 = CHI(b8, b9, b5), a9 = CHI(b9, b5, b6), a10 = CHI(b10, b11, b12), a11 = CHI(b11, b12, b13);
        a12 = CHI(b12, b13, b14), a13 = CHI(b13, b14, b10), a14 = CHI(b14, b10, b11), a15 = CHI(b15, b16, b17);
        a16 = CHI(b16, b17, b18), a17 = CHI(b17, b18, b19), a18 = CHI(b18, b19, b15), a19 = CHI(b19, b15, b16);
        a20 = CHI(b20, b21, b22), a21 = CHI(b21, b22, b23), a22 = CHI(b22, b23, b24), a23 = CHI(b23, b24, b20);
        a24 = CHI(b24, b20, b21);
    }
#undef ROL
#undef CHI
    s[0] = a0, s[1] = a1, s[2] = a2, s[3] = a3, s[4] = a4, s[5] = a5, s[6] = a6, s[7] = a7, s[8] = a8, s[9] = a9;
    s[10] = a10, s[11] = a11, s[12] = a12, s[13] = a13, s[14] = a14, s[15] = a15, s[16] = a16, s[17] = a17;
    s[18] = a18, s[19] = a19, s[20] = a20, s[21] = a21, s[22] = a22, s[23] = a23, s[24] = a24;
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

__attribute__((target("avx512f"))) void eight_states(uint64_t (*states)[KECCAK_LANES]) {
    permute(reinterpret_cast<Words8 *>(states));
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
