// Rules that an account registers and the machine itself runs in each slot: hawse.state.strategies.
#pragma once

#include "admission.hpp"

namespace hawse::state {

enum StrategyKind : u8 { STOP = 1, TAKE = 2, TRAIL = 3, SLICE = 4, HEDGE = 5 };

// One slot's, behind the users' commands.
class Strategies {
  public:
    void make(Arena &arena, Ledger &ledger, Admission &admission);
    // Ends those that are over, and sends the orders of those that are due, who has waited longest first.
    void run(u64 time);

  private:
    static constexpr u32 MOST_ORDERS = 64;

    struct Wanted {
        u8 side;
        i64 lots;
    };

    bool is_over(const Strategy &one) const;
    bool looks(Strategy &one, u32 place);
    bool act(Strategy &one, u32 place);
    Wanted wanted(const Strategy &one) const;
    i128 delta(const Account &account, u32 market) const;

    Ledger *ledger_;
    Admission *admission_;
    List<u32> due_;
    u64 time_;
};

} // namespace hawse::state
