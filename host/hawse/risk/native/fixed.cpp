#include "fixed.hpp"

namespace hawse::risk {
namespace {

constexpr i64 kFarBits = 9;
constexpr i128 kFar = i128{kFarBits} << kFineBits;
constexpr i128 kVanishing = -(i128{41} << kFineBits);
constexpr i128 kLn2 = i128((u128{table::kLn2High} << 64) | table::kLn2Low);

// Σ coefficients[n]·hⁿ by Horner's rule, every product rounded to Bits.
template <int Bits, int Count>
inline i64 polynomial(const i64 (&coefficients)[Count], i64 h) {
    i64 total = coefficients[Count - 1];
    for (int n = Count - 2; n >= 0; --n) total = coefficients[n] + i64(shifted(i128{total} * h, Bits));
    return total;
}

// exp(y) with Bits fractional bits; y has 58.
template <int Bits>
inline i128 power(i128 y) {
    if (y < kVanishing) return 0;
    const int k = int(shifted((y >> 26) * table::kInverseLn2, 64));
    const i64 rest = i64(shifted(y * (i128{1} << (kWide - kFineBits)) - k * kLn2, kWide - kInner));
    const i64 j = i64(shifted(rest, kInner - 6));
    const i64 h = rest - j * (i64{1} << (kInner - 6));
    const i128 found = i128{table::kExp[j + 23]} * polynomial<kInner>(table::kExpSeries, h);
    const int shift = 2 * kInner - Bits - k;
    return shift > 126 ? 0 : shifted(found, shift);
}

// Logarithm of mantissa / 2**63 · 2**exponent with 80 fractional bits; the mantissa has 64 bits.
inline i128 log_wide(u64 mantissa, int exponent) {
    const i64* row = table::kLog[(mantissa >> 56) - 128];
    const i64 z = i64(shifted(i128(u128{mantissa} * u64(row[0])) - (i128{1} << 79), 79 - kInner));
    const i64 series = i64(shifted(i128{polynomial<kInner>(table::kLogSeries, z)} * z, kInner));
    return exponent * kLn2 + i128{row[1] + series} * (i128{1} << (kWide - kInner));
}

inline int length(u64 value) { return 64 - __builtin_clzll(value); }

// The logarithm of a, which is above 0.
inline i128 log_of(i64 a) {
    const int exponent = length(u64(a)) - 1;
    return log_wide(u64(a) << (63 - exponent), exponent - kBits);
}

// 1 − Φ(x), x not negative.
inline i64 tail(i64 x) {
    if (x >= kFar) return 0;
    const i64 row = i64(shifted(x, kFineBits - 4));
    const i64 found = polynomial<kFineBits>(table::kNormal[row], x - (row << (kFineBits - 4)));
    return found < 0 ? 0 : found;
}

// Root of a number of 63 or 64 bits, rounded down.
inline u64 root64(u64 n) {
    u64 u = 1 + (n >> 62);
    u = (u << 1) + (n >> 59) / u;
    u = (u << 3) + (n >> 53) / u;
    u = (u << 7) + (n >> 41) / u;
    u = (u << 15) + (n >> 17) / u;  // one too large at most
    return u > UINT32_MAX || u * u > n ? u - 1 : u;
}

inline Code within_int64(i128 value, i64& result) {
    if (value > kMost || value < INT64_MIN) return Code::OVERFLOW;
    result = i64(value);
    return Code::OK;
}

}  // namespace

i128 quotient(i128 numerator, u64 denominator, Rounding rounding) {
    if (rounding == Rounding::NEAREST) return quotient(numerator, denominator);
    const bool negative = numerator < 0;
    const u128 magnitude = negative ? u128(-numerator) : u128(numerator);
    const bool away = rounding == (negative ? Rounding::FLOOR : Rounding::CEILING);
    const i128 found = i128((magnitude + (away ? denominator - 1 : 0)) / denominator);
    return negative ? -found : found;
}

// Zimmermann, "Karatsuba square root", INRIA RR-3805 (1999): the root of the upper half, and one division.
u64 root(u128 value) {
    if (value == 0) return 0;
    const u64 high = u64(value >> 64);
    const int zeros = (high ? __builtin_clzll(high) : 64 + __builtin_clzll(u64(value))) & ~1;
    const u128 n = value << zeros;
    const u64 upper = u64(n >> 64), lower = u64(n);
    const u64 s = root64(upper), rest = upper - s * s;
    const u64 q = ((rest << 31) | (lower >> 33)) / s;
    const u64 left = (rest << 32) + (lower >> 32) - 2 * q * s;
    u128 found = (u128{s} << 32) + q;
    if ((i128{left} << 32) + i128{lower & UINT32_MAX} < i128(u128{q} * q)) found -= 1;
    return u64(found) >> (zeros / 2);
}

Code mul(i64 a, i64 b, Rounding rounding, i64& result) {
    return within_int64(shifted(i128{a} * b, kBits, rounding), result);
}

Code div(i64 a, i64 b, Rounding rounding, i64& result) {
    if (b == 0) return Code::ARGUMENT;
    const i128 numerator = i128{a} * kOne;
    const u64 denominator = b < 0 ? u64(-i128{b}) : u64(b);
    return within_int64(quotient(b < 0 ? -numerator : numerator, denominator, rounding), result);
}

Code sqrt(i64 a, i64& result) {
    if (a < 0) return Code::ARGUMENT;
    result = i64(root(u128(a) << kBits));
    return Code::OK;
}

Code exp(i64 a, i64& result) {
    if (a > 11 * kOne) return Code::OVERFLOW;
    return within_int64(power<kBits>(i128{a} * (1 << kSpare)), result);
}

Code log(i64 a, i64& result) {
    if (a < 1) return Code::ARGUMENT;
    result = i64(shifted(log_of(a), kWide - kBits));
    return Code::OK;
}

i64 normal_density(i64 x) {
    if (x >= kFarBits * kOne || x <= -kFarBits * kOne) return 0;
    return i64(shifted(density_fine(x * (1 << kSpare)), kSpare));
}

i64 normal_distribution(i64 x) {
    if (x >= kFarBits * kOne) return kOne;
    if (x <= -kFarBits * kOne) return 0;
    return i64(shifted(distribution_fine(x * (1 << kSpare)), kSpare));
}

Code inverse_normal_distribution(i64 p, i64& result) {
    if (p < 1 || p > kOne - 1) return Code::ARGUMENT;
    const i64 tail = p < kOne - p ? p : kOne - p;
    const i64 u = i64(root(u128(-2 * log_of(tail)) << (2 * kFineBits - kWide)));
    const i64 row = i64(shifted(u, kFineBits - 4));
    const i64 x = polynomial<kFineBits>(table::kInverse[row - 17], u - (row << (kFineBits - 4)));
    const i64 nearest = i64(shifted(x, kSpare));
    result = p <= kOne / 2 ? -nearest : nearest;
    return Code::OK;
}

i64 density_fine(i64 x) {
    if (x >= kFar || x <= -kFar) return 0;
    const i128 found = power<kInner>(-shifted(i128{x} * x, kFineBits + 1));
    return i64(shifted(found * table::kInverseSqrt2Pi, 2 * kInner - kFineBits));
}

i64 distribution_fine(i64 x) { return x < 0 ? tail(-x) : kFine - tail(x); }

i64 log_ratio_fine(i64 a, i64 b) {
    const int exponent = length(u64(a)) - length(u64(b));
    const u64 above = u64(a) << (64 - length(u64(a))), below = u64(b) << (64 - length(u64(b)));
    const bool less = above < below;
    const u64 mantissa = u64((u128{above} << (less ? 64 : 63)) / below);
    return i64(shifted(log_wide(mantissa, exponent - less), kWide - kFineBits));
}

}  // namespace hawse::risk
