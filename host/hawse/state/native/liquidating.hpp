// What the machine does with accounts that do not carry their positions: hawse.state.liquidating.
#pragma once

#include "admission.hpp"

namespace hawse::state {

// One slot's liquidations, before its commands.
class Liquidation {
  public:
    void make(Arena &arena, Ledger &ledger, Admission &admission, const Capacity &capacity);
    // Looks again at the accounts that have changed.
    void check_changed();
    // Cancels the orders of the accounts that are worst off, ends those that are to end, shares losses.
    void run(u64 slot, const Numbers &moved);
    // Sends the machine's orders: behind all that it cancels, or they would take what no account carries.
    void trade(const Numbers &moved);
    // Closes all positions of an account that a forced request wants closed.
    void leave(u32 account, u64 cause);

    Numbers touched; // accounts that another's end has cost a position or money

    // Events of a slot beside those of orders, at most.
    static size_t most_events(const Config &config);

  private:
    static constexpr u32 MOST_MOVES = 1024;
    static constexpr i64 MOST_LOTS = i64{1} << 56;

    struct Unhealthy {
        u32 account;
        i64 equity, maintenance;
    };
    struct Opposite {
        u32 account;
        i64 size, profit, notional, equity, maintenance;
    };
    struct Bearer {
        u32 account;
        i64 equity, quanta;
        u128 rest;
    };

    void queue();
    void go_on(u32 account);
    void step(u32 account, const Health &has);
    i64 limit(u32 account, const Holding &h, u32 step);
    u8 send(u32 account, u32 market, i64 lots, i64 limit, u8 why, i128 first, i128 second, u64 cause);
    void unwind(const Numbers &moved);
    void close_out(u32 account);
    void move(u32 account, u32 other, u32 market, i64 lots, i32 price, u8 why);
    void take_over(u32 account, u32 market, i32 price);
    i128 insurance_free(u32 market, i64 lots, i32 price);
    void deleverage(u32 account, u32 market, i32 price);
    Opposite opposite_of(u32 account, const Holding &h);
    i64 profit_of(const Holding &h);
    void share_losses();
    i64 socialise(i64 loss);
    void forgive(i128 insured, i128 borne);
    void pay(u32 account, i128 quanta);
    const Holding *heaviest(u32 account);
    i32 bankruptcy_price(u32 account, const Holding &h);
    i64 step_lots(i64 size) const;

    const Config *config_;
    Ledger *ledger_;
    Admission *admission_;
    u64 slot_;
    u32 moves_;
    List<Unhealthy> queue_;
    List<Opposite> opposite_;
    List<Bearer> bearers_;
    List<u32> in_market_; // accounts that go on there
    List<u32> owing_; // accounts without position that owe
    Numbers left_;    // accounts that a request of this slot has closed
};

} // namespace hawse::state
