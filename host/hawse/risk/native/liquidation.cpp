#include "liquidation.hpp"

namespace hawse::risk {
namespace {

inline i64 magnitude(i64 a) { return a < 0 ? -a : a; }
inline i64 smaller(i64 a, i64 b) { return a < b ? a : b; }

// Heap sort by before(a, b), which is a total order.
template <class Row, class Before>
void sort(Row* rows, u64 count, Before before) {
    const auto sink = [&](u64 at, u64 end) {
        for (u64 child; (child = 2 * at + 1) < end; at = child) {
            if (child + 1 < end && before(rows[child], rows[child + 1])) ++child;
            if (!before(rows[at], rows[child])) return;
            const Row held = rows[at];
            rows[at] = rows[child], rows[child] = held;
        }
    };
    for (u64 n = count / 2; n-- > 0;) sink(n, count);
    for (u64 n = count; n-- > 1;) {
        const Row held = rows[0];
        rows[0] = rows[n], rows[n] = held;
        sink(0, n);
    }
}

// 192 bits, the highest first.
struct Long {
    u64 high, middle, low;
};

// a·b·c, none of them negative.
Long product(i64 a, i64 b, i64 c) {
    const u128 two = u128(u64(a)) * u64(b);
    const u128 low = u128(u64(two)) * u64(c), high = (two >> 64) * u64(c) + (low >> 64);
    return {u64(high >> 64), u64(high), u64(low)};
}

bool above(const Long& a, const Long& b) {
    if (a.high != b.high) return a.high > b.high;
    return a.middle != b.middle ? a.middle > b.middle : a.low > b.low;
}

// numerator / denominator, the latter above 0, rounded down.
i128 floor_quotient(i128 numerator, i128 denominator) {
    const i128 found = numerator / denominator;
    return found - (numerator % denominator < 0);
}

// Who is liquidated before whom: a higher one comes later.
bool healthier(const Unhealthy& a, const Unhealthy& b) {
    if ((a.maintenance > 0) != (b.maintenance > 0)) return a.maintenance > 0;
    const i64 under_a = a.maintenance > 0 ? a.maintenance : 1, under_b = b.maintenance > 0 ? b.maintenance : 1;
    const i128 left = i128{a.equity} * under_b, right = i128{b.equity} * under_a;
    return left != right ? left > right : a.account > b.account;
}

bool scores(const Opposite& a) { return a.profit > 0 && a.equity > 0 && a.notional > 0; }

// Profit × notional / equity, then index; true where a comes before b.
bool ranks(const Opposite& a, const Opposite& b) {
    if (scores(a) != scores(b)) return scores(a);
    if (scores(a)) {
        const Long left = product(a.profit, a.notional, b.equity), right = product(b.profit, b.notional, a.equity);
        if (above(left, right)) return true;
        if (above(right, left)) return false;
    }
    return a.account < b.account;
}

// Lots that it can close gap worse than the mark.
i64 bearable(const Terms& terms, i128 gap, const Opposite& each) {
    if (gap <= 0) return magnitude(each.size);
    const i128 spare = i128{each.equity} - each.maintenance;
    const i64 most = spare < each.profit ? i64(spare) : each.profit;
    if (spare <= 0 || most <= 0) return 0;
    const i128 lots = i128{most} * terms.denominator / (gap * terms.numerator);
    return lots > kMostLots ? kMostLots : i64(lots);
}

// Free collateral after lots (of either sign) more at price; OK with free where it is an int64.
Code free_after(i64 collateral, const Instrument* instruments, Holding* held, u64 count, u64 at, i64 lots, i64 price,
                i64& free) {
    const Holding before = held[at];
    const Instrument& instrument = instruments[before.instrument];
    i64 cost = 0;
    if (instrument.terms.option()) {
        const Code code = scaled(i128{lots} * price, u64(instrument.terms.numerator), instrument.denominator,
                                 Rounding::CEILING, cost);
        if (code != Code::OK) return code;
    } else {
        held[at].entry = wide(before.entry.value() + i128{lots} * price);
    }
    if (no_int64(i128{collateral} - cost)) return Code::OVERFLOW;
    held[at].size += lots;
    Cross account;
    const Code code = cross(collateral - cost, instruments, held, count, account);
    held[at] = before;
    if (code == Code::OK) free = account.equity - account.initial;
    return code;
}

}  // namespace

Code order(Unhealthy* accounts, u64 count) {
    for (u64 n = 0; n < count; ++n)
        if (accounts[n].equity >= accounts[n].maintenance) return Code::ARGUMENT;
    sort(accounts, count, [](const Unhealthy& a, const Unhealthy& b) { return healthier(b, a); });
    return Code::OK;
}

Code weight(const Instrument& instrument, i64 size, i64& result) {
    if (instrument.terms.option() && size > 0)
        return scaled(i128{size} * instrument.market.mark, u64(instrument.terms.numerator), instrument.denominator,
                      Rounding::CEILING, result);
    Needs needs;
    const Code code = requirement(instrument, {0, size, 0, 0, 0, {0, 0}, {0, 0}, {0, 0}}, needs);
    if (code == Code::OK) result = needs.initial;
    return code;
}

Code first_of_portfolio(const LiquidationTerms& terms, const Arrays& arrays, const Position* positions, u64 count,
                        i64 basis_part, u64& result) {
    if (count > kMostHoldings) return Code::SHAPE;
    Position rest[kMostHoldings];
    for (u64 n = 0; n < count; ++n) rest[n] = positions[n];
    bool any = false;
    i128 least = 0;
    for (u64 n = 0; n < count; ++n) {
        const i64 size = positions[n].lots;
        i64 lots = 0;
        Scan found;
        Code code = step_lots(terms, magnitude(size), lots);
        if (code != Code::OK) return code;
        if (!size) continue;
        rest[n].lots = size > 0 ? size - lots : size + lots;
        code = scan(arrays, rest, count, basis_part, nullptr, found);
        if (code != Code::OK) return code;
        rest[n].lots = size;
        if (any && found.requirement() >= least) continue;
        any = true, least = found.requirement(), result = n;
    }
    return any ? Code::OK : Code::SHAPE;
}

Code step_lots(const LiquidationTerms& terms, i64 left, i64& result) {
    if (outside(left, 0, kMostLots)) return Code::LOTS;
    i64 part = left;
    if (left >= terms.whole) part = i64((i128{left} * terms.share + (kPpm - 1)) / kPpm);
    result = smaller(part, terms.most);
    return Code::OK;
}

Code bankruptcy_price(const Terms& terms, i64 mark, i64 size, i64 equity, i64 own, i64 total, i64& result) {
    if (outside(mark, 0, kMostPrice)) return Code::PRICE;
    if (size == 0 || outside(size, -kMostLots, kMostLots)) return Code::LOTS;
    if (total < 1 || outside(own, 0, total)) return Code::ARGUMENT;
    // equity·own·denominator / total, rounded down: the whole part and what remains of it.
    const i128 share = i128{equity} * own, whole = floor_quotient(share, total), rest = share - whole * total;
    const i128 money = whole * terms.denominator + rest * terms.denominator / total;
    const i128 move = floor_quotient(money, i128{magnitude(size)} * terms.numerator);
    i128 price = size > 0 ? mark - move : mark + move;
    if (terms.option() && price < 0) price = 0;
    if (no_int64(price)) return Code::OVERFLOW;
    result = i64(price);
    return Code::OK;
}

Code step_price(const LiquidationTerms& terms, i64 mark, i64 bankruptcy, i64 size, i64 step, i64& result) {
    if (outside(mark, 0, kMostPrice)) return Code::PRICE;
    if (step < 0) return Code::ARGUMENT;
    const i64 sign = size > 0 ? 1 : -1, last = terms.steps - 1, gone = smaller(step, last);
    const i64 begin = mark - sign * (mark * terms.begin / kPpm);
    const i128 way = sign * (i128{begin} - bankruptcy), far = way > 0 ? way : 0;
    const i128 limit = begin - sign * (gone == last ? far : far * gone / last);
    const bool beyond = size > 0 ? limit < bankruptcy : limit > bankruptcy;
    result = beyond ? bankruptcy : i64(limit);
    return Code::OK;
}

i64 liquidation_fee(const LiquidationTerms& terms, i64 value, i64 equity) {
    const i128 due = (i128{value} * terms.fee + (kPpm - 1)) / kPpm;
    const i64 left = equity > 0 ? equity : 0;
    return due < left ? i64(due) : left;
}

Code takeover(i64 collateral, const Instrument* instruments, Holding* held, u64 count, u64 at, i64 size, i64 price,
              i64& result) {
    if (at >= count) return Code::ARGUMENT;
    if (outside(size, -kMostLots, kMostLots)) return Code::LOTS;
    if (outside(price, -kMostPrice, kMostPrice)) return Code::PRICE;
    const auto fits = [&](i64 lots, bool& is) {
        i64 free = 0;
        const Code code =
            free_after(collateral, instruments, held, count, at, size > 0 ? lots : -lots, price, free);
        is = free >= 0;
        return code;
    };
    i64 low = 0, high = magnitude(size);
    bool is = false;
    if (const Code code = fits(0, is); code != Code::OK) return code;
    if (!is) high = 0;
    while (low < high) {
        const i64 middle = (low + high + 1) >> 1;
        if (const Code code = fits(middle, is); code != Code::OK) return code;
        if (is) low = middle; else high = middle - 1;
    }
    result = low;
    return Code::OK;
}

Code deleverage(const Terms& terms, i64 mark, i64 bankruptcy, i64 size, Opposite* opposite, u64 count, Taken* taken,
                u64& takers, i64& left) {
    if (outside(size, -kMostLots, kMostLots)) return Code::LOTS;
    for (u64 n = 0; n < count; ++n)
        if ((opposite[n].size > 0 && size > 0) || (opposite[n].size < 0 && size < 0)) return Code::ARGUMENT;
    sort(opposite, count, ranks);
    const i128 gap = size < 0 ? i128{mark} - bankruptcy : i128{bankruptcy} - mark;
    i64 open = magnitude(size);
    takers = 0;
    for (u64 n = 0; n < count; ++n) {
        const i64 most = smaller(magnitude(opposite[n].size), bearable(terms, gap, opposite[n]));
        const i64 lots = smaller(open, most);
        if (lots <= 0) continue;
        taken[takers++] = {opposite[n].account, lots};
        open -= lots;
    }
    left = open;
    return Code::OK;
}

Code socialise(i64 loss, Bearer* bearers, u64 count, i64& rest) {
    if (loss < 0) return Code::ARGUMENT;
    u128 total = 0;
    for (u64 n = 0; n < count; ++n) total += bearers[n].equity > 0 ? u64(bearers[n].equity) : 0;
    const i64 borne = total < u128(loss) ? i64(total) : loss;
    i64 over = borne;
    for (u64 n = 0; n < count; ++n) {
        const u128 part = bearers[n].equity > 0 ? u128(u64(borne)) * u64(bearers[n].equity) : 0;
        bearers[n].quanta = total ? i64(part / total) : 0;
        bearers[n].rest = total ? wide(i128(part % total)) : Wide{0, 0};
        over -= bearers[n].quanta;
    }
    sort(bearers, count, [](const Bearer& a, const Bearer& b) {
        const i128 left = a.rest.value(), right = b.rest.value();
        return left != right ? left > right : a.account < b.account;
    });
    for (u64 n = 0; i64(n) < over; ++n) ++bearers[n].quanta;
    rest = loss - borne;
    return Code::OK;
}

}  // namespace hawse::risk
