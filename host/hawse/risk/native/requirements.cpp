#include "requirements.hpp"

namespace hawse::risk {
namespace {

inline i64 larger(i64 a, i64 b) { return a > b ? a : b; }
inline i128 larger(i128 a, i128 b) { return a > b ? a : b; }
inline i64 magnitude(i64 a) { return a < 0 ? -a : a; }

// value / by, rounded up.
inline u128 up(u128 value, const Divisor& by) {
    const u128 raised = value + (by.value - 1);
    return raised >> 63 ? raised / by.value : by.of(u64(raised));
}

Code check(const Terms& t) {
    if (outside(i64(t.kind), 0, 3)) return Code::ARGUMENT;
    if (outside(t.numerator, 1, UINT32_MAX) || outside(t.denominator, 1, UINT32_MAX)) return Code::ARGUMENT;
    if (outside(t.tiers, 1, kMostTiers)) return Code::SHAPE;
    if (t.edges[0] != 0) return Code::ARGUMENT;
    for (i64 n = 1; n < t.tiers; ++n) {
        if (t.edges[n] <= t.edges[n - 1]) return Code::ORDER;
        if (outside(t.multiples[n], t.multiples[n - 1], i64{1} << 32)) return Code::ARGUMENT;
    }
    if (outside(t.multiples[0], 1, i64{1} << 32)) return Code::ARGUMENT;
    if (outside(t.maintenance, 1, kPpm) || outside(t.fee, 0, kPpm)) return Code::ARGUMENT;
    if (outside(t.lower, 0, kMostLots) || outside(t.upper, t.lower + 1, kMostLots)) return Code::ARGUMENT;
    if (outside(t.strike, 1, kMostPrice)) return Code::STRIKE;
    if (outside(t.short_floor, 0, kPpm) || outside(t.short_part, t.short_floor, kPpm)) return Code::ARGUMENT;
    return Code::OK;
}

Code check(const Market& m) {
    if (outside(m.mark, 0, kMostPrice) || outside(m.underlying, 1, kMostPrice)) return Code::PRICE;
    if (outside(m.fair, 0, kMostPrice)) return Code::PRICE;
    if (outside(m.fraction, 1, kPpm)) return Code::ARGUMENT;
    return m.open_interest < 0 ? Code::LOTS : Code::OK;
}

Code check(const Holding& h) {
    if (outside(h.size, -kMostLots, kMostLots)) return Code::LOTS;
    if (outside(h.buy, 0, kMostLots) || outside(h.sell, 0, kMostLots)) return Code::LOTS;
    const i128 entry = h.entry.value(), loss = h.loss.value(), basis = h.basis.value();
    if (entry < -kMostValue || entry > kMostValue) return Code::ARGUMENT;
    if (loss < 0 || loss > kMostValue || basis < 0 || basis > kMostValue) return Code::ARGUMENT;
    return Code::OK;
}

Code notional(const Instrument& instrument, i64 price, i64 lots, i64& result) {
    return scaled(i128{magnitude(lots)} * price, u64(instrument.terms.numerator), instrument.denominator,
                  Rounding::CEILING, result);
}

i64 tiered(const Instrument& instrument, i64 value) {
    i64 n = instrument.terms.tiers - 1;
    while (value < instrument.terms.edges[n]) --n;
    const u128 top = u128(u64(value - instrument.terms.edges[n])) * u64(instrument.rates[n]);
    return i64(up(instrument.below[n] + top, kByPpm));
}

i64 surcharged(const Instrument& instrument, i64 initial, i64 value) {
    const i64 lower = instrument.terms.lower, upper = instrument.terms.upper;
    const i64 interest = instrument.market.open_interest;
    if (interest <= lower || value <= initial) return initial;
    const i64 over = (interest < upper ? interest : upper) - lower;
    return initial + i64(up(u128(u64(value - initial)) * u64(over), divisor(u64(upper - lower))));
}

i64 worst_of_three(const Holding& h) {
    return larger(larger(magnitude(h.size), magnitude(h.size + h.buy)), magnitude(h.size - h.sell));
}

Code linear(const Instrument& instrument, const Holding& holding, Needs& needs) {
    const i64 worst = worst_of_three(holding);
    i64 value = 0, held = 0;
    if (const Code code = notional(instrument, instrument.market.mark, worst, value); code != Code::OK)
        return code;
    needs.initial = tiered(instrument, value);
    i64 initial = needs.initial;
    if (worst != magnitude(holding.size)) {
        (void)notional(instrument, instrument.market.mark, holding.size, held);  // less than the worst
        initial = tiered(instrument, held);
    }
    needs.surcharged = surcharged(instrument, needs.initial, value);
    needs.maintenance = i64(up(u128(u64(initial)) * u64(instrument.terms.maintenance), kByPpm));
    return Code::OK;
}

Code option(const Instrument& instrument, const Holding& holding, Needs& needs) {
    const Terms& terms = instrument.terms;
    const i64 mark = instrument.market.mark * kPpm, whole = instrument.unit + mark;
    const i64 held = larger(0, -holding.size), sold = larger(0, holding.sell - holding.size);
    const i64 left = larger(0, -holding.size - holding.buy);
    const i128 worst = larger(larger(i128{held} * whole, i128{sold} * whole - i128{holding.sell} * mark),
                              i128{left} * whole + i128{holding.buy} * mark);
    i64 value = 0;
    Code code = scaled(worst, u64(terms.numerator), instrument.denominator_ppm, Rounding::CEILING, needs.initial);
    if (code == Code::OK)
        code = scaled(i128{held} * (instrument.unit_maintenance + mark), u64(terms.numerator), instrument.denominator_ppm,
                      Rounding::CEILING, needs.maintenance);
    if (code == Code::OK) code = notional(instrument, instrument.market.underlying, larger(held, sold), value);
    if (code == Code::OK) needs.surcharged = surcharged(instrument, needs.initial, value);
    return code;
}

struct Sums {
    i128 equity, initial, surcharged;
    i128 maintenance;
};

Code add(const Instrument& instrument, const Holding& holding, Sums& sums) {
    Needs needs;
    if (const Code code = requirement(instrument, holding, needs); code != Code::OK) return code;
    sums.initial += needs.initial, sums.surcharged += needs.surcharged, sums.maintenance += needs.maintenance;
    if (instrument.terms.option()) return Code::OK;
    i64 value = 0;
    const Code code = unrealised(instrument, instrument.market.mark, holding, value);
    if (code == Code::OK) sums.equity += value;
    return code;
}

Code finish(const Sums& sums, Cross& result) {
    if (no_int64(sums.equity) || no_int64(sums.equity - sums.surcharged)) return Code::OVERFLOW;
    if (sums.surcharged > INT64_MAX) return Code::OVERFLOW;
    result = {i64(sums.equity), i64(sums.initial), i64(sums.surcharged), i64(sums.maintenance)};
    return Code::OK;
}

// The holding with one more open order.
Code reserve(const Instrument& instrument, const Order& order, Holding& holding) {
    if (outside(order.price, 0, kMostPrice)) return Code::PRICE;
    if (outside(order.lots, 1, kMostLots)) return Code::LOTS;
    const i64 mark = instrument.market.mark, gap = order.price - mark;
    const i64 worse = larger(0, order.side == 0 ? gap : -gap);
    (order.side == 0 ? holding.buy : holding.sell) += order.lots;
    holding.loss = wide(holding.loss.value() + i128{worse} * order.lots);
    holding.basis = wide(holding.basis.value() + i128{larger(order.price, mark)} * order.lots);
    return check(holding);
}

}  // namespace

Quotient long_quotient(u128 absolute, u64 numerator, u64 denominator) {
    const u128 quotient = absolute / denominator;
    if (quotient >> 80) return {~u128{0}, 0};
    const u128 over = u128(u64(absolute - quotient * denominator)) * numerator;
    const u128 part = over / denominator;
    return {quotient * numerator + part, u64(over - part * denominator)};
}

Code prepare(const Terms& terms, const Market& market, Instrument& result) {
    if (const Code code = check(terms); code != Code::OK) return code;
    if (const Code code = check(market); code != Code::OK) return code;
    result.terms = terms, result.market = market;
    result.denominator = divisor(u64(terms.denominator));
    result.denominator_ppm = divisor(u64(terms.denominator) * u64(kPpm));
    u128 below = 0;
    for (i64 n = 0; n < terms.tiers; ++n) {
        const u128 rate = up(u128(u64(market.fraction)) * u64(terms.multiples[n]), kByPpm);
        result.rates[n] = rate < u128(kPpm) ? i64(rate) : kPpm;
        if (n) below += u128(u64(terms.edges[n] - terms.edges[n - 1])) * u64(result.rates[n - 1]);
        result.below[n] = below;
    }
    const i64 away = terms.strike - market.underlying;
    const i64 out = larger(0, terms.kind == Instruments::CALL ? away : -away);
    result.unit = larger(terms.short_part * market.underlying - out * kPpm, terms.short_floor * market.underlying);
    result.unit_maintenance = i64(up(u128(u64(result.unit)) * u64(terms.maintenance), kByPpm));
    return Code::OK;
}

Code unrealised(const Instrument& instrument, i64 price, const Holding& holding, i64& result) {
    const Terms& terms = instrument.terms;
    i128 exact = i128{holding.size} * price, value = 0;
    if (!terms.option()) exact -= holding.entry.value();
    const Code code = scaled(exact, u64(terms.numerator), instrument.denominator, Rounding::FLOOR, value);
    if (code != Code::OK) return code;
    if (!terms.option()) value -= holding.funding;
    if (no_int64(value)) return Code::OVERFLOW;
    result = i64(value);
    return Code::OK;
}

Code requirement(const Instrument& instrument, const Holding& holding, Needs& result) {
    if (const Code code = check(holding); code != Code::OK) return code;
    const Terms& terms = instrument.terms;
    const u64 numerator = u64(terms.numerator);
    i64 loss = 0, fees = 0;
    Code code = scaled(holding.loss.value(), numerator, instrument.denominator, Rounding::CEILING, loss);
    if (code == Code::OK)
        code = scaled(holding.basis.value() * terms.fee, numerator, instrument.denominator_ppm, Rounding::CEILING,
                      fees);
    Needs needs;
    if (code == Code::OK) code = terms.option() ? option(instrument, holding, needs)
                                                : linear(instrument, holding, needs);
    if (code != Code::OK) return code;
    const i128 orders = i128{loss} + fees;
    if (needs.surcharged + orders > INT64_MAX) return Code::OVERFLOW;
    result = {i64(needs.initial + orders), i64(needs.surcharged + orders), needs.maintenance};
    return Code::OK;
}

Code cross(i64 collateral, const Instrument* instruments, const Holding* held, u64 count, Cross& result) {
    if (count > kMostHoldings) return Code::SHAPE;
    Sums sums = {collateral, 0, 0, 0};
    for (u64 n = 0; n < count; ++n)
        if (const Code code = add(instruments[held[n].instrument], held[n], sums); code != Code::OK) return code;
    return finish(sums, result);
}

Code withdrawable(i64 collateral, const Instrument* instruments, const Holding* held, u64 count, bool covered,
                  i64& result) {
    Cross account;
    if (const Code code = cross(collateral, instruments, held, count, account); code != Code::OK) return code;
    bool valid = covered;
    for (u64 n = 0; n < count; ++n) valid &= held[n].size == 0 || instruments[held[n].instrument].market.valid != 0;
    i128 worst = i128{collateral} - account.initial;
    for (u64 n = 0; n < count && valid; ++n) {
        const Instrument& instrument = instruments[held[n].instrument];
        const i64 mark = instrument.market.mark, fair = instrument.market.fair;
        const bool at_mark = instrument.terms.option() || (held[n].size > 0 ? mark < fair : mark > fair);
        i64 value = 0;
        const Code code = unrealised(instrument, at_mark ? mark : fair, held[n], value);
        if (code != Code::OK) return code;
        if (value < 0) worst += value;
    }
    i128 least = i128{account.equity} - account.initial;
    if (collateral < least) least = collateral;
    if (worst < least) least = worst;
    result = valid && least > 0 ? i64(least) : 0;
    return Code::OK;
}

Code free_with(i64 collateral, const Instrument* instruments, const Holding* held, u64 count, const Order& order,
               i64& result) {
    if (order.holding < 0 || u64(order.holding) >= count) return Code::ARGUMENT;
    const Holding& before = held[order.holding];
    const Instrument& instrument = instruments[before.instrument];
    Holding after = before;
    if (const Code code = reserve(instrument, order, after); code != Code::OK) return code;
    if (count > kMostHoldings) return Code::SHAPE;
    Sums sums = {collateral, 0, 0, 0};
    for (u64 n = 0; n < count; ++n) {
        const bool is = n == u64(order.holding);
        if (const Code code = add(instruments[held[n].instrument], is ? after : held[n], sums); code != Code::OK)
            return code;
    }
    Cross account;
    if (const Code code = finish(sums, account); code != Code::OK) return code;
    i128 free = i128{account.equity} - account.initial;
    if (worst_of_three(after) > worst_of_three(before)) {
        Needs needs;
        (void)requirement(instrument, after, needs);  // has been made above
        free -= needs.surcharged - needs.initial;
    }
    result = i64(free);
    return Code::OK;
}

}  // namespace hawse::risk
