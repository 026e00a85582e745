#include "portfolio.hpp"

namespace hawse::risk {
namespace {

constexpr int kLeastPart = 4;

inline i64 clamp(i128 value, i64 least, i64 most) {
    return value < least ? least : value > most ? most : i64(value);
}

inline i128 magnitude(i128 a) { return a < 0 ? -a : a; }

i64 moved(i64 price, const Ranges& ranges, const Scenario& scenario) {
    const i128 change = quotient(i128{price} * ranges.price * scenario.move, u64(kPpm) * u64(kPpm));
    return clamp(price + change, -(-price >> kLeastPart), kMostPrice);
}

// A change in price units with kValueBits, to quanta per lot.
Code per_lot(i128 change, i64 numerator, const Divisor& denominator, i64& result) {
    i64 found = 0;
    const Code code = scaled(change, u64(numerator), denominator, Rounding::NEAREST, found);
    if (code != Code::OK) return code;
    if (found == INT64_MIN) return Code::OVERFLOW;
    result = found;
    return Code::OK;
}

struct Slopes {
    i128 delta, vega;
};

Code linear_changes(i64 mark, const Scenario* scenarios, u64 count, const Ranges& ranges, i128* changes,
                    Slopes& slopes) {
    for (u64 n = 0; n < count; ++n) changes[n] = i128{moved(mark, ranges, scenarios[n]) - mark} * (1 << kValueBits);
    slopes = {i128{mark} << kValueBits, 0};
    return Code::OK;
}

Code option_changes(const Terms& terms, const Scenario* scenarios, u64 count, const Ranges& ranges,
                    const Priced& priced, i128* changes, Slopes& slopes) {
    if (outside(priced.forward, 1, kMostPrice)) return Code::FORWARD;
    const bool call = terms.kind == Instruments::CALL;
    Option now;
    Code code = evaluate({priced.forward, terms.strike, priced.time, priced.volatility, kOne}, now);
    if (code != Code::OK) return code;
    const i128 worth = i128{priced.forward} * (call ? now.call : now.put);
    for (u64 n = 0; n < count; ++n) {
        const i64 forward = moved(priced.forward, ranges, scenarios[n]);
        const i128 volatility = i128{priced.volatility} + scenarios[n].volatility * ranges.volatility;
        Prices both;
        code = prices({forward, terms.strike, priced.time, clamp(volatility, 1, kMostVolatility), kOne}, both);
        if (code != Code::OK) return code;
        changes[n] = shifted(i128{forward} * (call ? both.call : both.put) - worth, kBits - kValueBits);
    }
    slopes.delta = shifted(i128{priced.forward} * (call ? now.call_delta : now.put_delta), kBits - kValueBits);
    slopes.vega = shifted(i128{priced.forward} * now.vega, kBits - kValueBits);
    return Code::OK;
}

struct Sums {
    i128 changes[kMostScenarios];
    i128 short_minimum;
    i128 bought, sold;  // delta, each expiry netted
};

// Σ lots × changes of each scenario, in Sum: an int64 where no sum can leave it.
template <typename Sum>
void add_up(const Arrays& arrays, const Position* positions, u64 count, i128* changes) {
    Sum sums[kMostScenarios];
    for (u64 n = 0; n < arrays.scenarios; ++n) sums[n] = 0;
    for (const Position* p = positions; p < positions + count; ++p) {
        const i64* row = arrays.changes + u64(p->instrument) * arrays.scenarios;
        const i64 lots = p->lots;
        for (u64 n = 0; n < arrays.scenarios; ++n) sums[n] += Sum{lots} * row[n];
    }
    for (u64 n = 0; n < arrays.scenarios; ++n) changes[n] = sums[n];
}

Code sum(const Arrays& arrays, const Position* positions, u64 count, Sums& sums) {
    if (count < 1 || count > kMostHoldings) return Code::SHAPE;
    i128 deltas[kMostExpiries];
    u64 used = 0;  // a bit for each expiry that has a delta
    sums.short_minimum = sums.bought = sums.sold = 0;
    u128 reach = 0;
    for (u64 n = 0; n < count; ++n) {
        const auto [row, lots] = positions[n];
        if (outside(lots, -kMostLots, kMostLots)) return Code::LOTS;
        reach += u128(u64(lots < 0 ? -lots : lots)) * u64(arrays.peaks[row]);
        if (lots < 0) sums.short_minimum -= i128{lots} * arrays.minima[row];
        const i64 expiry = arrays.expiries[row];
        if (!(used >> expiry & 1)) deltas[expiry] = 0;
        used |= u64{1} << expiry;
        deltas[expiry] += i128{lots} * arrays.deltas[row];
    }
    (reach >> 63 ? add_up<i128> : add_up<i64>)(arrays, positions, count, sums.changes);
    for (; used; used &= used - 1) {
        const i128 delta = deltas[__builtin_ctzll(used)];
        if (delta > 0) sums.bought += delta; else sums.sold -= delta;
    }
    return Code::OK;
}

constexpr Divisor kByPpmOfValue = divisor(u64(kPpm) << kValueBits);

Code charge(i128 delta, i64 basis_part, i64& result) {
    if (outside(basis_part, 0, kPpm)) return Code::ARGUMENT;
    return scaled(delta, u64(basis_part), kByPpmOfValue, Rounding::CEILING, result);
}

// The worst of the losses and the short minimum.
Code worst(const Sums& sums, u64 scenarios, i64* losses, Scan& result) {
    i128 most = 0;
    for (u64 n = 0; n < scenarios; ++n) {
        const i128 loss = -(sums.changes[n] >> kValueBits);
        if (no_int64(loss)) return Code::OVERFLOW;
        if (losses) losses[n] = i64(loss);
        if (loss > most) most = loss;
    }
    const i128 least = -(-sums.short_minimum >> kValueBits);
    if (least > INT64_MAX) return Code::OVERFLOW;
    result.worst = i64(most), result.short_minimum = i64(least);
    return Code::OK;
}

Code fill(const Terms& terms, const Market& market, const Scenario* scenarios, const Ranges& ranges, i64 short_part,
          i64 expiry, const Priced& priced, const Arrays& arrays, u64 row) {
    if (outside(ranges.price, 1, kPpm) || outside(ranges.volatility, 0, kMostVolatility)) return Code::ARGUMENT;
    if (outside(expiry, 0, kMostExpiries - 1)) return Code::ARGUMENT;
    const bool option = terms.option();
    if (option ? priced.forward == 0 : market.mark == 0) return Code::SHAPE;
    i128 changes[kMostScenarios];
    Slopes slopes = {0, 0};
    Code code = option
        ? option_changes(terms, scenarios, arrays.scenarios, ranges, priced, changes, slopes)
        : linear_changes(market.mark, scenarios, arrays.scenarios, ranges, changes, slopes);
    const Divisor whole = divisor(u64(terms.denominator));
    const Divisor parts = divisor(u64(terms.denominator) * u64(kPpm));
    i64 minimum = 0;
    if (code == Code::OK && option)
        code = scaled(i128{market.underlying} * short_part << kValueBits, u64(terms.numerator), parts,
                      Rounding::CEILING, minimum);
    i64* const out = arrays.changes + row * arrays.scenarios;
    i64 peak = 0;
    for (u64 n = 0; n < arrays.scenarios && code == Code::OK; ++n) {
        code = per_lot(changes[n] * scenarios[n].weight, terms.numerator, parts, out[n]);
        const i64 reach = out[n] < 0 ? -out[n] : out[n];
        if (reach > peak) peak = reach;
    }
    arrays.peaks[row] = peak;
    if (code == Code::OK) code = per_lot(slopes.delta, terms.numerator, whole, arrays.deltas[row]);
    if (code == Code::OK) code = per_lot(slopes.vega, terms.numerator, whole, arrays.vegas[row]);
    arrays.minima[row] = minimum, arrays.expiries[row] = expiry;
    return code;
}

}  // namespace

Code array(const Terms& terms, const Market& market, const Scenario* scenarios, const Ranges& ranges,
           i64 short_part, i64 expiry, const Priced& priced, const Arrays& arrays, u64 row) {
    const Code code = fill(terms, market, scenarios, ranges, short_part, expiry, priced, arrays, row);
    if (code == Code::OK) return code;
    for (u64 n = 0; n < arrays.scenarios; ++n) arrays.changes[row * arrays.scenarios + n] = 0;
    arrays.peaks[row] = arrays.deltas[row] = arrays.vegas[row] = arrays.minima[row] = arrays.expiries[row] = 0;
    return code;
}

Code scan(const Arrays& arrays, const Position* positions, u64 count, i64 basis_part, i64* losses, Scan& result) {
    Sums sums;
    Code code = sum(arrays, positions, count, sums);
    Scan found = {0, 0, 0};
    if (code == Code::OK) code = worst(sums, arrays.scenarios, losses, found);
    if (code == Code::OK)
        code = charge(sums.bought < sums.sold ? sums.bought : sums.sold, basis_part, found.basis);
    if (code == Code::OK) result = found;
    return code;
}

Code add_on(const Arrays& arrays, const Position* legs, u64 count, i64 basis_part, i64 cost, i64& result) {
    if (cost < 0) return Code::ARGUMENT;
    Sums sums;
    Code code = sum(arrays, legs, count, sums);
    Scan found = {0, 0, 0};
    if (code == Code::OK) code = worst(sums, arrays.scenarios, nullptr, found);
    if (code == Code::OK)
        code = charge(sums.bought > sums.sold ? sums.bought : sums.sold, basis_part, found.basis);
    if (code != Code::OK) return code;
    const i128 needed = found.requirement() + cost;
    if (needed > INT64_MAX) return Code::OVERFLOW;
    result = i64(needed);
    return Code::OK;
}

Code portfolio(i64 collateral, const i64* values, u64 count, const Scan* scans, u64 underlyings, const i64* orders,
               u64 order_count, i64 maintenance_part, Portfolio& result) {
    i128 equity = collateral, held = 0, added = 0;
    for (u64 n = 0; n < count; ++n) equity += values[n];
    for (u64 n = 0; n < underlyings; ++n) held += scans[n].requirement();
    for (u64 n = 0; n < order_count; ++n) added += orders[n];
    const i128 needed = held + added;
    if (no_int64(equity) || needed < 0 || no_int64(needed) || no_int64(equity - needed)) return Code::OVERFLOW;
    i64 maintenance = 0;
    const Code code = scaled(held, u64(maintenance_part), kByPpm, Rounding::CEILING, maintenance);
    if (code == Code::OK) result = {i64(equity), i64(needed), maintenance};
    return code;
}

}  // namespace hawse::risk
