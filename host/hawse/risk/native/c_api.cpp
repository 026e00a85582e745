// Flat C functions over rows of arguments; hawse.risk.native.bindings calls them. A code for each row.
#include "portfolio.hpp"
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

HAWSE_API u64 hawse_risk_instrument_size() { return sizeof(Instrument); }

// instruments holds count times hawse_risk_instrument_size() bytes, aligned to 16.
HAWSE_API void hawse_risk_prepare(const Terms* terms, const Market* markets, u64 count, Instrument* instruments,
                                  int32_t* codes) {
    for (u64 n = 0; n < count; ++n) codes[n] = int32_t(prepare(terms[n], markets[n], instruments[n]));
}

HAWSE_API void hawse_risk_requirement(const Instrument* instruments, const Holding* rows, u64 count, Needs* results,
                                      int32_t* codes) {
    for (u64 n = 0; n < count; ++n)
        codes[n] = int32_t(requirement(instruments[rows[n].instrument], rows[n], results[n]));
}

// Account n has the holdings from ends[n - 1] to ends[n].
HAWSE_API void hawse_risk_cross(const Instrument* instruments, const Holding* held, const u64* ends,
                                const i64* collateral, u64 count, Cross* results, int32_t* codes) {
    for (u64 n = 0, at = 0; n < count; at = ends[n++])
        codes[n] = int32_t(cross(collateral[n], instruments, held + at, ends[n] - at, results[n]));
}

HAWSE_API void hawse_risk_withdrawable(const Instrument* instruments, const Holding* held, const u64* ends,
                                       const i64* collateral, u64 count, i64 covered, i64* results,
                                       int32_t* codes) {
    for (u64 n = 0, at = 0; n < count; at = ends[n++])
        codes[n] =
            int32_t(withdrawable(collateral[n], instruments, held + at, ends[n] - at, covered != 0, results[n]));
}

HAWSE_API void hawse_risk_free_with(const Instrument* instruments, const Holding* held, const u64* ends,
                                    const i64* collateral, u64 count, const Order* orders, i64* results,
                                    int32_t* codes) {
    for (u64 n = 0, at = 0; n < count; at = ends[n++])
        codes[n] =
            int32_t(free_with(collateral[n], instruments, held + at, ends[n] - at, orders[n], results[n]));
}

struct ArrayRequest {
    Terms terms;
    Market market;
    Priced priced;
    i64 expiry;
};

HAWSE_API void hawse_risk_arrays(const ArrayRequest* rows, const Scenario* scenarios, const Ranges* ranges,
                                 i64 short_part, const Arrays* arrays, int32_t* codes) {
    for (u64 n = 0; n < arrays->count; ++n) {
        const auto& [terms, market, priced, expiry] = rows[n];
        codes[n] = int32_t(array(terms, market, scenarios, *ranges, short_part, expiry, priced, *arrays, n));
    }
}

// losses may be null; else it has the scenarios of each account.
HAWSE_API void hawse_risk_scan(const Arrays* arrays, const Position* positions, const u64* ends, u64 count,
                               i64 basis_part, i64* losses, Scan* results, int32_t* codes) {
    for (u64 n = 0, at = 0; n < count; at = ends[n++]) {
        i64* const out = losses ? losses + n * arrays->scenarios : nullptr;
        codes[n] = int32_t(scan(*arrays, positions + at, ends[n] - at, basis_part, out, results[n]));
    }
}

HAWSE_API void hawse_risk_add_on(const Arrays* arrays, const Position* legs, const u64* ends, u64 count,
                                 i64 basis_part, const i64* costs, i64* results, int32_t* codes) {
    for (u64 n = 0, at = 0; n < count; at = ends[n++])
        codes[n] = int32_t(add_on(*arrays, legs + at, ends[n] - at, basis_part, costs[n], results[n]));
}

// Accounts in one underlying: instrument n of the holdings is row n of the arrays. orders is what the open orders
// of each add.
HAWSE_API void hawse_risk_portfolio(const Instrument* instruments, const Arrays* arrays, const Holding* held,
                                    const u64* ends, const i64* collateral, const i64* orders, u64 count,
                                    i64 basis_part, i64 maintenance_part, Portfolio* results, int32_t* codes) {
    for (u64 n = 0, at = 0; n < count; at = ends[n++]) {
        const u64 size = ends[n] - at;
        Position positions[kMostHoldings];
        i64 values[kMostHoldings];
        Code code = size > kMostHoldings ? Code::SHAPE : Code::OK;
        for (u64 k = 0; k < size && code == Code::OK; ++k) {
            const Holding& each = held[at + k];
            const Instrument& instrument = instruments[each.instrument];
            positions[k] = {each.instrument, each.size};
            code = unrealised(instrument, instrument.market.mark, each, values[k]);
        }
        Scan found = {0, 0, 0};
        if (code == Code::OK) code = scan(*arrays, positions, size, basis_part, nullptr, found);
        if (code == Code::OK)
            code = portfolio(collateral[n], values, size, &found, 1, orders + n, 1, maintenance_part, results[n]);
        codes[n] = int32_t(code);
    }
}
