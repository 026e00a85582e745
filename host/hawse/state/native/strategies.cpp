#include "strategies.hpp"

namespace hawse::state {
namespace {

constexpr i64 MOST_DELTA = i64{1} << 62, MOST_LOTS = INT64_MAX;
constexpr u32 LEAST_EVERY = 250;

bool closes(u8 kind) { return kind == STOP || kind == TAKE || kind == TRAIL; }

i64 price_of(const Ledger &ledger, const Strategy &one) {
    const u32 feed = ledger.config->terms[one.market].feed;
    return one.trigger && feed != NONE ? ledger.feeds[feed].index : ledger.markets[one.market].mark;
}

} // namespace

bool Admission::register_strategy(const Message &m) {
    constexpr u32 BODY = sizeof(Message);
    Ledger &ledger = *ledger_;
    const StrategyBody &said = reinterpret_cast<const StrategyBody *>(&m)[1];
    const u32 market = ledger.config->find(m.instrument);
    if (market == NONE)
        return no_instrument(m.instrument);
    Account &account = ledger.accounts[m.account];
    const u16 only = account.only();
    if (only != ANY_INSTRUMENT && only != m.instrument)
        return refuse(HAWSE_REASON_ISOLATED, m.instrument, only);
    const Terms &terms = ledger.config->terms[market];
    const u8 kind = said.kind;
    const bool priced = kind == STOP || kind == TAKE, hedges = kind == HEDGE;
    i128 lows[2] = {0, 0}, highs[2] = {0, 0};
    if (kind == TRAIL) {
        lows[0] = 1, lows[1] = INT32_MAX;
    } else if (kind == SLICE) {
        highs[0] = m.quantity, highs[1] = MOST_LOTS;
    } else if (hedges) {
        // Of a narrower band one lot would lead from one side to the other.
        const i128 narrow = terms.numerator / terms.denominator + 1;
        lows[0] = -i128(MOST_DELTA), lows[1] = MOST_DELTA - narrow;
        highs[0] = said.low + narrow, highs[1] = MOST_DELTA;
    }
    const struct {
        i128 value, low, high;
        u8 at;
    } bounds[] = {
        {kind, STOP, HEDGE, u8(BODY + offsetof(StrategyBody, kind))},
        {m.side, 0, !hedges, u8(offsetof(Message, side))},
        {said.trigger, 0, terms.feed != NONE, u8(BODY + offsetof(StrategyBody, trigger))},
        {said.trigger_price, priced ? INT32_MIN : 0, priced ? INT32_MAX : 0, u8(BODY + offsetof(StrategyBody, trigger_price))},
        {said.limit_price, hedges ? 0 : INT32_MIN, hedges ? 0 : INT32_MAX, u8(BODY + offsetof(StrategyBody, limit_price))},
        {said.offset_ppm, 0, PPM, u8(BODY + offsetof(StrategyBody, offset_ppm))},
        {m.quantity, 1, UINT32_MAX, u8(offsetof(Message, quantity))},
        {said.every, LEAST_EVERY, UINT32_MAX, u8(BODY + offsetof(StrategyBody, every))},
        {said.low, lows[0], lows[1], u8(BODY + offsetof(StrategyBody, low))},
        {said.high, highs[0], highs[1], u8(BODY + offsetof(StrategyBody, high))},
        {said.until, time_, TIME_LIMIT - 1, u8(BODY + offsetof(StrategyBody, until))},
    };
    for (const auto &b : bounds)
        if (b.value < b.low || b.value > b.high)
            return refuse(HAWSE_REASON_REQUEST, b.value, b.value < b.low ? b.low : b.high, b.at);
    if (!ledger.is_valid(market))
        return no_mark(market);
    const u32 taken = ledger.strategy_at(m.account, m.client_id);
    if (taken != NONE)
        return refuse(HAWSE_REASON_CLIENT_ID_USED, m.client_id, taken);
    if (account.strategies >= Strategy::MOST)
        return refuse(HAWSE_REASON_STRATEGY, Strategy::MOST + 1, Strategy::MOST, 1);
    if (ledger.places.empty())
        return refuse(HAWSE_REASON_STRATEGY, 0, 1, 2);
    Strategy one{};
    one.account = m.account, one.market = market, one.client_id = m.client_id, one.kind = kind, one.side = m.side;
    one.trigger = said.trigger, one.trigger_price = said.trigger_price, one.limit_price = said.limit_price;
    one.offset_ppm = said.offset_ppm, one.quantity = m.quantity, one.every = said.every, one.low = said.low;
    one.high = said.high, one.until = said.until, one.queue = seq;
    one.best = kind == TRAIL ? price_of(ledger, one) : 0;
    ledger.register_strategy(ledger.places.first(), one);
    return true;
}

bool Admission::unregister(const Message &m) {
    const u32 place = ledger_->strategy_at(m.account, m.client_id);
    if (place == NONE)
        return refuse(HAWSE_REASON_CLIENT_ID_UNKNOWN, 0, 1);
    ledger_->unregister(place);
    return true;
}

// An order of a strategy, if its account carries it; else an event that says why not.
void Admission::act(u32 place, u8 side, u32 lots, i32 price) {
    Ledger &ledger = *ledger_;
    const Strategy &one = ledger.strategies[place];
    const u32 refused = refusals.count;
    ++seq;
    Order order{};
    order.account = one.account, order.market = one.market, order.price = price, order.remaining = lots;
    order.side = side, order.time_in_force = HAWSE_TIME_IN_FORCE_IOC, order.strategy = place + 1;
    order.self_trade = HAWSE_SELF_TRADE_CANCEL_OLDEST, order.why = HAWSE_REASON_STRATEGY;
    const u16 number = ledger.config->terms[one.market].number;
    if (!has_room(ledger.accounts[one.account], one.market) || !carries(order, NONE, price, lots)) {
        if (ledger.overflow.happened) {
            refuse(HAWSE_REASON_OVERFLOW, ledger.overflow.value, MONEY_MAX);
            ledger.overflow = {};
        }
        const Refusal why = refusals.items[refusals.count - 1];
        refusals.count = refused;
        --seq;
        tell(why.reason, one.account, number, why.have, why.need);
        return;
    }
    order.queue = seq;
    const u32 handle = ledger.handles.first();
    ledger.orders[handle] = order;
    ledger.add(handle);
    machine.add() = {seq, one.queue, rows.count, one.account, order.why, {}};
    send(HAWSE_OPCODE_NEW, handle, price, lots,
         u8(side | order.time_in_force << 1 | order.self_trade << 3 | HAWSE_SEQUENCE_CLASS_MACHINE << 5));
    tell(order.why, one.account, number, i128(one.client_id), side == HAWSE_SIDE_BUY ? i128(lots) : -i128(lots));
}

void Strategies::make(Arena &arena, Ledger &ledger, Admission &admission) {
    ledger_ = &ledger, admission_ = &admission;
    due_.make(arena, ledger.config->orders);
}

void Strategies::run(u64 time) {
    Ledger &ledger = *ledger_;
    time_ = time, due_.count = 0;
    ledger.planning.each([&](u32 place) {
        Strategy &one = ledger.strategies[place];
        if (is_over(one)) {
            admission_->tell(HAWSE_REASON_STRATEGY, one.account, ledger.config->terms[one.market].number,
                             i128(one.client_id), 0);
            ledger.unregister(place);
        } else if (looks(one, place) && time >= one.next) {
            due_.add() = place;
        }
    });
    sort(due_.items, due_.count, [&](u32 a, u32 b) {
        const Strategy &one = ledger.strategies[a], &other = ledger.strategies[b];
        return one.next != other.next ? one.next < other.next : one.queue < other.queue;
    });
    u32 sent = 0;
    for (u32 n = 0; n < due_.count && sent < MOST_ORDERS; ++n)
        sent += act(ledger.strategies[due_.items[n]], due_.items[n]);
}

bool Strategies::is_over(const Strategy &one) const {
    const Account &a = ledger_->accounts[one.account];
    bool bare = !a.collateral && !a.orders;
    ledger_->each_holding(a, [&](const Holding &h) { bare &= !h.size; });
    const u64 whole = one.kind == HEDGE ? 0 : one.kind == SLICE ? u64(one.high) : one.quantity;
    return bare || time_ > one.until || (whole && one.done >= whole);
}

// Looks at the price; whether there is anything to do.
bool Strategies::looks(Strategy &one, u32 place) {
    const Ledger &ledger = *ledger_;
    if (ledger.markets[one.market].status != HAWSE_INSTRUMENT_STATE_OPEN || !ledger.is_valid(one.market))
        return false;
    const i64 price = price_of(ledger, one);
    const bool sells = one.side == HAWSE_SIDE_SELL;
    if (one.kind == TRAIL && price != one.best && (price > one.best) == sells) {
        one.best = price;
        ledger_->planned.insert(place);
    }
    if (closes(one.kind) && !one.fired) {
        const i64 at = one.kind != TRAIL ? one.trigger_price : sells ? one.best - one.low : one.best + one.low;
        if (sells == (one.kind != TAKE) ? price > at : price < at)
            return false;
        one.fired = true;
        ledger_->planned.insert(place);
    }
    return true;
}

// Sends its order, if there is anything to trade.
bool Strategies::act(Strategy &one, u32 place) {
    const Wanted want = wanted(one);
    if (want.lots <= 0)
        return false;
    const Terms &terms = ledger_->config->terms[one.market];
    const i64 mark = ledger_->markets[one.market].mark, low = terms.base, high = low + terms.count - 1;
    const i64 away = magnitude(mark) * i64(one.offset_ppm) / i64(PPM);
    i64 price;
    if (want.side == HAWSE_SIDE_BUY) {
        price = least(mark + away, high);
        price = one.kind == HEDGE ? price : least<i64>(price, one.limit_price);
    } else {
        price = most(mark - away, low);
        price = one.kind == HEDGE ? price : most<i64>(price, one.limit_price);
    }
    one.next = time_ + one.every;
    ledger_->planned.insert(place);
    if (price >= low && price <= high) {
        admission_->act(place, want.side, u32(want.lots), i32(price));
        return true;
    }
    admission_->tell(HAWSE_REASON_BAND, one.account, terms.number, price, i128(one.client_id));
    return false;
}

// Side and lots that it would trade now.
Strategies::Wanted Strategies::wanted(const Strategy &one) const {
    const Account &account = ledger_->accounts[one.account];
    if (one.kind == SLICE)
        return {one.side, i64(least<u64>(one.quantity, u64(one.high) - one.done))};
    if (one.kind != HEDGE)
        return {one.side, least(i64(one.quantity) - i64(one.done), ledger_->room_to_close(account, one.market, one.side))};
    const Terms &terms = ledger_->config->terms[one.market];
    const i128 has = delta(account, one.market);
    i128 beyond = has > one.high ? has - one.high : least<i128>(0, has - one.low);
    beyond = most<i128>(-i128(MOST_DELTA), least<i128>(beyond, MOST_DELTA));
    const i128 lots = (magnitude(beyond) * terms.denominator + terms.numerator - 1) / terms.numerator;
    return {u8(beyond > 0 ? HAWSE_SIDE_SELL : HAWSE_SIDE_BUY), i64(least<i128>(lots, one.quantity))};
}

// Quanta that an account gains with a tick of an instrument's underlying; each position rounded down.
i128 Strategies::delta(const Account &account, u32 market) const {
    const Terms *const terms = ledger_->config->terms;
    const u16 about = terms[market].underlying;
    i128 total = 0;
    ledger_->each_holding(account, [&](const Holding &h) {
        u64 rest;
        if (h.market == market || (about != NO_UNDERLYING && terms[h.market].underlying == about))
            total += floored(i128(h.size) * terms[h.market].numerator, terms[h.market].denominator, rest);
    });
    return total;
}

} // namespace hawse::state
