// Index, mark, averages, settlement, volatility, funding: prices.py, settlement.py, volatility.py, funding.py of
// hawse/risk, to the bit.
//
// States change in place, and only where the code is OK. A value that may be missing has a flag beside it.
#pragma once

#include "index.hpp"
#include "requirements.hpp"
#include "surface.hpp"

namespace hawse::risk {

constexpr int kBasisBits = 16;
constexpr int kFundingBits = 20;
constexpr i64 kMinute = 60'000'000'000;

struct Observation {
    i64 publisher, value, time, number;
};

// observed has a row for each publisher.
Code observe(const Feed& feed, Last* observed, const Observation& said, i64 now);

struct Average {
    i64 time, elapsed;
    Maybe value;
    Wide total;
    Code until(i64 now);
    Code step(i64 now, const Maybe& next);
    Maybe mean() const;
};

struct MarkTerms {
    i64 bound, smoothing;
};

struct Marking {
    i64 time, basis;
    Maybe last;
    Average impact;
};

struct Mark {
    i64 value, fair;
    Maybe impact;
};

Code quote(Marking& marking, i64 now, const Maybe& bid, const Maybe& ask);
Code mark(const MarkTerms& terms, Marking& marking, i64 now, i64 index, Mark& result);
Code option_mark(Right right, const Surface& surface, i64 forward, i64 strike, i64 time, i64& result);

struct Settlement {
    i64 window, last, heard;
    Average average;
};

Code open_window(i64 window, i64 now, i64 index, Settlement& result);
Code in_window(Settlement& state, i64 now, const Maybe& index);
i64 window_mark(const Settlement& state);
Maybe settlement_price(const Settlement& state, i64 now, i64 patience);

struct VolatilityTerms {
    i64 grid, decay, horizon, factor, floor, step;
};

struct Volatility {
    i64 point, value, variance;
};

struct Driven {
    i64 fraction, changed;
};

Code follow(const VolatilityTerms& terms, Volatility& state, i64 now, i64 index);
i64 wanted_fraction(const VolatilityTerms& terms, i64 variance);
Code drive(const VolatilityTerms& terms, Driven& state, i64 now, i64 variance);

struct FundingTerms {
    i64 interval, hold, scale, most;
};

struct Funding {
    i64 begun, until, index, cumulative;
    Average premium;
};

Code premium(i64 index, const Maybe& bid, const Maybe& ask, Maybe& result);
Code advance(const FundingTerms& terms, Funding& state, i64 now);
Code observe(const FundingTerms& terms, Funding& state, i64 now, const Maybe& index, const Maybe& value);
Code payment(i64 size, i64 since, i64 cumulative, i64 numerator, i64 denominator, i64& result);

}  // namespace hawse::risk
