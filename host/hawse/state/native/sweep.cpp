#include "admission.hpp"

namespace hawse::state {

void Admission::sweep(const Numbers &moved, const Numbers &touched) {
    trim_all();
    carry_all(moved, touched);
    time_out();
}

// The machine takes an order back, but for `left` lots.
void Admission::give_up(u32 handle, u8 reason, i128 first, i128 second, u32 left) {
    const Order &order = ledger_->orders[handle];
    events.add() = {reason, 0, ledger_->config->terms[order.market].number, order.account, 0, first, second};
    take(handle, left, reason, 0);
}

// Reduce-only orders beyond what they could close, newest first.
void Admission::trim_all() {
    ledger_->reducing.each([&](u32 index) {
        // Each looked up anew, for trimming may end what is held of an instrument.
        u32 market = 0;
        while ((market = ledger_->lowest_market(ledger_->accounts[index], market)) != NONE) {
            trim(index, market, HAWSE_SIDE_BUY);
            trim(index, market, HAWSE_SIDE_SELL);
            ++market;
        }
    });
}

void Admission::trim(u32 index, u32 market, u32 side) {
    const Ledger &ledger = *ledger_;
    const Account &account = ledger.accounts[index];
    for (u32 at = account.newest, older; at != NONE; at = older) {
        const Order &order = ledger.orders[at];
        older = order.older;
        if (!order.reduce_only || order.dropped || order.market != market || order.side != side)
            continue;
        const i64 excess = -ledger.room_to_close(account, market, side);
        if (excess <= 0)
            return;
        const u32 left = u32(most<i64>(0, i64(order.remaining) - excess));
        const u32 gone = order.remaining - left;
        ledger_->trim(at, left);
        give_up(at, HAWSE_REASON_TRIM, gone, left, left);
    }
}

// Orders of accounts whose free collateral the new marks have used up, or another's end.
void Admission::carry_all(const Numbers &moved, const Numbers &also) {
    if (moved.empty() && also.empty())
        return;
    ledger_->trading.each([&](u32 index) {
        bool touched = also.has(index);
        ledger_->each_holding(ledger_->accounts[index], [&](const Holding &h) { touched |= moved.has(h.market); });
        if (touched)
            carry(index);
    });
}

void Admission::carry(u32 index) {
    Ledger &ledger = *ledger_;
    Account &account = ledger.accounts[index];
    i128 free = ledger.free_collateral(account);
    const auto drop = [&](u32 handle) {
        ledger.trim(handle, 0);
        const i128 before = free;
        free = ledger.free_collateral(account);
        give_up(handle, HAWSE_REASON_MARGIN_LOST, before, free - before);
    };
    for (u32 at = account.newest; at != NONE && free < 0; at = ledger.orders[at].older)
        if (!ledger.orders[at].dropped && !only_closes(ledger.orders[at]))
            drop(at);
    for (u32 at = account.newest; at != NONE; at = ledger.orders[at].older)
        if (!ledger.orders[at].dropped && ledger.solvency(account, free) < 0)
            drop(at);
}

// Whether an order, and all on its side, close a position, and it pays for itself.
bool Admission::only_closes(const Order &order) {
    const Ledger &ledger = *ledger_;
    if (ledger.room_to_close(ledger.accounts[order.account], order.market, order.side) < 0 || !order.held)
        return false;
    return pays_for_itself(ledger.config->terms[order.market], order.side, order.price, order.held,
                           ledger.markets[order.market].mark, ledger_->overflow);
}

// All orders of accounts whose timer has run out.
void Admission::time_out() {
    Ledger &ledger = *ledger_;
    ledger.timed.each([&](u32 index) {
        Account &account = ledger.accounts[index];
        if (account.timer > time_)
            return;
        for (u32 at = account.newest; at != NONE; at = ledger.orders[at].older) {
            if (ledger.orders[at].dropped)
                continue;
            ledger.trim(at, 0);
            give_up(at, HAWSE_REASON_TIMER, account.timer, time_);
        }
        ledger.set_timer(index, 0);
    });
}

} // namespace hawse::state
