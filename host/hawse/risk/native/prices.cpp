#include "prices.hpp"

namespace hawse::risk {
namespace {

constexpr i64 kMostVariancePerStep = 16 * kFine - 1;
constexpr i64 kMostPremium = 64 * kOne;

inline bool bad_price(i64 value) { return outside(value, 1, kMostPrice); }

// base to the exponent, with 58 fractional bits.
i64 power(i64 base, u64 exponent) {
    i64 result = kFine;
    for (; exponent; exponent >>= 1) {
        if (exponent & 1) result = i64(shifted(i128{result} * base, kFineBits));
        base = i64(shifted(i128{base} * base, kFineBits));
    }
    return result;
}

}  // namespace

Code observe(const Feed& feed, Last* observed, const Observation& said, i64 now) {
    if (outside(said.publisher, 0, feed.publishers - 1)) return Code::PUBLISHER;
    if (bad_price(said.value)) return Code::PRICE;
    Last& last = observed[said.publisher];
    if (last.is && said.number == last.number && (said.value != last.value || said.time != last.time))
        return Code::EQUIVOCATION;
    if (last.is ? said.number <= last.number : said.number < 0) return Code::NUMBER;
    if (said.time < (last.is ? last.time : 0)) return Code::TIME;
    if (i128{said.time} > i128{now} + feed.ahead) return Code::FUTURE;
    if (i128{said.time} < i128{now} - feed.staleness) return Code::STALE;
    last = {said.value, said.time, said.number, 1};
    return Code::OK;
}

Code Average::until(i64 now) {
    if (now < time) return Code::TIME;
    if (value.is) {
        total = wide(total.value() + i128{value.value} * (now - time));
        elapsed += now - time;
    }
    time = now;
    return Code::OK;
}

Code Average::step(i64 now, const Maybe& next) {
    const Code code = until(now);
    if (code == Code::OK) value = next;
    return code;
}

Maybe Average::mean() const {
    if (!elapsed) return {0, 0};
    return {i64(quotient(total.value(), u64(elapsed))), 1};
}

Code quote(Marking& marking, i64 now, const Maybe& bid, const Maybe& ask) {
    Maybe mid = {0, 0};
    if (bid.is && ask.is) {
        if (bad_price(bid.value) || bad_price(ask.value)) return Code::PRICE;
        mid = {(bid.value + ask.value) >> 1, 1};
    }
    return marking.impact.step(now, mid);
}

Code mark(const MarkTerms& terms, Marking& marking, i64 now, i64 index, Mark& result) {
    if (bad_price(index)) return Code::PRICE;
    Average averaged = marking.impact;
    if (const Code code = averaged.until(now); code != Code::OK) return code;
    const i64 span = now - marking.time, bound = index * terms.bound / kPpm;
    Maybe impact = {0, 0};
    if (2 * i128{averaged.elapsed} >= span) impact = averaged.mean();
    i64 basis = marking.basis;
    if (impact.is) {
        const i64 target = clamp(impact.value - index, -bound, bound) * (1 << kBasisBits);
        basis = i64(quotient(i128{basis} * terms.smoothing + i128{target} * span, u64(terms.smoothing) + u64(span)));
    }
    basis = clamp(basis, -bound * (1 << kBasisBits), bound * (1 << kBasisBits));
    const i64 fair = index + i64(shifted(basis, kBasisBits));
    i64 three[3];
    insert(three, 0, fair);
    insert(three, 1, impact.is ? impact.value : fair);
    insert(three, 2, marking.last.is ? marking.last.value : fair);
    result = {clamp(three[1], index - bound, index + bound), fair, impact};
    marking = {now, basis, marking.last, {now, 0, averaged.value, {0, 0}}};
    return Code::OK;
}

Code option_mark(Right right, const Surface& surface, i64 forward, i64 strike, i64 time, i64& result) {
    i64 moneyness = 0, found = 0;
    Prices both = {0, 0};
    Code code = log_moneyness(forward, strike, moneyness);
    if (code == Code::OK) code = volatility(surface, moneyness, time, found);
    if (code == Code::OK) code = prices({forward, strike, time, found, kOne}, both);
    if (code != Code::OK) return code;
    return of_forward(right == Right::CALL ? both.call : both.put, forward, Rounding::NEAREST, result);
}

Code open_window(i64 window, i64 now, i64 index, Settlement& result) {
    if (window < 1) return Code::TIME;
    if (bad_price(index)) return Code::PRICE;
    result = {window, index, now, {now, 0, {index, 1}, {0, 0}}};
    return Code::OK;
}

Code in_window(Settlement& state, i64 now, const Maybe& index) {
    Average average = state.average;
    if (const Code code = average.until(now); code != Code::OK) return code;
    if (index.is && bad_price(index.value)) return Code::PRICE;
    if (average.elapsed > state.window) {
        const i64 over = average.elapsed - state.window;
        average.total = wide(average.total.value() - i128{over} * average.value.value);
        average.elapsed = state.window;
    }
    if (state.average.value.is) state.heard = now;
    if (index.is) state.last = index.value;
    state.average = average;
    state.average.value = index;
    return Code::OK;
}

i64 window_mark(const Settlement& state) {
    const i128 rest = i128{state.last} * (state.window - state.average.elapsed);
    return i64(quotient(state.average.total.value() + rest, u64(state.window)));
}

Maybe settlement_price(const Settlement& state, i64 now, i64 patience) {
    const Average& average = state.average;
    if (average.elapsed == state.window) return average.mean();
    if (average.value.is || i128{now} - state.heard < patience) return {0, 0};
    return average.elapsed ? average.mean() : Maybe{state.last, 1};
}

Code follow(const VolatilityTerms& terms, Volatility& state, i64 now, i64 index) {
    if (bad_price(index)) return Code::PRICE;
    if (i128{now} < i128{state.point} * terms.grid) return Code::TIME;
    const i64 point = now / terms.grid, steps = point - state.point;
    if (steps == 0) return Code::OK;
    const i128 change = log_ratio_fine(index, state.value);
    const i128 spread = shifted(change * change / steps, kFineBits);
    const i64 square = clamp(spread, 0, kMostVariancePerStep);
    const i64 weight = power(terms.decay << kSpare, u64(steps));
    const i128 mixed = i128{weight} * state.variance + i128{kFine - weight} * square;
    state = {point, index, i64(shifted(mixed, kFineBits))};
    return Code::OK;
}

i64 wanted_fraction(const VolatilityTerms& terms, i64 variance) {
    const u128 square = u128(u64(terms.factor) * u64(terms.factor)) * u64(variance) * u64(terms.horizon);
    u128 found = root(square >> kFineBits);
    found += (found * found << kFineBits) < square;
    return clamp(i128(found), terms.floor, kPpm);
}

Code drive(const VolatilityTerms& terms, Driven& state, i64 now, i64 variance) {
    if (now < state.changed) return Code::TIME;
    const i64 wanted = wanted_fraction(terms, variance);
    if (wanted == state.fraction || now - state.changed < kMinute) return Code::OK;
    state = {clamp(wanted, state.fraction - terms.step, state.fraction + terms.step), now};
    return Code::OK;
}

Code premium(i64 index, const Maybe& bid, const Maybe& ask, Maybe& result) {
    if (bad_price(index)) return Code::PRICE;
    if (!bid.is || !ask.is) {
        result = {0, 0};
        return Code::OK;
    }
    if (bad_price(bid.value) || bad_price(ask.value)) return Code::PRICE;
    const i64 above = bid.value > index ? bid.value - index : 0, below = index > ask.value ? index - ask.value : 0;
    result = {clamp(quotient(i128{above - below} * kOne, u64(index)), -kMostPremium, kMostPremium), 1};
    return Code::OK;
}

namespace {

Code integrate(const Funding& state, i64 now, Average& average) {
    average = state.premium;
    Code code = Code::OK;
    if (average.value.is && now > state.until) code = average.step(state.until, {0, 0});
    return code == Code::OK ? average.until(now) : code;
}

// The interval ends, the next one begins.
Code close(const FundingTerms& terms, Funding& state, i64 end) {
    Average average;
    if (const Code code = integrate(state, end, average); code != Code::OK) return code;
    i128 step = 0;
    if (const Maybe mean = average.mean(); mean.is) {
        const i64 rate = clamp(shifted(i128{mean.value} * terms.scale, kBits), -terms.most, terms.most);
        step = shifted(i128{rate} * state.index, kBits - kFundingBits);
    }
    state.begun = end, state.cumulative = clamp(state.cumulative + step, INT64_MIN, INT64_MAX);
    state.premium = {end, 0, average.value, {0, 0}};
    return Code::OK;
}

}  // namespace

Code advance(const FundingTerms& terms, Funding& state, i64 now) {
    Funding next = state;
    while (now - next.begun >= terms.interval) {
        if (const Code code = close(terms, next, next.begun + terms.interval); code != Code::OK) return code;
        if (next.premium.value.is) continue;
        next.begun = now - (now - next.begun) % terms.interval;  // nothing more to integrate
        next.premium = {next.begun, 0, {0, 0}, {0, 0}};
    }
    Average average;
    if (const Code code = integrate(next, now, average); code != Code::OK) return code;
    next.premium = average;
    state = next;
    return Code::OK;
}

Code observe(const FundingTerms& terms, Funding& state, i64 now, const Maybe& index, const Maybe& value) {
    Funding next = state;
    if (const Code code = advance(terms, next, now); code != Code::OK) return code;
    const bool counts = index.is && value.is;
    if (counts && bad_price(index.value)) return Code::PRICE;
    if (counts && outside(value.value, -kMostPremium, kMostPremium)) return Code::ARGUMENT;
    if (const Code code = next.premium.step(now, counts ? value : Maybe{0, 0}); code != Code::OK) return code;
    if (counts) next.until = now + terms.hold, next.index = index.value;
    state = next;
    return Code::OK;
}

Code payment(i64 size, i64 since, i64 cumulative, i64 numerator, i64 denominator, i64& result) {
    if (outside(size, -kMostLots, kMostLots)) return Code::LOTS;
    const i128 change = i128{size} * (i128{cumulative} - since);
    return scaled(change, u64(numerator), divisor(u64(denominator) << kFundingBits), Rounding::CEILING, result);
}

}  // namespace hawse::risk
