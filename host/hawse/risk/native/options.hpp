// European options on a forward by Black's formula: hawse/risk/options.py, to the bit.
#pragma once

#include "fixed.hpp"

namespace hawse::risk {

constexpr i64 kMostUnits = (i64{1} << 62) - 1;
constexpr int kRatioBits = 14;
constexpr i64 kMostTime = 50 * kOne;
constexpr i64 kMostVolatility = 16 * kOne;
constexpr i64 kMostDiscount = 2 * kOne;
constexpr i64 kMostDeviation = 16 * kFine;
constexpr i64 kLeastVega = i64{1} << 20;

enum class Right : i64 { CALL = 0, PUT = 1 };

struct Request {
    i64 forward, strike, time, volatility, discount;
};

struct Quote {
    Right right;
    i64 forward, strike, time, price, discount;
};

struct Prices {
    i64 call, put;
};

// As parts of the forward.
struct Option {
    i64 call, put, call_delta, put_delta, gamma, vega, theta, vanna, volga, call_rho, put_rho;
};

// Where the code is not OK nothing is written.
Code years(i64 nanoseconds, i64& result);
Code log_moneyness(i64 forward, i64 strike, i64& result);
Code of_forward(i64 part, i64 forward, Rounding rounding, i64& result);
Code prices(const Request& request, Prices& result);
Code evaluate(const Request& request, Option& result);
Code implied_volatility(const Quote& quote, i64& result);

}  // namespace hawse::risk
