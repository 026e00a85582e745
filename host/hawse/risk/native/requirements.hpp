// Cross margin: hawse/risk/requirements.py, to the bit.
#pragma once

#include "options.hpp"

namespace hawse::risk {

constexpr i64 kPpm = 1'000'000;
constexpr i64 kMostPrice = i64{1} << 40;
constexpr i64 kMostLots = i64{1} << 56;
constexpr i128 kMostValue = i128{1} << 100;
constexpr u64 kMostTiers = 8;
constexpr u64 kMostHoldings = 128;

inline bool outside(i64 value, i64 least, i64 most) { return value < least || value > most; }
inline bool no_int64(i128 value) { return value != i64(value); }

// A divisor from 1 to 2**60 with its reciprocal, for dividends below 2**63: Granlund and Montgomery, "Division by
// invariant integers using multiplication", PLDI 1994. With 2**l >= value, magic is above 2**(63 + l)/value by 1
// at most, so the product above by less than 2**63 parts of 2**(63 + l): less than one value-th.
struct Divisor {
    u64 value, magic;
    int shift;
    u64 of(u64 dividend) const { return u64((u128{dividend} * magic) >> shift); }
};

constexpr Divisor divisor(u64 value) {
    const int l = value == 1 ? 0 : 64 - __builtin_clzll(value - 1);
    return {value, u64((u128{1} << (63 + l)) / value) + 1, 63 + l};
}

constexpr Divisor kByPpm = divisor(u64(kPpm));

// A quotient with its remainder.
struct Quotient {
    u128 whole;
    u64 rest;
};

// absolute·numerator / denominator as far as the quotient is below 2**112, else its whole is ~0.
Quotient long_quotient(u128 absolute, u64 numerator, u64 denominator);

// value·numerator/denominator as far as it is below 2**112; numerator below 2**32, value below 2**126.
inline Code scaled(i128 value, u64 numerator, const Divisor& denominator, Rounding rounding, i128& result) {
    const bool negative = value < 0;
    const u128 absolute = negative ? -u128(value) : u128(value);
    Quotient found;
    u64 product;
    if (u64(absolute >> 64) == 0 && !__builtin_mul_overflow(u64(absolute), numerator, &product) &&
        product >> 63 == 0) {
        const u64 whole = denominator.of(product);
        found = {whole, product - whole * denominator.value};
    } else {
        found = long_quotient(absolute, numerator, denominator.value);
        if (~found.whole == 0) return Code::OVERFLOW;
    }
    if (rounding == Rounding::NEAREST) {
        const u64 rest = found.rest, other = denominator.value - rest;
        found.whole += negative ? rest > other : rest >= other;
    } else if (rounding == (negative ? Rounding::FLOOR : Rounding::CEILING)) {
        found.whole += found.rest != 0;
    }
    result = negative ? -i128(found.whole) : i128(found.whole);
    return Code::OK;
}

// The same as an int64.
inline Code scaled(i128 value, u64 numerator, const Divisor& denominator, Rounding rounding, i64& result) {
    i128 found = 0;
    if (const Code code = scaled(value, numerator, denominator, rounding, found); code != Code::OK) return code;
    if (no_int64(found)) return Code::OVERFLOW;
    result = i64(found);
    return Code::OK;
}

// An int128 in an array of int64.
struct Wide {
    u64 low;
    i64 high;
    i128 value() const { return i128((u128(u64(high)) << 64) | low); }
};

inline Wide wide(i128 value) { return {u64(value), i64(value >> 64)}; }

enum class Instruments : i64 { PERPETUAL = 0, FUTURE = 1, CALL = 2, PUT = 3 };

struct Terms {
    Instruments kind;
    i64 numerator, denominator, maintenance, fee, lower, upper, strike, short_part, short_floor, tiers;
    i64 edges[kMostTiers], multiples[kMostTiers];
    bool option() const { return kind >= Instruments::CALL; }
};

struct Market {
    i64 mark, underlying, fair, fraction, open_interest, valid;
};

// Terms and market with what follows from both: made once per mark.
struct Instrument {
    Terms terms;
    Market market;
    i64 rates[kMostTiers];  // of each tier, in ppm
    u128 below[kMostTiers];  // requirement of the tiers below, in quanta·ppm
    Divisor denominator, denominator_ppm;
    i64 unit;  // of a short option, in price units·ppm
    i64 unit_maintenance;
};

struct Holding {
    i64 instrument, size, funding, buy, sell;
    Wide entry, loss, basis;
};

struct Needs {
    i64 initial, surcharged, maintenance;
};

struct Cross {
    i64 equity, initial, surcharged, maintenance;
};

struct Order {
    i64 holding, side, price, lots;
};

// Where the code is not OK nothing is written.
Code prepare(const Terms& terms, const Market& market, Instrument& result);
Code unrealised(const Instrument& instrument, i64 price, const Holding& holding, i64& result);
Code requirement(const Instrument& instrument, const Holding& holding, Needs& result);
// Holdings name prepared instruments.
Code cross(i64 collateral, const Instrument* instruments, const Holding* held, u64 count, Cross& result);
Code withdrawable(i64 collateral, const Instrument* instruments, const Holding* held, u64 count, bool covered,
                  i64& result);
Code free_with(i64 collateral, const Instrument* instruments, const Holding* held, u64 count, const Order& order,
               i64& result);

}  // namespace hawse::risk
