// Portfolio margin: hawse/risk/portfolio.py, to the bit.
#pragma once

#include "requirements.hpp"

namespace hawse::risk {

constexpr int kValueBits = 20;
constexpr u64 kMostScenarios = 64;
constexpr u64 kMostExpiries = 64;

struct Scenario {
    i64 move, volatility, weight;
};

struct Ranges {
    i64 price, volatility;
};

// What an option's value follows; all 0 for a linear instrument.
struct Priced {
    i64 forward, time, volatility;
};

// Arrays of count instruments of one underlying; changes has scenarios of them for each, peaks the largest of
// their magnitudes.
struct Arrays {
    i64* changes;
    i64* peaks;
    i64* deltas;
    i64* vegas;
    i64* minima;
    i64* expiries;
    u64 count, scenarios;
};

struct Position {
    i64 instrument, lots;
};

// What the golden Scan has, with the worst of its losses, 0 at least.
struct Scan {
    i64 worst, short_minimum, basis;
    i128 requirement() const { return i128{worst > short_minimum ? worst : short_minimum} + basis; }
};

struct Portfolio {
    i64 equity, requirement, maintenance;
};

// Fills the row of an instrument; with zeros where the code is not OK.
Code array(const Terms& terms, const Market& market, const Scenario* scenarios, const Ranges& ranges,
           i64 short_part, i64 expiry, const Priced& priced, const Arrays& arrays, u64 row);
// Where losses is not null each scenario's loss is written there.
Code scan(const Arrays& arrays, const Position* positions, u64 count, i64 basis_part, i64* losses, Scan& result);
Code add_on(const Arrays& arrays, const Position* legs, u64 count, i64 basis_part, i64 cost, i64& result);
// Of an account: the values of its positions, a scan of each underlying, what each open order adds.
Code portfolio(i64 collateral, const i64* values, u64 count, const Scan* scans, u64 underlyings, const i64* orders,
               u64 order_count, i64 maintenance_part, Portfolio& result);
// Whether an IOC is admitted at zero.
inline bool closes(const Portfolio& before, const Portfolio& after) {
    return after.requirement <= before.requirement &&
           i128{after.equity} - after.requirement >= i128{before.equity} - before.requirement;
}

}  // namespace hawse::risk
