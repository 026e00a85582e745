// Margin of a linear perpetual, in integers: hawse.risk.margin says what each function is.
//
// An amount that leaves int64 is noted, and what is reckoned with it is of no use; who reckons looks then.
#pragma once

#include "config.hpp"

namespace hawse::state {

// The first amount that was no int64.
struct Overflow {
    bool happened = false;
    i128 value = 0;

    i64 money(i128 amount) {
        if (amount == i64(amount))
            return i64(amount);
        if (!happened)
            happened = true, value = amount;
        return 0;
    }
};

// value · factor / divisor, in up to 192 bits between; rounded down or up.
inline u128 scaled(u128 value, u64 factor, u64 divisor, bool up) {
    if (!(value >> 64)) {
        const u128 product = u128(u64(value)) * factor;
        if (!(product >> 64))
            return u64(product) / divisor + (up && u64(product) % divisor);
        return product / divisor + (up && product % divisor);
    }
    const u128 low = u128(u64(value)) * factor, high = u128(u64(value >> 64)) * factor + (low >> 64);
    const u128 middle = (high % divisor) << 64 | u64(low);
    return ((high / divisor) << 64) + middle / divisor + (up && middle % divisor);
}

// Rounded towards minus infinity; the remainder is below the divisor.
inline i128 floored(i128 value, u64 divisor, u64 &remainder) {
    if (value == i64(value) && divisor <= u64(MONEY_MAX)) {
        const i64 quotient = i64(value) / i64(divisor), rest = i64(value) % i64(divisor);
        remainder = u64(rest < 0 ? rest + i64(divisor) : rest);
        return rest < 0 ? quotient - 1 : quotient;
    }
    const i128 quotient = value / i128(divisor), rest = value % i128(divisor);
    remainder = u64(rest < 0 ? rest + i128(divisor) : rest);
    return rest < 0 ? quotient - 1 : quotient;
}

inline u128 product(i32 price, i128 lots) { return u128(magnitude(i64(price))) * u128(magnitude(lots)); }

inline i64 notional(const Terms &t, i32 price, u32 lots, Overflow &overflow) {
    return overflow.money(i128(scaled(product(price, lots), t.numerator, t.denominator, true)));
}

inline u128 share(const Terms &t, u128 value, u32 ppm, bool up = true) {
    return scaled(value, u64(t.numerator) * ppm, u64(t.denominator) * PPM, up);
}

inline i64 initial_margin(const Terms &t, i32 price, i128 lots, Overflow &overflow) {
    return overflow.money(i128(share(t, product(price, lots), t.initial_margin_ppm)));
}

// What an order adds to two sums of its instrument, in tick·lots.
struct Weight {
    u128 loss, basis;
};

inline Weight order_weight(u32 side, i32 price, u32 lots, i32 mark) {
    const i64 worse = side ? i64(mark) - price : i64(price) - mark;
    return {u128(most<i64>(worse, 0)) * lots, u128(most(magnitude(i64(price)), magnitude(i64(mark)))) * lots};
}

inline i128 worst_of_three(i64 size, i64 buy, i64 sell) {
    const i128 held = size;
    return most(magnitude(held), most(magnitude(held + buy), magnitude(held - sell)));
}

inline i64 requirement(const Terms &t, i32 mark, i64 size, i64 buy, i64 sell, u128 loss, u128 basis,
                       Overflow &overflow) {
    const i128 held = initial_margin(t, mark, worst_of_three(size, buy, sell), overflow);
    const i128 lost = loss ? i128(scaled(loss, t.numerator, t.denominator, true)) : 0;
    const i128 fees = i128(share(t, basis, most(t.maker_fee_ppm, t.taker_fee_ppm)));
    return overflow.money(held + lost + fees);
}

inline bool pays_for_itself(const Terms &t, u32 side, i32 price, u32 lots, i32 mark, Overflow &overflow) {
    const Weight weight = order_weight(side, price, lots, mark);
    const i64 cost = requirement(t, mark, 0, 0, 0, weight.loss, weight.basis, overflow);
    return u128(cost) <= share(t, product(mark, lots), t.initial_margin_ppm, false);
}

inline i128 unrealised_exactly(const Terms &t, i128 size, i128 entry, i32 mark) {
    u64 remainder;
    return floored((size * mark - entry) * t.numerator, t.denominator, remainder);
}

// Funding that a position owes for an index that has changed by so much, rounded up, held within ± 2**64.
inline i128 unpaid(const Terms &t, i64 size, i128 change) {
    const u128 owed = u128(magnitude(i128(size))) * u128(magnitude(change));
    const u64 parts = u64(t.denominator) << FUNDING_BITS;
    const bool pays = (size > 0) == (change > 0);
    const u128 high = (owed >> 64) * t.numerator + (u128(u64(owed)) * t.numerator >> 64);
    const u128 quanta = high / parts ? u128{1} << 64 : scaled(owed, t.numerator, parts, pays);
    return pays ? i128(quanta) : -i128(quanta);
}

inline i128 initial_exactly(const Terms &t, i32 mark, i128 size) {
    return i128(share(t, product(mark, size), t.initial_margin_ppm));
}

inline i64 unrealised(const Terms &t, i64 size, i128 entry, i32 mark, Overflow &overflow) {
    u64 remainder;
    return overflow.money(floored((i128(size) * mark - entry) * t.numerator, t.denominator, remainder));
}

} // namespace hawse::state
