#include "clearing.hpp"

namespace hawse::state {
namespace {

u8 kind_of(const hawse_event &event) { return event.kind & 15; }

bool may_end(u8 time_in_force, u8 reason) {
    switch (time_in_force) {
    case HAWSE_TIME_IN_FORCE_GTC: return reason == HAWSE_REASON_SELF;
    case HAWSE_TIME_IN_FORCE_IOC: return reason == HAWSE_REASON_IOC || reason == HAWSE_REASON_SELF;
    case HAWSE_TIME_IN_FORCE_FOK: return reason == HAWSE_REASON_FOK;
    default: return reason == HAWSE_REASON_POST_ONLY;
    }
}

} // namespace

const Address &Clearing::owner_of(const Order &order) const {
    return ledger_.owner_of(ledger_.accounts[order.account]);
}

bool Clearing::run(Sent *sent, u32 count, const hawse_event *events, u64 event_count) {
    constexpr u64 FAR = 24, MIDDLE = 14, NEAR = 6;
    u64 at = 0;
    for (u32 n = 0; n < count; ++n) {
        if (at + FAR < event_count)
            prefetch(events[at + FAR], ORDERS);
        if (at + MIDDLE < event_count)
            prefetch(events[at + MIDDLE], ACCOUNTS);
        if (at + NEAR < event_count)
            prefetch(events[at + NEAR], HOLDINGS);
        const u32 seq = u32(sent[n].seq);
        u64 end = at;
        while (end < event_count && events[end].seq == seq)
            ++end;
        wrong_seq = sent[n].seq;
        if (end == at || !command(sent[n], events + at, end - at))
            return false;
        at = end;
    }
    wrong_seq = 0;
    release(sent, count);
    return at == event_count;
}

// What a report will want: from afar the orders that it names, then their accounts, then what those hold.
void Clearing::prefetch(const hawse_event &event, Wanted wanted) const {
    const u64 handles[2] = {event.order_id, event.maker_id};
    for (u32 n = 0; n < 1u + (kind_of(event) == HAWSE_KIND_TRADE); ++n) {
        if (handles[n] >= ledger_.config->orders)
            continue;
        const Order *const order = ledger_.orders + handles[n];
        if (wanted == ORDERS)
            __builtin_prefetch(order, 1);
        else if (wanted == ACCOUNTS)
            __builtin_prefetch(ledger_.accounts + order->account, 1);
        else
            ledger_.prefetch_orders(order->account, 0);
    }
}

// What was held for the slot alone: every replacement, beside the order as it now is.
void Clearing::release(const Sent *sent, u32 count) {
    for (u32 n = 0; n < count; ++n) {
        Order &order = ledger_.orders[sent[n].handle];
        if (sent[n].opcode == HAWSE_OPCODE_REPLACE)
            ledger_.hold(order, sent[n].price, -i64(sent[n].quantity));
        order.peak = order.remaining;
        order.dropped = false;
        if (order.strategy) {
            ledger_.strategies[order.strategy - 1].done += sent[n].filled;
            ledger_.planned.insert(order.strategy - 1);
        }
    }
}

// The first report says what became of the command; those of an arriving order follow.
bool Clearing::command(Sent &sent, const hawse_event *events, u64 count) {
    Order &order = ledger_.orders[sent.handle];
    const hawse_event &first = events[0];
    const u8 kind = kind_of(first), opcode = sent.opcode;
    const bool arrives = opcode == HAWSE_OPCODE_NEW || opcode == HAWSE_OPCODE_REPLACE;
    if (first.order_id != sent.handle || first.instrument != ledger_.config->terms[order.market].number)
        return false;
    if (count > 1 && (kind == HAWSE_KIND_REJECTED || !arrives))
        return false;
    if (kind == HAWSE_KIND_REJECTED)
        return rejected(sent, first.reason);
    if (first.handle != sent.handle || (opcode != HAWSE_OPCODE_NEW && !order.resting))
        return false;
    if (opcode == HAWSE_OPCODE_CANCEL) {
        if (kind != HAWSE_KIND_CANCELLED || first.reason != HAWSE_REASON_COMMAND || first.quantity != order.remaining)
            return false;
        ledger_.end(sent.handle);
        return true;
    }
    const u8 expected = opcode == HAWSE_OPCODE_NEW ? HAWSE_KIND_ACK : HAWSE_KIND_REPLACED;
    const i32 limit = opcode == HAWSE_OPCODE_REDUCE ? order.price : sent.price;
    if (kind != expected || first.price != limit || first.quantity != sent.quantity || !first.quantity)
        return false;
    const Terms &terms = ledger_.config->terms[order.market];
    if (u64(i64(limit) - terms.base) >= terms.count)
        return false;
    if (opcode == HAWSE_OPCODE_REDUCE) {
        if (first.quantity >= order.remaining)
            return false;
        ledger_.shrink(sent.handle, first.quantity);
        return true;
    }
    if (opcode == HAWSE_OPCODE_REPLACE) {
        ledger_.replace(sent.handle, first.price, first.quantity, sent.seq);
        order.time_in_force = HAWSE_TIME_IN_FORCE_GTC;
    }
    return arrival(sent, events + 1, count - 1);
}

bool Clearing::rejected(Sent &sent, u8 reason) {
    sent.reason = reason;
    numbers(sent);
    if (sent.opcode == HAWSE_OPCODE_NEW)
        ledger_.end(sent.handle);
    else if (ledger_.orders[sent.handle].resting && reason == HAWSE_REASON_NOT_RESTING)
        return false;
    return true;
}

// What the command had, and what it should have had, when the engine rejected it.
void Clearing::numbers(Sent &sent) const {
    const Order &order = ledger_.orders[sent.handle];
    sent.have = 0, sent.need = 1;
    if (sent.reason == HAWSE_REASON_PRICE) {
        const Terms &terms = ledger_.config->terms[order.market];
        const i64 highest = i64(terms.base) + terms.count - 1;
        sent.have = sent.price, sent.need = most<i64>(terms.base, least<i64>(sent.price, highest));
    } else if (sent.reason == HAWSE_REASON_QUANTITY) {
        sent.have = sent.quantity;
        sent.need = sent.opcode == HAWSE_OPCODE_REDUCE ? i64(order.remaining) - 1 : 1;
    }
}

// What an arriving order did: trades, self-trade prevention, and its own end or rest.
bool Clearing::arrival(Sent &sent, const hawse_event *events, u64 count) {
    Order &taker = ledger_.orders[sent.handle];
    bool done = false;
    for (u64 n = 0; n < count; ++n) {
        const hawse_event &event = events[n];
        const u8 kind = kind_of(event);
        if (done || event.instrument != ledger_.config->terms[taker.market].number)
            return false;
        if (kind == HAWSE_KIND_TRADE) {
            if (!trade(sent, event))
                return false;
        } else if (kind != HAWSE_KIND_CANCELLED) {
            return false;
        } else if (event.order_id == sent.handle) {
            if (!cancelled(sent, event, count == 1))
                return false;
            done = true;
        } else if (!maker_cancelled(taker, event)) {
            return false;
        }
    }
    if (done || !taker.remaining)
        ledger_.end(sent.handle);
    else if (taker.time_in_force == HAWSE_TIME_IN_FORCE_IOC || taker.time_in_force == HAWSE_TIME_IN_FORCE_FOK)
        return false;
    else
        ledger_.rest(sent.handle);
    return true;
}

bool Clearing::trade(Sent &sent, const hawse_event &event) {
    Order &taker = ledger_.orders[sent.handle];
    if (event.maker_id >= ledger_.config->orders)
        return false;
    const u32 maker_handle = u32(event.maker_id), quantity = event.quantity;
    Order &maker = ledger_.orders[maker_handle];
    if (!maker.resting || event.maker != maker_handle)
        return false;
    if (event.order_id != sent.handle || event.handle != sent.handle)
        return false;
    if (!quantity || quantity > least(taker.remaining, maker.remaining))
        return false;
    const bool buys = taker.side == HAWSE_SIDE_BUY, beyond = buys ? event.price > taker.price : event.price < taker.price;
    const u8 flags = u8(taker.side | (quantity == maker.remaining) << 1);
    if (event.price != maker.price || beyond || maker.side == taker.side || maker.market != taker.market ||
        owner_of(maker) == owner_of(taker) || taker.time_in_force == HAWSE_TIME_IN_FORCE_POST_ONLY ||
        event.kind >> 4 != flags)
        return false;
    if (ledger_.fill_count + 2 > ledger_.most_fills)
        return false; // more than any engine's trades, of which each ends an order
    const Terms &terms = ledger_.config->terms[taker.market];
    const i64 bought = buys ? i64(quantity) : -i64(quantity);
    sent.fee += taker.why && !taker.strategy ? ledger_.close(taker.account, taker.market, bought, event.price, taker.why)
                          : ledger_.fill(taker.account, taker.market, bought, event.price, terms.taker_fee_ppm);
    ledger_.fill(maker.account, taker.market, -bought, event.price, terms.maker_fee_ppm);
    sent.filled += quantity;
    sent.value += i128(bought) * event.price;
    ledger_.shrink(sent.handle, taker.remaining - quantity);
    if (quantity == maker.remaining)
        ledger_.end(maker_handle);
    else
        ledger_.shrink(maker_handle, maker.remaining - quantity);
    return true;
}

// What remains of an arriving order is cancelled; `alone`: it did nothing before.
bool Clearing::cancelled(Sent &sent, const hawse_event &event, bool alone) {
    const Order &taker = ledger_.orders[sent.handle];
    const u8 reason = event.reason;
    if (!may_end(taker.time_in_force, reason) ||
        ((reason == HAWSE_REASON_FOK || reason == HAWSE_REASON_POST_ONLY) && !alone) ||
        (reason == HAWSE_REASON_SELF && taker.self_trade == HAWSE_SELF_TRADE_CANCEL_OLDEST) ||
        event.handle != sent.handle || event.quantity != taker.remaining || !event.quantity)
        return false;
    sent.reason = reason, sent.have = sent.filled, sent.need = sent.quantity;
    return true;
}

bool Clearing::maker_cancelled(const Order &taker, const hawse_event &event) {
    if (event.order_id >= ledger_.config->orders)
        return false;
    const u32 handle = u32(event.order_id);
    const Order &maker = ledger_.orders[handle];
    if (!maker.resting || event.reason != HAWSE_REASON_SELF ||
        taker.self_trade == HAWSE_SELF_TRADE_CANCEL_NEWEST || !(owner_of(maker) == owner_of(taker)) ||
        maker.side == taker.side || maker.market != taker.market || event.handle != handle ||
        maker.remaining != event.quantity)
        return false;
    ledger_.end(handle);
    return true;
}

} // namespace hawse::state
