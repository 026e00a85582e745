// Fixed-point arithmetic: hawse/risk/fixed.py says what each function does; the results are the same bits.
//
// Freestanding C++17: no floating point, allocation, exceptions, RTTI or library calls beyond what the
// compiler itself brings for 128-bit integers.
#pragma once

#include <stdint.h>

#include "hawse_risk_tables.h"

namespace hawse::risk {

using i64 = int64_t;
using u64 = uint64_t;
using i128 = __int128;
using u128 = unsigned __int128;

constexpr int kBits = 48;
constexpr i64 kOne = i64{1} << kBits;
constexpr int kFineBits = 58;
constexpr i64 kFine = i64{1} << kFineBits;
constexpr int kSpare = kFineBits - kBits;
constexpr int kWide = 80;
constexpr int kInner = 62;
constexpr i64 kMost = INT64_MAX;

enum class Rounding : int32_t { NEAREST = 0, FLOOR = 1, CEILING = 2, ZERO = 3 };

// value / 2**bits, to the nearest, halves up.
inline i128 shifted(i128 value, int bits) { return (value + (i128{1} << (bits - 1))) >> bits; }

// numerator / denominator, the latter above 0, to the nearest, halves up.
inline i128 quotient(i128 numerator, u64 denominator) {
    if (numerator >= 0) return i128((u128(numerator) + denominator / 2) / denominator);
    return -i128((u128(-numerator) + (denominator - 1) / 2) / denominator);
}

inline i128 shifted(i128 value, int bits, Rounding rounding) {
    if (rounding == Rounding::NEAREST) return shifted(value, bits);
    if (rounding == Rounding::CEILING || (rounding == Rounding::ZERO && value < 0)) return -(-value >> bits);
    return value >> bits;
}

i128 quotient(i128 numerator, u64 denominator, Rounding rounding);

// The value, or the end of int64 that it passes; the lower end is -kMost.
inline i64 held(i128 value) {
    if (value > kMost) return kMost;
    return value < -i128(kMost) ? -kMost : i64(value);
}

// Root, rounded down.
u64 root(u128 value);

// What a caller uses; where the code is not OK the result is not written.
Code mul(i64 a, i64 b, Rounding rounding, i64& result);
Code div(i64 a, i64 b, Rounding rounding, i64& result);
Code sqrt(i64 a, i64& result);
Code exp(i64 a, i64& result);
Code log(i64 a, i64& result);
i64 normal_density(i64 x);
i64 normal_distribution(i64 x);
Code inverse_normal_distribution(i64 p, i64& result);

// With 58 fractional bits.
i64 density_fine(i64 x);
i64 distribution_fine(i64 x);
// ln(a/b) of two whole numbers from 1 to 2**63 - 1.
i64 log_ratio_fine(i64 a, i64 b);

}  // namespace hawse::risk
