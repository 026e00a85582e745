// What expires: hawse.state.settling.
#pragma once

#include "admission.hpp"

namespace hawse::state {

// The index that there was until `now`, or until its quorum was over, counts in every open window.
void follow_windows(Ledger &ledger, u64 now);
// The index from `now` on.
void hear_windows(Ledger &ledger, u64 now);
// (Average so far × elapsed + index × rest) / window.
i64 window_mark(const Settlement &state, u64 window);

// What a slot ends: orders of what may not be traded any more, and positions.
class Expired {
  public:
    void make(Arena &arena, Ledger &ledger, const Capacity &capacity);
    // Into `moved` the instruments whose mark is now the settlement price.
    void begin(u64 now, Numbers &moved);
    // The machine's commands for the orders, and the events.
    void tell(Admission &admission);

    Numbers settled; // accounts that had a position

  private:
    struct Taken {
        u32 handle;
        u8 why;
    };
    struct Settled {
        u32 market;
        i64 price;
        u64 lots;
    };

    void take(u32 market, u8 why);
    void settle(u32 market, i64 price, Numbers &moved);

    Ledger *ledger_;
    List<Taken> taken_;
    List<Settled> over_;
    u64 now_;
};

} // namespace hawse::state
