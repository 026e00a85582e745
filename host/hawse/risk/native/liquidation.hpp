// Liquidation, insurance, auto-deleveraging, socialisation: hawse/risk/liquidation.py, to the bit.
#pragma once

#include "portfolio.hpp"

namespace hawse::risk {

struct LiquidationTerms {
    i64 share, whole, most, begin, steps, fee, cap;
};

struct Unhealthy {
    i64 account, equity, maintenance;
};

struct Opposite {
    i64 account, size, profit, notional, equity, maintenance;
};

struct Taken {
    i64 account, lots;
};

// An account's equity; its share of a loss comes into quanta. rest is for the sort.
struct Bearer {
    i64 account, equity, quanta;
    Wide rest;
};

// Sorts the accounts.
Code order(Unhealthy* accounts, u64 count);
Code weight(const Instrument& instrument, i64 size, i64& result);
Code first_of_portfolio(const LiquidationTerms& terms, const Arrays& arrays, const Position* positions, u64 count,
                        i64 basis_part, u64& result);
Code step_lots(const LiquidationTerms& terms, i64 left, i64& result);
Code bankruptcy_price(const Terms& terms, i64 mark, i64 size, i64 equity, i64 own, i64 total, i64& result);
Code step_price(const LiquidationTerms& terms, i64 mark, i64 bankruptcy, i64 size, i64 step, i64& result);
i64 liquidation_fee(const LiquidationTerms& terms, i64 value, i64 equity);
// Lots of size that the account of these holdings takes at price into held[at]; held changes and is put back.
Code takeover(i64 collateral, const Instrument* instruments, Holding* held, u64 count, u64 at, i64 size, i64 price,
              i64& result);
// Sorts the accounts; taken has a row for each of them.
Code deleverage(const Terms& terms, i64 mark, i64 bankruptcy, i64 size, Opposite* opposite, u64 count, Taken* taken,
                u64& takers, i64& left);
// Sorts the bearers; those without positive equity bear 0.
Code socialise(i64 loss, Bearer* bearers, u64 count, i64& rest);

}  // namespace hawse::risk
