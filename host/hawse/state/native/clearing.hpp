// What the engine reported, applied to the ledger, and held against it: hawse.state.clearing.
#pragma once

#include "admission.hpp"

namespace hawse::state {

class Clearing {
  public:
    explicit Clearing(Ledger &ledger) : ledger_(ledger) {}

    // Applies every record of a slot's burst to what was sent; false if there is one that cannot be.
    bool run(Sent *sent, u32 count, const hawse_event *events, u64 event_count);

    u64 wrong_seq = 0; // of the command whose report cannot be; 0: a report of no command

  private:
    enum Wanted { ORDERS, ACCOUNTS, HOLDINGS };
    void prefetch(const hawse_event &event, Wanted wanted) const;
    bool command(Sent &sent, const hawse_event *events, u64 count);
    bool rejected(Sent &sent, u8 reason);
    void numbers(Sent &sent) const;
    bool arrival(Sent &sent, const hawse_event *events, u64 count);
    bool trade(Sent &sent, const hawse_event &event);
    i64 liquidation_fee(const Order &taker, i32 price, u32 quantity);
    bool cancelled(Sent &sent, const hawse_event &event, bool alone);
    bool maker_cancelled(const Order &taker, const hawse_event &event);
    void release(const Sent *sent, u32 count);
    const Address &owner_of(const Order &order) const;

    Ledger &ledger_;
};

} // namespace hawse::state
