// The same options in doubles: with the C library alone, and with QuantLib where its headers are installed.
#include <cmath>
#include <cstdint>

#if __has_include(<ql/pricingengines/blackcalculator.hpp>)
#include <ql/pricingengines/blackcalculator.hpp>
#include <ql/version.hpp>
#define HAS_QUANTLIB 1
#endif

#define BENCH_API extern "C" __attribute__((visibility("default")))

namespace {

struct Request {
    double forward, strike, time, volatility, discount;
};

struct Option {
    double call, put, call_delta, put_delta, gamma, vega, theta, vanna, volga, call_rho, put_rho;
};

double distribution(double x) { return 0.5 * std::erfc(-x * M_SQRT1_2); }

Option black(const Request& r) {
    const double k = r.strike / r.forward, root = std::sqrt(r.time), s = r.volatility * root;
    const double d1 = -std::log(k) / s + s / 2, d2 = d1 - s, discount = r.discount;
    const double first = distribution(d1), second = distribution(d2);
    const double density = 0.3989422804014327 * std::exp(-d1 * d1 / 2), vega = discount * density * root;
    const double call = discount * (first - k * second), put = call - discount * (1 - k);
    return {call, put, discount * first, discount * (first - 1), discount * density / s, vega,
            -vega * r.volatility / (2 * r.time), -discount * density * d2 / r.volatility,
            vega * d1 * d2 / r.volatility, -r.time * call, -r.time * put};
}

}  // namespace

BENCH_API void bench_doubles(const Request* rows, uint64_t count, Option* results) {
    for (uint64_t n = 0; n < count; ++n) results[n] = black(rows[n]);
}

#ifdef HAS_QUANTLIB
BENCH_API const char* bench_quantlib_version() { return QL_VERSION; }

// vanna and volga are ours: this class has them since 1.41.
BENCH_API void bench_quantlib(const Request* rows, uint64_t count, Option* results) {
    using QuantLib::BlackCalculator;
    for (uint64_t n = 0; n < count; ++n) {
        const auto [forward, strike, time, volatility, discount] = rows[n];
        const double k = strike / forward, s = volatility * std::sqrt(time);
        const BlackCalculator call(QuantLib::Option::Call, k, 1.0, s, discount);
        const BlackCalculator put(QuantLib::Option::Put, k, 1.0, s, discount);
        const double vega = call.vega(time), d1 = -std::log(k) / s + s / 2;
        results[n] = {call.value(), put.value(), call.deltaForward(), put.deltaForward(), call.gammaForward(),
                      vega, -vega * volatility / (2 * time), vega * (1 - d1 / s),
                      vega * d1 * (d1 - s) / volatility, -time * call.value(), -time * put.value()};
    }
}
#endif
