#include "settling.hpp"

#include "marks.hpp"

namespace hawse::state {
namespace {

constexpr u8 CLOSED = HAWSE_INSTRUMENT_STATE_CLOSED;

// The first time behind `after` from which on an observation is stale; NEVER where there is none.
constexpr u64 NEVER = ~u64{0};
u64 next_turn(const Underlying &about, const Feed &feed, u64 after) {
    u64 next = NEVER;
    for (u32 n = 0; n < about.publisher_count; ++n) {
        const u64 turn = u64(feed.observed[n].time) + about.staleness + 1;
        if (feed.observed[n].is && turn > after)
            next = least(next, turn);
    }
    return next;
}

// The index up to `now`, and from there on; 0 for none.
void go_on(Settlement &state, u64 window, u64 now, i64 value) {
    const u64 span = state.value ? now - state.time : 0;
    state.total += i128(state.value) * i128(span), state.elapsed += span;
    if (state.elapsed > window) {
        state.total -= i128(state.value) * i128(state.elapsed - window);
        state.elapsed = window;
    }
    if (state.value)
        state.heard = now;
    if (value)
        state.last = value;
    state.time = now, state.value = value;
}

void open_window(Settlement &state, const Terms &terms, const Market &market, const Underlying &about, const Feed &feed) {
    const u64 begins = terms.expiry - terms.window;
    const i64 last = feed.index ? feed.index : most<i64>(1, market.mark);
    state = {true, begins, 0, begins, 0, last, 0};
    go_on(state, terms.window, begins, index_at(about, feed, begins));
}

i64 nearest(i128 value, u64 divisor) {
    u64 rest;
    return i64(floored(2 * value + i128(divisor), 2 * divisor, rest));
}

// False while it is not there.
bool settlement_price(const Settlement &state, const Terms &terms, u64 now, i64 &price) {
    const bool whole = state.elapsed == terms.window;
    if (!whole && (state.value || now - state.heard < terms.patience))
        return false;
    price = state.elapsed ? nearest(state.total, state.elapsed) : state.last;
    return true;
}

} // namespace

i64 window_mark(const Settlement &state, u64 window) {
    return nearest(state.total + i128(state.last) * i128(window - state.elapsed), window);
}

void follow_windows(Ledger &ledger, u64 now) {
    for (u32 n = 0; n < ledger.config->instruments; ++n) {
        const Terms &terms = ledger.config->terms[n];
        Market &market = ledger.markets[n];
        if (terms.feed == NONE || !terms.expiry || market.status == SETTLED || now < terms.expiry - terms.window)
            continue;
        const Feed &feed = ledger.feeds[terms.feed];
        const Underlying &about = ledger.config->underlyings[terms.feed];
        Settlement &state = market.settlement;
        if (!state.is)
            open_window(state, terms, market, about, feed);
        for (u64 turn = state.time; (turn = next_turn(about, feed, turn)) <= now;)
            go_on(state, terms.window, turn, index_at(about, feed, turn));
        go_on(state, terms.window, now, state.value);
        ledger.priced.insert(n);
    }
}

void hear_windows(Ledger &ledger, u64 now) {
    for (u32 n = 0; n < ledger.config->instruments; ++n) {
        const Terms &terms = ledger.config->terms[n];
        Market &market = ledger.markets[n];
        if (market.settlement.is && market.status != SETTLED)
            go_on(market.settlement, terms.window, now, ledger.is_valid(n) ? ledger.feeds[terms.feed].index : 0);
    }
}

void Expired::make(Arena &arena, Ledger &ledger, const Capacity &capacity) {
    ledger_ = &ledger;
    settled.make(arena, capacity.accounts);
    taken_.make(arena, ledger.config->orders);
    over_.make(arena, ledger.config->instruments);
}

void Expired::begin(u64 now, Numbers &moved) {
    now_ = now, taken_.count = over_.count = 0;
    settled.clear();
    for (u32 n = 0; n < ledger_->config->instruments; ++n) {
        const Terms &terms = ledger_->config->terms[n];
        Market &market = ledger_->markets[n];
        const bool expired = terms.expiry && now >= terms.expiry;
        if (expired && market.status != SETTLED)
            ledger_->set_status(n, CLOSED);
        if (market.status == CLOSED)
            take(n, expired ? HAWSE_REASON_EXPIRY : HAWSE_REASON_DELIST);
        i64 price;
        if (expired && market.settlement.is && market.status != SETTLED &&
            settlement_price(market.settlement, terms, now, price))
            settle(n, price, moved);
    }
}

// Nobody can trade with them any more: what they held is free at once.
void Expired::take(u32 market, u8 why) {
    ledger_->trading.each([&](u32 index) {
        for (u32 at = ledger_->accounts[index].newest; at != NONE; at = ledger_->orders[at].older) {
            if (ledger_->orders[at].market != market || ledger_->orders[at].dropped)
                continue;
            ledger_->trim(at, 0);
            taken_.add() = {at, why};
        }
    });
}

// Every position is paid out at one price; no fee.
void Expired::settle(u32 market, i64 price, Numbers &moved) {
    Ledger &ledger = *ledger_;
    over_.add() = {market, price, ledger.markets[market].open_interest};
    if (price != ledger.markets[market].mark)
        moved.insert(market);
    ledger.set_mark(market, i32(price), now_);
    for (u32 index = 0; index < ledger.account_count; ++index) {
        const Holding *h = ledger.holding(ledger.accounts[index], market);
        if (!h || !h->size)
            continue;
        ledger.settle(index, market, -h->size, i32(price));
        settled.insert(index);
    }
    ledger.set_status(market, SETTLED);
}

void Expired::tell(Admission &admission) {
    for (u32 n = 0; n < taken_.count; ++n) {
        const Taken &one = taken_.items[n];
        const Order &order = ledger_->orders[one.handle];
        admission.give_up(one.handle, one.why, i128(now_), i128(ledger_->config->terms[order.market].expiry));
    }
    for (u32 n = 0; n < over_.count; ++n)
        admission.tell(HAWSE_REASON_SETTLE, INSURANCE, ledger_->config->terms[over_.items[n].market].number,
                       over_.items[n].price, i128(over_.items[n].lots));
}

} // namespace hawse::state
