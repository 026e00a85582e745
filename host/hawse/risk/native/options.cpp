#include "options.hpp"

namespace hawse::risk {
namespace {

constexpr i64 kNanosecondsPerYear = i64{365} * 24 * 3600 * 1000000000;
constexpr i64 kFarthest = 16 * kFine;
constexpr int kRounds = 64;

// Everything that prices and Greeks begin with.
struct Terms {
    i64 ratio, root, deviation, d1, d2;
};

inline bool outside(i64 value, i64 least, i64 most) { return value < least || value > most; }

inline i64 product(i64 a, i64 b) { return held(shifted(i128{a} * b, kBits)); }

inline i64 time_root(i64 time) { return i64(root(u128(time) << (2 * kFineBits - kBits))); }

Code ratio_of(i64 forward, i64 strike, i64& ratio) {
    if (outside(forward, 1, kMostUnits)) return Code::FORWARD;
    if (outside(strike, 1, kMostUnits)) return Code::STRIKE;
    if (strike > i128{forward} << kRatioBits || forward > i128{strike} << kRatioBits) return Code::RATIO;
    ratio = i64(quotient(i128{strike} << kBits, u64(forward)));
    return Code::OK;
}

void distances(i64 log_ratio, i64 deviation, i64& d1, i64& d2) {
    const i64 magnitude = log_ratio < 0 ? -log_ratio : log_ratio;
    i64 middle = 0;
    if (magnitude >= i128{deviation} * 16) {
        middle = kFarthest * ((log_ratio > 0) - (log_ratio < 0));
    } else {
        middle = i64(quotient(i128{log_ratio} * kFine, u64(deviation)));
    }
    d1 = middle + (deviation >> 1);
    d2 = d1 - deviation;
}

Code terms_of(const Request& r, Terms& t) {
    if (const Code code = ratio_of(r.forward, r.strike, t.ratio); code != Code::OK) return code;
    if (outside(r.time, 0, kMostTime)) return Code::TIME;
    if (outside(r.volatility, 1, kMostVolatility)) return Code::VOLATILITY;
    t.root = time_root(r.time);
    const i128 deviation = shifted(i128{r.volatility} * t.root, kBits);
    if (deviation >= kMostDeviation) return Code::DEVIATION;
    t.deviation = i64(deviation);
    if (outside(r.discount, 1, kMostDiscount)) return Code::DISCOUNT;
    distances(log_ratio_fine(r.forward, r.strike), t.deviation, t.d1, t.d2);
    return Code::OK;
}

// Of the call where K ≥ F, else of the put, from Φ(d₁) and Φ(d₂).
inline i64 out_of_the_money(i64 ratio, i64 first, i64 second) {
    i128 value = 0;
    if (ratio >= kOne) {
        value = first - shifted(i128{ratio} * second, kBits);
    } else {
        value = shifted(i128{ratio} * (kFine - second), kBits) - (kFine - first);
    }
    return value < 0 ? 0 : i64(value);
}

Prices discounted(i64 value, i64 ratio, i64 discount) {
    const i64 rounded = i64(shifted(value, kSpare)), gap = ratio - kOne;
    const i64 call = gap >= 0 ? rounded : rounded - gap, put = gap >= 0 ? rounded + gap : rounded;
    return {product(call, discount), product(put, discount)};
}

Code time_value(const Quote& q, i64 ratio, i64& value) {
    const bool call = q.right == Right::CALL;
    const i64 gap = call ? kOne - ratio : ratio - kOne, intrinsic = gap > 0 ? gap : 0;
    const i64 most = call ? kOne : ratio, worth = product(intrinsic, q.discount);
    const i128 undiscounted = quotient(i128{q.price} << kBits, u64(q.discount));
    if (q.price < worth) return Code::BELOW_INTRINSIC;
    if (q.price == worth || undiscounted <= intrinsic) return Code::NO_TIME_VALUE;
    if (q.price >= product(most, q.discount) || undiscounted >= most) return Code::ABOVE_BOUND;
    value = i64(undiscounted - intrinsic);
    return Code::OK;
}

// σ√t of which the price of the option out of the money is value.
i64 solve(i64 log_ratio, i64 ratio, i64 value) {
    const i64 magnitude = log_ratio < 0 ? -log_ratio : log_ratio;
    i64 low = 0, high = kMostDeviation;
    i64 deviation = i64(root(u128(magnitude) << (kFineBits + 1)));
    if (deviation >= kMostDeviation) deviation = kMostDeviation - 1;
    for (int tried = 1; high - low > 1; ++tried) {
        i64 d1 = 0, d2 = 0;
        distances(log_ratio, deviation, d1, d2);
        const i64 less = value - out_of_the_money(ratio, distribution_fine(d1), distribution_fine(d2));
        if (less == 0) return deviation;
        if (less > 0 && low < deviation) low = deviation;
        if (less < 0 && high > deviation) high = deviation;
        const i64 slope = density_fine(d1);
        const i128 step = slope && tried < kRounds ? quotient(i128{less} * kFine, u64(slope)) : kMost;
        if (step == 0) return deviation;
        const i128 next = deviation + step;
        deviation = next > low && next < high ? i64(next) : (low + high) >> 1;
    }
    return deviation;
}

}  // namespace

Code years(i64 nanoseconds, i64& result) {
    if (nanoseconds < 0 || nanoseconds > (i128{kMostTime} * kNanosecondsPerYear >> kBits)) return Code::TIME;
    result = i64(quotient(i128{nanoseconds} << kBits, kNanosecondsPerYear));
    return Code::OK;
}

Code log_moneyness(i64 forward, i64 strike, i64& result) {
    i64 ratio = 0;
    if (const Code code = ratio_of(forward, strike, ratio); code != Code::OK) return code;
    result = i64(shifted(log_ratio_fine(strike, forward), kSpare));
    return Code::OK;
}

Code of_forward(i64 part, i64 forward, Rounding rounding, i64& result) {
    if (outside(forward, 1, kMostUnits)) return Code::FORWARD;
    return mul(part, forward, rounding, result);
}

Code prices(const Request& request, Prices& result) {
    Terms t;
    if (const Code code = terms_of(request, t); code != Code::OK) return code;
    const i64 value = out_of_the_money(t.ratio, distribution_fine(t.d1), distribution_fine(t.d2));
    result = discounted(value, t.ratio, request.discount);
    return Code::OK;
}

Code evaluate(const Request& request, Option& result) {
    Terms t;
    if (const Code code = terms_of(request, t); code != Code::OK) return code;
    const i64 discount = request.discount, first = distribution_fine(t.d1);
    const auto [call, put] =
        discounted(out_of_the_money(t.ratio, first, distribution_fine(t.d2)), t.ratio, discount);
    const i64 delta = i64(shifted(first, kSpare));
    i64 gamma = 0, vega = 0, theta = 0, vanna = 0, volga = 0;
    if (t.deviation) {
        const i64 density = density_fine(t.d1);
        gamma = held(quotient(i128{density} << kBits, u64(t.deviation)));
        vega = i64(shifted(i128{density} * t.root, 2 * kFineBits - kBits));
        theta = held(-quotient(i128{density} * request.volatility, 2 * u64(t.root)));
        const i128 bent = shifted(i128{density} * t.d2, 2 * kFineBits - 2 * kBits);
        vanna = held(-quotient(bent, u64(request.volatility)));
        volga = held(-shifted(vanna * shifted(i128{t.root} * t.d1, kFineBits), kFineBits));
    }
    result = {call,
              put,
              product(delta, discount),
              product(delta - kOne, discount),
              product(gamma, discount),
              product(vega, discount),
              product(theta, discount),
              product(vanna, discount),
              product(volga, discount),
              -product(request.time, call),
              -product(request.time, put)};
    return Code::OK;
}

Code implied_volatility(const Quote& quote, i64& result) {
    i64 ratio = 0, value = 0;
    if (const Code code = ratio_of(quote.forward, quote.strike, ratio); code != Code::OK) return code;
    if (outside(quote.time, 1, kMostTime)) return Code::TIME;
    if (quote.price < 0) return Code::PRICE;
    if (outside(quote.discount, 1, kMostDiscount)) return Code::DISCOUNT;
    if (const Code code = time_value(quote, ratio, value); code != Code::OK) return code;
    const i64 log_ratio = log_ratio_fine(quote.forward, quote.strike), root = time_root(quote.time);
    const i64 deviation = solve(log_ratio, ratio, value << kSpare);
    const i128 volatility = quotient(i128{deviation} << kBits, u64(root));
    if (volatility < 1 || volatility > kMostVolatility) return Code::UNREACHABLE;
    i64 d1 = 0, d2 = 0;
    distances(log_ratio, deviation, d1, d2);
    if (shifted(i128{density_fine(d1)} * root, 2 * kFineBits - kBits) < kLeastVega) return Code::UNDETERMINED;
    result = i64(volatility);
    return Code::OK;
}

}  // namespace hawse::risk
