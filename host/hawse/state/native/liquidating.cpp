#include "liquidating.hpp"

namespace hawse::state {
namespace {

constexpr i64 LEAST_MONEY = INT64_MIN;
constexpr i64 MOST_ORDER = 0xFFFFFFFF;

i128 clamp(i128 value, i128 low, i128 high) { return value < low ? low : value > high ? high : value; }
i64 money(i128 value) { return i64(clamp(value, LEAST_MONEY, MONEY_MAX)); }

// Rounded down; the divisor is above 0.
i128 floor_of(i128 value, i128 divisor) {
    const i128 quotient = value / divisor;
    return quotient - (value % divisor < 0);
}

// 192 bits, the highest first.
struct Long {
    u64 high;
    u128 low;
};

// a·b·c, none of them negative.
Long product_of(i64 a, i64 b, i64 c) {
    const u128 two = u128(u64(a)) * u64(b), low = u128(u64(two)) * u64(c);
    const u128 high = (two >> 64) * u64(c) + (low >> 64);
    return {u64(high >> 64), high << 64 | u64(low)};
}

bool is_above(const Long &a, const Long &b) { return a.high != b.high ? a.high > b.high : a.low > b.low; }

} // namespace

size_t Liquidation::most_events(const Config &config) {
    return MOST_MOVES + MOST_HELD + 2 * size_t(config.liquidation.cap) + config.instruments + size_t(config.orders);
}

void Liquidation::make(Arena &arena, Ledger &ledger, Admission &admission, const Capacity &capacity) {
    config_ = ledger.config, ledger_ = &ledger, admission_ = &admission;
    touched.make(arena, capacity.accounts);
    left_.make(arena, capacity.accounts);
    queue_.make(arena, capacity.accounts);
    opposite_.make(arena, capacity.accounts);
    bearers_.make(arena, capacity.accounts);
    in_market_.make(arena, capacity.accounts);
    owing_.make(arena, capacity.accounts);
}

void Liquidation::check_changed() {
    ledger_->changed.each([&](u32 index) { ledger_->check(index); });
}

void Liquidation::run(u64 slot, const Numbers &moved) {
    Ledger &ledger = *ledger_;
    slot_ = slot, moves_ = MOST_MOVES;
    touched.clear(), left_.clear();
    owing_.count = in_market_.count = 0;
    check_changed();
    if (!moved.empty())
        for (u32 n = 0; n < ledger.account_count; ++n)
            if (ledger.holds_any(ledger.accounts[n], moved))
                ledger.check(n);
    if (!ledger.unhealthy.empty()) {
        queue();
        for (u32 n = 0; n < least(queue_.count, config_->liquidation.cap); ++n)
            if (!ledger.health(queue_.items[n].account).good()) // another's end may have saved it
                go_on(queue_.items[n].account);
        share_losses();
    }
}

// Who is worst off comes first: equity / maintenance ascending, who needs none before all others; then by index.
void Liquidation::queue() {
    Ledger &ledger = *ledger_;
    queue_.count = 0;
    ledger.unhealthy.each([&](u32 index) {
        if (ledger.unmarked(ledger.accounts[index]) != NONE)
            return;
        const Health has = ledger.health(index);
        const i64 needs = money(has.maintenance);
        queue_.add() = {index, i64(clamp(has.equity, LEAST_MONEY, i128(needs) - 1)), needs};
    });
    sort(queue_.items, queue_.count, [](const Unhealthy &a, const Unhealthy &b) {
        if ((a.maintenance > 0) != (b.maintenance > 0))
            return b.maintenance > 0;
        const i128 left = i128(a.equity) * most<i64>(b.maintenance, 1), right = i128(b.equity) * most<i64>(a.maintenance, 1);
        return left != right ? left < right : a.account < b.account;
    });
}

void Liquidation::go_on(u32 index) {
    Ledger &ledger = *ledger_;
    const Health has = ledger.health(index);
    const Account &account = ledger.accounts[index];
    for (u32 at = account.newest; at != NONE; at = ledger.orders[at].older) {
        if (ledger.orders[at].dropped)
            continue;
        ledger.trim(at, 0);
        admission_->give_up(at, HAWSE_REASON_LIQUIDATE, has.equity, has.maintenance);
    }
    if (has.equity <= 0 || account.step >= config_->liquidation.steps || index == INSURANCE)
        close_out(index);
    else
        in_market_.add() = index;
}

// In the market

void Liquidation::trade(const Numbers &moved) {
    for (u32 n = 0; n < in_market_.count; ++n) {
        const Health has = ledger_->health(in_market_.items[n]);
        if (!has.good())
            step(in_market_.items[n], has);
    }
    unwind(moved);
}

// A part of the heaviest position, by an order of the machine; where none can be sent, a step is gone.
void Liquidation::step(u32 index, const Health &has) {
    Account &account = ledger_->accounts[index];
    const Holding &h = *heaviest(index);
    const i64 lots = step_lots(h.size), size = h.size;
    send(index, h.market, size > 0 ? lots : -lots, limit(index, h, account.step), HAWSE_REASON_LIQUIDATE, has.equity,
         has.maintenance, 0);
    ++account.step;
    ledger_->signed_.insert(index);
}

// A share of what is left, rounded up; all of it, where little is left.
i64 Liquidation::step_lots(i64 size) const {
    const auto &terms = config_->liquidation;
    const i64 left = i64(clamp(magnitude(i128(size)), 0, MOST_LOTS));
    const i64 part = u64(left) < terms.whole ? left : i64((i128(left) * terms.share_ppm + (PPM - 1)) / PPM);
    return i64(clamp(part, 0, i128(terms.most)));
}

// Of a step: from c beside the mark to bankruptcy.
i64 Liquidation::limit(u32 index, const Holding &h, u32 step) {
    const auto &terms = config_->liquidation;
    const i64 mark = ledger_->markets[h.market].mark, bankruptcy = bankruptcy_price(index, h);
    const i64 sign = h.size > 0 ? 1 : -1, last = i64(terms.steps) - 1, gone = least<i64>(step, last);
    const i64 begin = mark - sign * (magnitude(mark) * i64(terms.begin_ppm) / i64(PPM));
    const i64 far = most<i64>(0, sign * (begin - bankruptcy));
    const i64 found = begin - sign * (gone == last ? far : far * gone / last);
    return sign > 0 ? most(found, bankruptcy) : least(found, bankruptcy);
}

// An order that closes `lots` (negative: short) at `limit` or better; 0, or why there is none.
u8 Liquidation::send(u32 index, u32 market, i64 lots, i64 limit, u8 why, i128 first, i128 second, u64 cause) {
    const Terms &terms = config_->terms[market];
    const i64 low = terms.base, high = low + terms.count - 1;
    const i64 price = lots > 0 ? most(limit, low) : least(limit, high);
    const u8 status = ledger_->markets[market].status;
    if (status != HAWSE_INSTRUMENT_STATE_OPEN && status != HAWSE_INSTRUMENT_STATE_CANCEL_ONLY)
        return HAWSE_REASON_STATE;
    if (price < low || price > high)
        return HAWSE_REASON_BAND;
    const i64 most_lots = i64(clamp(lots, -MOST_ORDER, MOST_ORDER));
    return admission_->close(index, market, most_lots, i32(price), why, first, second, cause);
}

// Of what is not offered, the first is told, and why.
void Liquidation::leave(u32 index, u64 cause) {
    Ledger &ledger = *ledger_;
    if (left_.has(index))
        return;
    left_.insert(index);
    const Account &account = ledger.accounts[index];
    const u32 unmarked = ledger.unmarked(account);
    bool told = false;
    Event left{};
    const auto stays = [&](u8 why, u32 market, i128 first, i128 second) {
        if (!told)
            left = {why, 0, config_->terms[market].number, index, 0, first, second};
        told = true;
    };
    if (unmarked != NONE)
        stays(HAWSE_REASON_NO_MARK, unmarked, ledger.counted(unmarked), ledger.quorum(unmarked));
    const bool closed_anyhow = !ledger.health(index).good();
    for (u32 market = 0; !closed_anyhow && (market = ledger.lowest_market(account, market)) != NONE; ++market) {
        const Holding &h = *ledger.holding(account, market);
        if (!h.size || !ledger.is_valid(market))
            continue;
        const i64 size = h.size, at = limit(index, h, 0);
        if (const u8 why = send(index, market, size, at, HAWSE_REASON_FORCED, size, at, cause))
            stays(why, market, size, at);
    }
    if (told)
        admission_->events.add() = left;
}

// Insurance offers a part of each position whose mark is new, within c of it.
void Liquidation::unwind(const Numbers &moved) {
    Ledger &ledger = *ledger_;
    const Account &venue = ledger.accounts[INSURANCE];
    moved.each([&](u32 market) {
        const Holding *h = ledger.holding(venue, market);
        if (!h || !h->size || !ledger.is_valid(market))
            return;
        const i64 mark = ledger.markets[market].mark, sign = h->size > 0 ? 1 : -1, lots = sign * step_lots(h->size);
        const i64 at = mark - sign * (magnitude(mark) * i64(config_->liquidation.begin_ppm) / i64(PPM));
        send(INSURANCE, market, lots, at, HAWSE_REASON_TAKEOVER, -lots, at, 0);
    });
}

// Beside the market

// Positions go to insurance, then to who holds the other side, until the account is healthy or flat.
void Liquidation::close_out(u32 index) {
    Ledger &ledger = *ledger_;
    const Account &account = ledger.accounts[index];
    const Holding *h;
    while ((h = heaviest(index)) && moves_ && !ledger.health(index).good()) {
        const u32 market = h->market;
        const i32 price = bankruptcy_price(index, *h);
        if (index != INSURANCE)
            take_over(index, market, price);
        deleverage(index, market, price);
        // Nobody owes profit at the mark: whoever holds the other side may be closed there.
        deleverage(index, market, ledger.markets[market].mark);
        h = ledger.holding(account, market);
        if (h && h->size && moves_)
            break; // more lots than a slot can move
    }
    if (!heaviest(index) && account.collateral < 0)
        owing_.add() = index;
}

// `lots` (negative: short) of an account become another's, without a fee.
void Liquidation::move(u32 index, u32 other, u32 market, i64 lots, i32 price, u8 why) {
    ledger_->settle(index, market, -lots, price);
    ledger_->settle(other, market, lots, price);
    --moves_;
    touched.insert(other);
    admission_->tell(why, why == HAWSE_REASON_TAKEOVER ? index : other, config_->terms[market].number, lots, price);
}

// What insurance has the margin for; a quantum less, for what it closes is rounded once more.
void Liquidation::take_over(u32 index, u32 market, i32 price) {
    Ledger &ledger = *ledger_;
    const Account &venue = ledger.accounts[INSURANCE];
    const Holding *mine = ledger.holding(venue, market);
    u32 held = 0;
    ledger.each_holding(venue, [&](const Holding &h) { held += h.size != 0; });
    if (!(mine && mine->size) && held >= MOST_HELD)
        return;
    const i64 size = ledger.holding(ledger.accounts[index], market)->size, sign = size > 0 ? 1 : -1;
    i64 low = 0, high = i64(clamp(magnitude(i128(size)), 0, MOST_LOTS));
    if (insurance_free(market, 0, price) < 0)
        return;
    while (low < high) {
        const i64 middle = (low + high + 1) >> 1;
        if (insurance_free(market, sign * middle, price) > 0)
            low = middle;
        else
            high = middle - 1;
    }
    if (low)
        move(index, INSURANCE, market, sign * low, price, HAWSE_REASON_TAKEOVER);
}

// Free collateral of insurance, which has no orders now, with so many lots more at `price`.
i128 Liquidation::insurance_free(u32 market, i64 lots, i32 price) {
    Ledger &ledger = *ledger_;
    const Account &venue = ledger.accounts[INSURANCE];
    i128 free = venue.collateral;
    const auto count = [&](u32 of, i128 size, i128 entry) {
        const Terms &terms = config_->terms[of];
        const i32 mark = ledger.markets[of].mark;
        free += unrealised_exactly(terms, size, entry, mark) - initial_exactly(terms, mark, size);
    };
    bool found = false;
    ledger.each_holding(venue, [&](const Holding &h) {
        const bool more = h.market == market;
        free -= ledger.unpaid(h);
        found |= more;
        count(h.market, h.size + i128(more ? lots : 0), h.entry + (more ? i128(lots) * price : 0));
    });
    if (lots && !found)
        count(market, lots, i128(lots) * price);
    return free;
}

// Closes against the other side, as far as its profit bears it.
void Liquidation::deleverage(u32 index, u32 market, i32 price) {
    Ledger &ledger = *ledger_;
    const Holding *mine = ledger.holding(ledger.accounts[index], market);
    if (!mine || !mine->size || !moves_)
        return;
    const Terms &terms = config_->terms[market];
    const bool is_long = mine->size > 0;
    i64 left = i64(clamp(magnitude(i128(mine->size)), 0, MOST_LOTS));
    const i128 mark = ledger.markets[market].mark, gap = is_long ? price - mark : mark - price;
    opposite_.count = 0;
    for (u32 n = 0; n < ledger.account_count; ++n) {
        const Holding *h = ledger.holding(ledger.accounts[n], market);
        if (h && h->size && (h->size > 0) != is_long)
            opposite_.add() = opposite_of(n, *h);
    }
    const auto scores = [](const Opposite &a) { return a.profit > 0 && a.equity > 0 && a.notional > 0; };
    sort(opposite_.items, opposite_.count, [&](const Opposite &a, const Opposite &b) {
        if (scores(a) != scores(b))
            return scores(a);
        if (scores(a)) {
            const Long one = product_of(a.profit, a.notional, b.equity), two = product_of(b.profit, b.notional, a.equity);
            if (is_above(one, two) || is_above(two, one))
                return is_above(one, two);
        }
        return a.account < b.account;
    });
    for (u32 n = 0; n < opposite_.count && left && moves_; ++n) {
        const Opposite &each = opposite_.items[n];
        i128 lots = least<i128>(left, magnitude(i128(each.size)));
        if (gap > 0) {
            const i128 bears = most<i128>(0, least<i128>(each.profit, i128(each.equity) - each.maintenance));
            lots = least(lots, bears * terms.denominator / (gap * terms.numerator));
        }
        if (!lots)
            continue;
        if (gap > 0) {
            Holding &h = *ledger.holding(ledger.accounts[each.account], market);
            const i128 worse = lots * gap * terms.numerator;
            h.profit = money(profit_of(h) - (worse + terms.denominator - 1) / terms.denominator);
            h.profit_slot = slot_ + 1;
        }
        left -= i64(lots);
        move(index, each.account, market, is_long ? i64(lots) : -i64(lots), price, HAWSE_REASON_DELEVERAGE);
    }
}

// A quantum less of profit and equity, for a part that is closed is rounded once more.
Liquidation::Opposite Liquidation::opposite_of(u32 index, const Holding &h) {
    const Terms &terms = config_->terms[h.market];
    const Health has = ledger_->health(index);
    const u128 value = scaled(product(ledger_->markets[h.market].mark, h.size), terms.numerator, terms.denominator, true);
    return {index,
            h.size,
            money(i128(profit_of(h)) - 1),
            money(i128(value)),
            money(has.equity - 1),
            money(has.maintenance)};
}

// Of a position, as far as the slot has not taken it.
i64 Liquidation::profit_of(const Holding &h) {
    const i64 profit =
        money(unrealised_exactly(config_->terms[h.market], h.size, h.entry, ledger_->markets[h.market].mark));
    return h.profit_slot == slot_ + 1 ? least(profit, h.profit) : profit;
}

// What flat accounts owe is paid by insurance as far as it is free, then by who has positive equity.
void Liquidation::share_losses() {
    Ledger &ledger = *ledger_;
    if (!owing_.count)
        return;
    i128 owed = 0;
    for (u32 n = 0; n < owing_.count; ++n)
        owed -= ledger.accounts[owing_.items[n]].collateral;
    const i128 has = ledger.accounts[INSURANCE].collateral;
    const i128 insured = least(owed, most<i128>(0, least(has, insurance_free(NONE, 0, 0))));
    bearers_.count = 0;
    for (u32 n = INSURANCE + 1; n < ledger.account_count; ++n) {
        const i128 equity = ledger.health(n).equity;
        if (equity > 0)
            bearers_.add() = {n, money(equity), 0, 0};
    }
    const i64 borne = socialise(money(owed - insured));
    pay(INSURANCE, insured);
    for (u32 n = 0; n < bearers_.count; ++n)
        pay(bearers_.items[n].account, bearers_.items[n].quanta);
    forgive(insured, borne);
}

// In proportion to equity, by largest remainders; gives what is borne.
i64 Liquidation::socialise(i64 loss) {
    u128 total = 0;
    for (u32 n = 0; n < bearers_.count; ++n)
        total += u64(bearers_.items[n].equity);
    const i64 borne = total < u128(loss) ? i64(total) : loss;
    i64 over = borne;
    for (u32 n = 0; n < bearers_.count; ++n) {
        Bearer &b = bearers_.items[n];
        const u128 part = u128(u64(borne)) * u64(b.equity);
        b.quanta = i64(part / total), b.rest = part % total;
        over -= b.quanta;
    }
    sort(bearers_.items, bearers_.count, [](const Bearer &a, const Bearer &b) {
        return a.rest != b.rest ? a.rest > b.rest : a.account < b.account;
    });
    for (u32 n = 0; n < u32(over); ++n)
        ++bearers_.items[n].quanta;
    sort(bearers_.items, bearers_.count, [](const Bearer &a, const Bearer &b) { return a.account < b.account; });
    return borne;
}

// Pays the debts, in turn, as far as the money goes.
void Liquidation::forgive(i128 insured, i128 borne) {
    i128 left = insured + borne;
    for (u32 n = 0; n < owing_.count; ++n) {
        const u32 index = owing_.items[n];
        const i128 debt = least(-i128(ledger_->accounts[index].collateral), left), first = least(debt, insured);
        left -= debt, insured -= first;
        if (!debt)
            continue;
        pay(index, -debt);
        admission_->tell(HAWSE_REASON_SOCIALISE, index, ANY_INSTRUMENT, debt, first);
    }
}

void Liquidation::pay(u32 index, i128 quanta) {
    if (!quanta)
        return;
    Account &account = ledger_->accounts[index];
    account.collateral = ledger_->overflow.money(account.collateral - quanta);
    account.free_slot = 0;
    ledger_->changed.insert(index);
    touched.insert(index);
}

// The position that is closed first: the largest weight, of equals the lowest; nullptr if there is none.
const Holding *Liquidation::heaviest(u32 index) {
    const Holding *found = nullptr;
    i128 heaviest = -1;
    ledger_->each_holding(ledger_->accounts[index], [&](const Holding &h) {
        const i128 own = h.size ? initial_exactly(config_->terms[h.market], ledger_->markets[h.market].mark, h.size) : -1;
        if (own > heaviest)
            found = &h, heaviest = own;
    });
    return found;
}

// At which a position takes its part of the account's equity with it; within the prices of the engine.
i32 Liquidation::bankruptcy_price(u32 index, const Holding &of) {
    Ledger &ledger = *ledger_;
    const Terms &terms = config_->terms[of.market];
    const auto weight = [&](const Holding &h) {
        return money(initial_exactly(config_->terms[h.market], ledger.markets[h.market].mark, h.size));
    };
    i128 total = 0;
    ledger.each_holding(ledger.accounts[index], [&](const Holding &h) { total += h.size ? weight(h) : 0; });
    const i32 mark = ledger.markets[of.market].mark;
    if (!total)
        return mark;
    // equity·own·denominator / total, rounded down: the whole part and what remains of it.
    const i128 share = i128(money(ledger.health(index).equity)) * weight(of), whole = floor_of(share, total);
    const i128 quanta = whole * terms.denominator + (share - whole * total) * terms.denominator / total;
    const i128 away = floor_of(quanta, magnitude(i128(of.size)) * terms.numerator);
    return i32(clamp(of.size > 0 ? mark - away : mark + away, INT32_MIN, INT32_MAX));
}

} // namespace hawse::state
