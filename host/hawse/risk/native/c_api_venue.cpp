// Flat C functions of prices, funding and liquidation; hawse.risk.native.venue calls them. Each gives a code.
#include "liquidation.hpp"
#include "prices.hpp"

#define HAWSE_API extern "C" __attribute__((visibility("default")))

using namespace hawse::risk;

HAWSE_API int32_t hawse_risk_observe(const Feed* feed, Last* observed, const Observation* said, i64 now) {
    return int32_t(observe(*feed, observed, *said, now));
}

HAWSE_API void hawse_risk_index(const Feed* feed, const Last* observed, i64 now, LeftOut* left_out, Index* result) {
    *result = index(*feed, observed, now, left_out);
}

HAWSE_API int32_t hawse_risk_average_step(Average* average, i64 now, const Maybe* value) {
    return int32_t(average->step(now, *value));
}

HAWSE_API void hawse_risk_average_mean(const Average* average, Maybe* result) { *result = average->mean(); }

HAWSE_API int32_t hawse_risk_quote(Marking* marking, i64 now, const Maybe* bid, const Maybe* ask) {
    return int32_t(quote(*marking, now, *bid, *ask));
}

HAWSE_API int32_t hawse_risk_mark(const MarkTerms* terms, Marking* marking, i64 now, i64 index, Mark* result) {
    return int32_t(mark(*terms, *marking, now, index, *result));
}

HAWSE_API int32_t hawse_risk_option_mark(i64 right, const Surface* surface, i64 forward, i64 strike, i64 time,
                                         i64* result) {
    return int32_t(option_mark(Right(right), *surface, forward, strike, time, *result));
}

HAWSE_API int32_t hawse_risk_open_window(i64 window, i64 now, i64 index, Settlement* result) {
    return int32_t(open_window(window, now, index, *result));
}

HAWSE_API int32_t hawse_risk_in_window(Settlement* state, i64 now, const Maybe* index) {
    return int32_t(in_window(*state, now, *index));
}

HAWSE_API void hawse_risk_settlement(const Settlement* state, i64 now, i64 patience, i64* mark, Maybe* price) {
    *mark = window_mark(*state), *price = settlement_price(*state, now, patience);
}

HAWSE_API int32_t hawse_risk_follow(const VolatilityTerms* terms, Volatility* state, i64 now, i64 index) {
    return int32_t(follow(*terms, *state, now, index));
}

HAWSE_API int32_t hawse_risk_drive(const VolatilityTerms* terms, Driven* state, i64 now, i64 variance, i64* wanted) {
    *wanted = wanted_fraction(*terms, variance);
    return int32_t(drive(*terms, *state, now, variance));
}

HAWSE_API int32_t hawse_risk_premium(i64 index, const Maybe* bid, const Maybe* ask, Maybe* result) {
    return int32_t(premium(index, *bid, *ask, *result));
}

HAWSE_API int32_t hawse_risk_fund(const FundingTerms* terms, Funding* state, i64 now, const Maybe* index,
                                  const Maybe* value) {
    return int32_t(observe(*terms, *state, now, *index, *value));
}

HAWSE_API int32_t hawse_risk_advance(const FundingTerms* terms, Funding* state, i64 now) {
    return int32_t(advance(*terms, *state, now));
}

HAWSE_API int32_t hawse_risk_payment(i64 size, i64 since, i64 cumulative, i64 numerator, i64 denominator,
                                     i64* result) {
    return int32_t(payment(size, since, cumulative, numerator, denominator, *result));
}

HAWSE_API int32_t hawse_risk_order(Unhealthy* accounts, u64 count) { return int32_t(order(accounts, count)); }

HAWSE_API int32_t hawse_risk_weight(const Instrument* instrument, i64 size, i64* result) {
    return int32_t(weight(*instrument, size, *result));
}

HAWSE_API int32_t hawse_risk_first_of_portfolio(const LiquidationTerms* terms, const Arrays* arrays,
                                                const Position* positions, u64 count, i64 basis_part, u64* result) {
    return int32_t(first_of_portfolio(*terms, *arrays, positions, count, basis_part, *result));
}

HAWSE_API int32_t hawse_risk_step_lots(const LiquidationTerms* terms, i64 left, i64* result) {
    return int32_t(step_lots(*terms, left, *result));
}

HAWSE_API int32_t hawse_risk_bankruptcy_price(const Terms* terms, i64 mark, i64 size, i64 equity, i64 own, i64 total,
                                              i64* result) {
    return int32_t(bankruptcy_price(*terms, mark, size, equity, own, total, *result));
}

HAWSE_API int32_t hawse_risk_step_price(const LiquidationTerms* terms, i64 mark, i64 bankruptcy, i64 size, i64 step,
                                        i64* result) {
    return int32_t(step_price(*terms, mark, bankruptcy, size, step, *result));
}

HAWSE_API i64 hawse_risk_liquidation_fee(const LiquidationTerms* terms, i64 value, i64 equity) {
    return liquidation_fee(*terms, value, equity);
}

HAWSE_API int32_t hawse_risk_takeover(i64 collateral, const Instrument* instruments, Holding* held, u64 count, u64 at,
                                      i64 size, i64 price, i64* result) {
    return int32_t(takeover(collateral, instruments, held, count, at, size, price, *result));
}

HAWSE_API int32_t hawse_risk_deleverage(const Terms* terms, i64 mark, i64 bankruptcy, i64 size, Opposite* opposite,
                                        u64 count, Taken* taken, u64* takers, i64* left) {
    return int32_t(deleverage(*terms, mark, bankruptcy, size, opposite, count, taken, *takers, *left));
}

HAWSE_API int32_t hawse_risk_socialise(i64 loss, Bearer* bearers, u64 count, i64* rest) {
    return int32_t(socialise(loss, bearers, count, *rest));
}
