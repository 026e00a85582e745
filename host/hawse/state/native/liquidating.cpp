// What the machine does with accounts that cannot carry their positions: hawse.state.liquidating.
#include "admission.hpp"

namespace hawse::state {
namespace {

constexpr u16 OF_NO_INSTRUMENT = 0xFFFF;
constexpr u64 HIGHEST_ID = ~u64{0};
constexpr i64 QUANTITY_MOST = 0xFFFFFFFF;

// 192 bits, the highest first.
struct Long {
    u64 high, middle, low;
};

Long product(u64 a, u64 b, u64 c) {
    const u128 two = u128(a) * b, low = u128(u64(two)) * c, high = (two >> 64) * c + u64(low >> 64);
    return {u64(high >> 64), u64(high), u64(low)};
}

bool above(const Long &a, const Long &b) {
    if (a.high != b.high)
        return a.high > b.high;
    return a.middle != b.middle ? a.middle > b.middle : a.low > b.low;
}

i128 floor_quotient(i128 numerator, i128 denominator) {
    const i128 found = numerator / denominator;
    return found - (numerator % denominator < 0);
}

// By equity / maintenance, then by index; who needs none comes first.
bool is_worse(const Unhealthy &a, const Unhealthy &b) {
    if ((a.maintenance > 0) != (b.maintenance > 0))
        return !(a.maintenance > 0);
    const i128 one = i128(a.equity) * most<i64>(b.maintenance, 1), other = i128(b.equity) * most<i64>(a.maintenance, 1);
    return one != other ? one < other : a.account < b.account;
}

// By profit × notional / equity, the highest first, then by index.
bool ranks(const Opposite &a, const Opposite &b) {
    if (a.scores != b.scores)
        return a.scores;
    if (a.scores) {
        const Long one = product(u64(a.profit), u64(a.notional), u64(b.equity));
        const Long other = product(u64(b.profit), u64(b.notional), u64(a.equity));
        if (above(one, other))
            return true;
        if (above(other, one))
            return false;
    }
    return a.account < b.account;
}

bool has_more_left(const Bearer &a, const Bearer &b) {
    return a.rest != b.rest ? a.rest > b.rest : a.account < b.account;
}

} // namespace

// Goes on with the accounts that are worst off; then lets insurance unwind.
void Admission::liquidate(const Numbers &moved) {
    Ledger &ledger = *ledger_;
    handovers_ = unhealthy_.count = 0;
    if (moved.empty())
        ledger.suspects.each([&](u32 index) { examine(index); });
    for (u32 index = 0; index < ledger.account_count && !moved.empty(); ++index) {
        bool looks = ledger.suspects.has(index);
        if (!looks)
            ledger.each_holding(ledger.accounts[index], [&](const Holding &h) { looks |= h.size && moved.has(h.market); });
        if (looks)
            examine(index);
    }
    if (ledger.overflow.happened)
        return;
    ledger.suspects.clear();
    for (u32 n = 0; n < unhealthy_.count; ++n)
        ledger.suspects.insert(unhealthy_.items[n].account);
    sort(unhealthy_.items, unhealthy_.count, is_worse);
    const u32 some = least<u32>(unhealthy_.count, ledger.config->liquidation.cap);
    for (u32 n = 0; n < some && !ledger.overflow.happened; ++n)
        go_on(unhealthy_.items[n].account);
    if (!ledger.overflow.happened)
        unwind();
}

void Admission::examine(u32 index) {
    Ledger &ledger = *ledger_;
    if (ledger.overflow.happened)
        return;
    Account &account = ledger.accounts[index];
    const i64 equity = ledger.equity(account);
    if (ledger.overflow.happened)
        return;
    const i64 needed = maintenance(account, ledger.overflow);
    if (ledger.overflow.happened)
        return;
    if (equity < needed) {
        unhealthy_.add() = {equity, needed, index};
    } else if (account.steps) {
        account.steps = 0;
        ledger.signed_.insert(index);
    }
}

// A part of the initial margin of its positions, rounded up for each.
i64 Admission::maintenance(const Account &account, Overflow &overflow) const {
    const Ledger &ledger = *ledger_;
    i128 total = 0;
    ledger.each_holding(account, [&](const Holding &h) {
        if (!h.size)
            return;
        const Terms &terms = ledger.config->terms[h.market];
        const i64 held = initial_margin(terms, ledger.markets[h.market].mark, h.size, overflow);
        total += (i128(held) * terms.maintenance_ppm + (PPM - 1)) / PPM;
    });
    return i64(total);
}

void Admission::go_on(u32 index) {
    Ledger &ledger = *ledger_;
    Account &account = ledger.accounts[index];
    for (u32 at = account.newest; at != NONE; at = ledger.orders[at].older) {
        if (ledger.orders[at].dropped)
            continue;
        const u32 left = ledger.orders[at].remaining;
        ledger.trim(at, 0);
        give_up(at, HAWSE_REASON_LIQUIDATE, left, 0);
    }
    const i64 equity = ledger.equity(account);
    positions_.count = 0;
    i128 total = 0;
    ledger.each_holding(account, [&](const Holding &h) {
        if (!h.size)
            return;
        const i64 weight = initial_margin(ledger.config->terms[h.market], ledger.markets[h.market].mark, h.size, ledger.overflow);
        positions_.add() = {weight, 0, h.market};
        total += weight;
    });
    for (u32 n = 0; n < positions_.count; ++n) {
        Weighed &each = positions_.items[n];
        const i128 own = total ? each.weight : 1, all = total ? total : i128(positions_.count);
        each.price = bankruptcy(*ledger.holding(account, each.market), equity, own, all);
    }
    sort(positions_.items, positions_.count, [](const Weighed &a, const Weighed &b) {
        return a.weight != b.weight ? a.weight > b.weight : a.market < b.market;
    });
    const LiquidationTerms &terms = ledger.config->liquidation;
    // Insurance was closing its positions all the time.
    if (positions_.count && equity > 0 && account.steps < terms.steps && index != INSURANCE) {
        const Weighed &first = positions_.items[0];
        const i64 size = ledger.holding(account, first.market)->size;
        const i128 price = step_price(ledger.markets[first.market].mark, first.price, size, account.steps);
        if (close(index, first.market, size, price, HAWSE_REASON_LIQUIDATE)) {
            ++account.steps;
            ledger.signed_.insert(index);
        }
    } else {
        resolve(index);
    }
}

// At which price a position takes its share of the equity with it; rounded for the account.
i128 Admission::bankruptcy(const Holding &h, i64 equity, i128 own, i128 total) const {
    const Terms &terms = ledger_->config->terms[h.market];
    const i64 mark = ledger_->markets[h.market].mark;
    // equity·own·denominator / total, rounded down: the whole part and what remains of it.
    const i128 share = i128(equity) * own, whole = floor_quotient(share, total), rest = share - whole * total;
    const i128 money = whole * terms.denominator + rest * terms.denominator / total;
    const i128 move = floor_quotient(money, magnitude(i128(h.size)) * terms.numerator);
    return h.size > 0 ? mark - move : mark + move;
}

// From c beside the mark to bankruptcy, and never worse than that.
i128 Admission::step_price(i64 mark, i128 bankrupt, i64 size, u32 step) const {
    const LiquidationTerms &terms = ledger_->config->liquidation;
    const i128 sign = size > 0 ? 1 : -1, begin = mark - sign * i128(u64(magnitude(mark)) * terms.begin_ppm / PPM);
    const i128 far = most<i128>(0, sign * (begin - bankrupt));
    const u32 last = terms.steps - 1;
    const i128 limit = begin - sign * (step >= last ? far : far * step / last);
    return size > 0 ? most(limit, bankrupt) : least(limit, bankrupt);
}

// Sends an order that closes the next part of a position; false if the engine has no room for it.
bool Admission::close(u32 index, u32 market, i64 size, i128 price, u8 reason) {
    Ledger &ledger = *ledger_;
    const Config &config = *ledger.config;
    const Terms &of = config.terms[market];
    Account &account = ledger.accounts[index];
    if (ledger.handles.empty() || (!ledger.owners[account.owner].tag && ledger.tags.empty()))
        return false;
    const i128 lowest = of.base, highest = lowest + of.count - 1;
    Order order{};
    order.client_id = HIGHEST_ID;
    while (ledger.order_at(index, order.client_id) != NONE)
        --order.client_id;
    order.account = index, order.market = market, order.price = i32(most(lowest, least(price, highest)));
    order.remaining = u32(step_lots(magnitude(i128(size))));
    order.side = size > 0 ? HAWSE_SIDE_SELL : HAWSE_SIDE_BUY;
    order.time_in_force = HAWSE_TIME_IN_FORCE_IOC, order.self_trade = HAWSE_SELF_TRADE_CANCEL_OLDEST;
    const i128 lots = size < 0 ? i128(order.remaining) : -i128(order.remaining);
    events.add() = {reason, 0, of.number, index, 0, lots, order.price};
    const u32 handle = ledger.handles.first();
    order.queue = ++seq;
    ledger.orders[handle] = order;
    ledger.add(handle);
    machine.add() = {seq, 0, rows.count, index, reason, {}};
    send(HAWSE_OPCODE_NEW, handle, order.price, order.remaining,
         u8(order.side | order.time_in_force << 1 | order.self_trade << 3 | HAWSE_SEQUENCE_CLASS_MACHINE << 5));
    sent.items[sent.count - 1].own = true;
    return true;
}

// Of a position of so many lots, those of the next step.
i64 Admission::step_lots(i128 left) const {
    const LiquidationTerms &terms = ledger_->config->liquidation;
    const i128 part = left < terms.whole ? left : (left * terms.share_ppm + (PPM - 1)) / PPM;
    return i64(least(part, i128(least<i64>(terms.most, QUANTITY_MOST))));
}

// Closes all that is left at the bankruptcy prices, and has the loss borne that remains.
void Admission::resolve(u32 index) {
    Ledger &ledger = *ledger_;
    Account &account = ledger.accounts[index];
    bool all = true;
    for (u32 n = 0; n < positions_.count; ++n) {
        const Weighed each = positions_.items[n];
        take_over(index, each.market, each.price);
        deleverage(index, each.market, each.price);
        deleverage(index, each.market, ledger.markets[each.market].mark);
        const Holding *left = ledger.holding(account, each.market);
        all &= !(left && left->size);
        if (ledger.overflow.happened)
            return;
    }
    if (!all)
        return;
    if (account.collateral < 0)
        bear(index);
    if (account.steps) {
        account.steps = 0;
        ledger.signed_.insert(index);
    }
}

// As many lots as insurance's own margin allows.
void Admission::take_over(u32 index, u32 market, i128 price) {
    Ledger &ledger = *ledger_;
    if (index == INSURANCE)
        return;
    const i64 size = ledger.holding(ledger.accounts[index], market)->size;
    const Account &venue = ledger.accounts[INSURANCE];
    if (!ledger.holding(venue, market) && venue.touched >= ledger.config->position_quota)
        return;
    const i128 sign = size > 0 ? 1 : -1;
    i128 low = 0, high = magnitude(i128(size));
    if (free_after(market, 0, price) < 1)
        return;
    while (low < high) {
        const i128 middle = (low + high + 1) >> 1;
        if (free_after(market, sign * middle, price) >= 1)
            low = middle;
        else
            high = middle - 1;
    }
    if (low && handovers_ < HANDOVERS_MOST)
        hand_over(index, INSURANCE, market, i64(sign * low), price, HAWSE_REASON_TAKEOVER);
}

// Free collateral of insurance when it has bought lots, before anything of it is realised; 0 where a number on the
// way leaves int64.
i128 Admission::free_after(u32 market, i128 lots, i128 price) const {
    const Ledger &ledger = *ledger_;
    const Account &venue = ledger.accounts[INSURANCE];
    Overflow overflow;
    i128 equity = venue.collateral, held = 0, size = lots, entry = lots * price;
    ledger.each_holding(venue, [&](const Holding &h) {
        if (!h.size)
            return;
        if (h.market == market) {
            size += h.size, entry += h.entry;
            return;
        }
        const Terms &terms = ledger.config->terms[h.market];
        const i32 mark = ledger.markets[h.market].mark;
        equity += unrealised(terms, h.size, h.entry, mark, overflow);
        held += initial_margin(terms, mark, h.size, overflow);
    });
    const Terms &terms = ledger.config->terms[market];
    const i32 mark = ledger.markets[market].mark;
    u64 rest;
    equity += overflow.money(floored((size * mark - entry) * terms.numerator, terms.denominator, rest));
    held += initial_margin(terms, mark, size, overflow);
    return overflow.happened ? 0 : equity - held;
}

// Closes against who is on the other side, the most profitable and leveraged first.
void Admission::deleverage(u32 index, u32 market, i128 price) {
    Ledger &ledger = *ledger_;
    Account &account = ledger.accounts[index];
    const Holding *h = ledger.holding(account, market);
    if (!h || !h->size || handovers_ == HANDOVERS_MOST || ledger.overflow.happened)
        return;
    const i128 sign = h->size > 0 ? 1 : -1, gap = sign * (price - ledger.markets[market].mark);
    i128 left = magnitude(i128(h->size));
    rank(index, market, sign > 0);
    for (u32 n = 0; n < opposite_.count; ++n) {
        const u32 other = opposite_.items[n].account;
        const i128 size = magnitude(i128(ledger.holding(ledger.accounts[other], market)->size));
        const i128 lots = least(least(left, size), bearable(other, market, gap));
        if (lots > 0) {
            hand_over(index, other, market, i64(sign * lots), price, HAWSE_REASON_DELEVERAGE);
            left -= lots;
        }
        if (!left || handovers_ == HANDOVERS_MOST || ledger.overflow.happened)
            return;
    }
}

void Admission::rank(u32 index, u32 market, bool is_long) {
    const Ledger &ledger = *ledger_;
    const Terms &terms = ledger.config->terms[market];
    const i32 mark = ledger.markets[market].mark;
    opposite_.count = 0;
    for (u32 n = 0; n < ledger.account_count; ++n) {
        const Account &other = ledger.accounts[n];
        const Holding *h = n == index ? nullptr : ledger.holding(other, market);
        if (!h || !h->size || (h->size > 0) == is_long)
            continue;
        Overflow overflow;
        Opposite &each = opposite_.add();
        each.account = n;
        each.profit = unrealised(terms, h->size, h->entry, mark, overflow);
        each.notional = overflow.money(i128(scaled(product(mark, h->size), terms.numerator, terms.denominator, true)));
        each.equity = equity_of(other, overflow);
        each.scores = !overflow.happened && each.profit > 0 && each.equity > 0 && each.notional > 0;
    }
    sort(opposite_.items, opposite_.count, ranks);
}

i64 Admission::equity_of(const Account &account, Overflow &overflow) const {
    i128 sum = account.collateral;
    ledger_->each_holding(account, [&](const Holding &h) {
        if (h.size)
            sum += unrealised(ledger_->config->terms[h.market], h.size, h.entry, ledger_->markets[h.market].mark, overflow);
    });
    return overflow.money(sum);
}

// Lots that it can close `gap` worse than the mark.
i128 Admission::bearable(u32 index, u32 market, i128 gap) const {
    const Ledger &ledger = *ledger_;
    const Account &account = ledger.accounts[index];
    const Holding &h = *ledger.holding(account, market);
    if (gap <= 0)
        return magnitude(i128(h.size));
    const Terms &terms = ledger.config->terms[market];
    Overflow overflow;
    const i128 profit = unrealised(terms, h.size, h.entry, ledger.markets[market].mark, overflow);
    const i128 spare = i128(equity_of(account, overflow)) - maintenance(account, overflow);
    if (overflow.happened)
        return 0;
    return most<i128>(0, least(profit, spare)) * terms.denominator / (gap * terms.numerator);
}

void Admission::hand_over(u32 index, u32 other, u32 market, i64 lots, i128 price, u8 reason) {
    ++handovers_;
    ledger_->hand_over(index, market, -lots, price);
    ledger_->hand_over(other, market, lots, price);
    const u32 whose = reason == HAWSE_REASON_DELEVERAGE ? other : index;
    events.add() = {reason, 0, ledger_->config->terms[market].number, whose, 0, lots, price};
}

// A loss: insurance pays what it has free, and all positive equity the rest, in proportion.
void Admission::bear(u32 index) {
    Ledger &ledger = *ledger_;
    Account &account = ledger.accounts[index], &venue = ledger.accounts[INSURANCE];
    const i128 loss = -i128(account.collateral);
    const i128 free = index == INSURANCE ? 0 : least<i128>(venue.collateral, ledger.free_collateral(venue));
    const i128 paid = least(loss, most<i128>(0, free));
    ledger.pay(INSURANCE, -paid);
    bearers_.count = 0;
    u128 total = 0;
    for (u32 n = INSURANCE + 1; n < ledger.account_count; ++n) {
        if (n == index)
            continue;
        const i64 equity = ledger.equity(ledger.accounts[n]);
        if (equity > 0)
            bearers_.add() = {equity, 0, 0, n}, total += u64(equity);
    }
    if (ledger.overflow.happened)
        return;
    const u128 borne = least(u128(loss - paid), total);
    u128 over = borne;
    for (u32 n = 0; n < bearers_.count; ++n) {
        Bearer &each = bearers_.items[n];
        const u128 part = borne * u64(each.equity);
        each.quanta = part / total, each.rest = part % total;
        over -= each.quanta;
    }
    sort(bearers_.items, bearers_.count, has_more_left);
    for (u32 n = 0; n < over; ++n)
        ++bearers_.items[n].quanta;
    for (u32 n = 0; n < bearers_.count; ++n)
        if (bearers_.items[n].quanta)
            ledger.pay(bearers_.items[n].account, -i128(bearers_.items[n].quanta));
    ledger.pay(index, i128(borne) + paid);
    events.add() = {HAWSE_REASON_SOCIALISE, 0, OF_NO_INSTRUMENT, index, 0, loss, paid};
}

// Insurance closes what it has taken over, at the mark or better, a part of each a slot.
void Admission::unwind() {
    const Ledger &ledger = *ledger_;
    for (u32 market = 0; (market = ledger.lowest_market(ledger.accounts[INSURANCE], market)) != NONE; ++market)
        if (const i64 size = ledger.holding(ledger.accounts[INSURANCE], market)->size)
            close(INSURANCE, market, size, ledger.markets[market].mark, HAWSE_REASON_TAKEOVER);
}

} // namespace hawse::state
