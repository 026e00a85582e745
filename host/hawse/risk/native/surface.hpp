// Volatility surfaces: hawse/risk/surface.py, to the bit.
#pragma once

#include "options.hpp"

namespace hawse::risk {

constexpr u64 kMostNodes = 1024;
constexpr i64 kMostMoneyness = 16 * kOne;
constexpr i128 kMostVariance = i128{32} << kFineBits;
constexpr i64 kPriceTolerance = 8;
constexpr i64 kVarianceTolerance = i64{1} << kSpare;

// rows·columns volatilities, row by row; a row is an expiry.
struct Surface {
    const i64* times;
    const i64* moneyness;
    const i64* volatilities;
    u64 rows, columns;
};

struct Listing {
    i64 time, forward;
    const i64* strikes;
    u64 count;
};

enum class Kind : i64 { NONE = 0, BUTTERFLY = 1, SPREAD = 2, CALENDAR = 3 };

struct Arbitrage {
    Kind kind;
    i64 listing, strike, value, bound;
};

// Whether a surface may be used; the other functions take only such.
Code check(const Surface& surface);
// Total variance, with 58 fractional bits.
Code variance(const Surface& surface, i64 moneyness, i64 time, i64& result);
Code volatility(const Surface& surface, i64 moneyness, i64 time, i64& result);
// The first arbitrage on the listed strikes; kind NONE where there is none.
Code arbitrage(const Surface& surface, const Listing* listings, u64 count, Arbitrage& result);
Code distance(const Surface& a, const Surface& b, i64& result);
Code ruling(const Surface* surfaces, u64 count, i64& result);

}  // namespace hawse::risk
