// Flat C functions over rows of arguments; hawse.risk.native.bindings calls them. A code for each row.
#include "surface.hpp"

#define HAWSE_API extern "C" __attribute__((visibility("default")))

using namespace hawse::risk;

namespace {

struct Operands {
    i64 operation, rounding, a, b;
};

enum Operation : i64 { MUL, DIV, SQRT, EXP, LOG, DENSITY, DISTRIBUTION, INVERSE, YEARS, MONEYNESS, OF_FORWARD };

Code carry_out(const Operands& o, i64& result) {
    const Rounding rounding = Rounding(o.rounding);
    switch (o.operation) {
        case MUL: return mul(o.a, o.b, rounding, result);
        case DIV: return div(o.a, o.b, rounding, result);
        case SQRT: return sqrt(o.a, result);
        case EXP: return exp(o.a, result);
        case LOG: return log(o.a, result);
        case DENSITY: result = normal_density(o.a); return Code::OK;
        case DISTRIBUTION: result = normal_distribution(o.a); return Code::OK;
        case INVERSE: return inverse_normal_distribution(o.a, result);
        case YEARS: return years(o.a, result);
        case MONEYNESS: return log_moneyness(o.a, o.b, result);
        case OF_FORWARD: return of_forward(o.a, o.b, rounding, result);
        default: return Code::ARGUMENT;
    }
}

struct Point {
    i64 moneyness, time;
};

struct Values {
    i64 variance, volatility;
};

}  // namespace

HAWSE_API const char* hawse_risk_tables_hash() { return table::kHash; }

HAWSE_API void hawse_risk_fixed(const Operands* rows, u64 count, i64* results, int32_t* codes) {
    for (u64 n = 0; n < count; ++n) codes[n] = int32_t(carry_out(rows[n], results[n]));
}

HAWSE_API void hawse_risk_prices(const Request* rows, u64 count, Prices* results, int32_t* codes) {
    for (u64 n = 0; n < count; ++n) codes[n] = int32_t(prices(rows[n], results[n]));
}

HAWSE_API void hawse_risk_evaluate(const Request* rows, u64 count, Option* results, int32_t* codes) {
    for (u64 n = 0; n < count; ++n) codes[n] = int32_t(evaluate(rows[n], results[n]));
}

HAWSE_API void hawse_risk_implied_volatility(const Quote* rows, u64 count, i64* results, int32_t* codes) {
    for (u64 n = 0; n < count; ++n) codes[n] = int32_t(implied_volatility(rows[n], results[n]));
}

HAWSE_API int32_t hawse_risk_surface_check(const Surface* surface) { return int32_t(check(*surface)); }

// codes holds two for each point: of the total variance, and of the volatility.
HAWSE_API void hawse_risk_surface_at(const Surface* surface, const Point* points, u64 count, Values* results,
                                     int32_t* codes) {
    for (u64 n = 0; n < count; ++n) {
        const auto [moneyness, time] = points[n];
        codes[2 * n] = int32_t(variance(*surface, moneyness, time, results[n].variance));
        codes[2 * n + 1] = int32_t(volatility(*surface, moneyness, time, results[n].volatility));
    }
}

HAWSE_API int32_t hawse_risk_arbitrage(const Surface* surface, const Listing* listings, u64 count,
                                       Arbitrage* result) {
    return int32_t(arbitrage(*surface, listings, count, *result));
}

HAWSE_API int32_t hawse_risk_distance(const Surface* a, const Surface* b, i64* result) {
    return int32_t(distance(*a, *b, *result));
}

HAWSE_API int32_t hawse_risk_ruling(const Surface* surfaces, u64 count, i64* result) {
    return int32_t(ruling(surfaces, count, *result));
}
