// Answers from standard input to standard output: requirements, arrays and scans; then prices, funding and
// liquidation on numbers of its own.
//
// In: a count and rows of TERMS, MARKET, HOLDING; a count of books, each with scenarios, Ranges, short and basis
// part, a count and ArrayRequest rows, a count and POSITION rows. Out: codes and results.
#include <stdio.h>

#include "liquidation.hpp"
#include "prices.hpp"

using namespace hawse::risk;

template <class Row>
static bool take(Row* rows, i64 count = 1) {
    return fread(rows, sizeof(Row), size_t(count), stdin) == size_t(count);
}

static i64 number() {
    i64 value = 0;
    return take(&value) ? value : 0;
}

template <class Row>
static void tell(Code code, const Row& row) {
    const i64 said = i64(code);
    fwrite(&said, sizeof said, 1, stdout);
    fwrite(&row, sizeof row, 1, stdout);
}

static void tell_requirement() {
    struct {
        Terms terms;
        Market market;
        Holding holding;
    } row;
    Instrument instrument;
    Needs needs = {};
    if (!take(&row)) return;
    Code code = prepare(row.terms, row.market, instrument);
    if (code == Code::OK) code = requirement(instrument, row.holding, needs);
    tell(code, needs);
}

static void tell_book() {
    static i64 changes[64 * kMostScenarios], columns[5][64], losses[kMostScenarios];
    Scenario scenarios[kMostScenarios];
    Ranges ranges;
    Position positions[kMostHoldings];
    Arrays arrays = {changes, columns[0], columns[1], columns[2], columns[3], columns[4], 0, u64(number())};
    take(scenarios, i64(arrays.scenarios)), take(&ranges);
    const i64 short_part = number(), basis_part = number();
    arrays.count = u64(number());
    for (u64 n = 0; n < arrays.count; ++n) {
        struct {
            Terms terms;
            Market market;
            Priced priced;
            i64 expiry;
        } row;
        if (!take(&row)) return;
        const Code code = array(row.terms, row.market, scenarios, ranges, short_part, row.expiry, row.priced,
                                arrays, n);
        tell(code, columns[1][n]);
    }
    const i64 count = number();
    if (!take(positions, count)) return;
    Scan found = {0, 0, 0};
    i64 more = 0;
    tell(scan(arrays, positions, u64(count), basis_part, losses, found), found);
    tell(add_on(arrays, positions, u64(count), basis_part, 1, more), more);
    fwrite(losses, sizeof(i64), size_t(arrays.scenarios), stdout);
}

// A number below bound, by xorshift.
static i64 any(i64 bound) {
    static u64 state = 88172645463325252u;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return i64(state % u64(bound));
}

static Maybe maybe(i64 value) { return {value, any(5) ? 1 : 0}; }

// Numbers are drawn in statements of their own: the order of arguments is the compiler's.
static void tell_prices() {
    const Feed feed = {8, 5, 1'000'000'000, 0, 50'000};
    const VolatilityTerms slow = {1'000'000'000, kOne - kOne / 16, 3'600, 2 * kPpm, 20'000, 5'000};
    const FundingTerms terms = {8'000'000'000, 2'000'000'000, kOne / 8, kOne / 100};
    Last observed[8] = {};
    LeftOut left_out[8];
    Marking marking = {0, 0, {60'000, 1}, {0, 0, {0, 0}, {0, 0}}};
    Settlement settling;
    Volatility volatility = {0, 60'000, 0};
    Driven driven = {20'000, 0};
    Funding funding = {0, 0, 1, 0, {0, 0, {0, 0}, {0, 0}}};
    tell(open_window(90'000'000'000, 0, 60'000, settling), settling);
    i64 now = 0;
    for (i64 n = 0; n < 2'000; ++n) {
        now += any(500'000'000);
        const i64 near = 55'000 + any(10'000), publisher = any(8), before = any(2'000'000'000), lots = any(1 << 30);
        const Maybe bid = maybe(near - 4), ask = maybe(near + 4), last = maybe(near + 40);
        const Code heard = observe(feed, observed, {publisher, near, now - before, n}, now);
        const Index found = index(feed, observed, now, left_out);
        tell(heard, found);
        tell(quote(marking, now, bid, ask), left_out);
        Mark at = {0, 0, {0, 0}};
        tell(mark({10'000, 60'000'000'000}, marking, now, near, at), at);
        marking.last = last;
        const Code inside = in_window(settling, now, found.value);
        tell(inside, settlement_price(settling, now, 1'000'000'000));
        tell(follow(slow, volatility, now, near), volatility);
        tell(drive(slow, driven, now, volatility.variance), driven);
        Maybe premium_found = {0, 0};
        tell(premium(near, bid, ask, premium_found), premium_found);
        tell(observe(terms, funding, now, {near, 1}, premium_found), funding);
        i64 paid = 0;
        tell(payment(lots - (1 << 29), 0, funding.cumulative, 7, 100, paid), paid);
    }
    tell(Code::OK, marking);
    tell(Code::OK, settling);
}

static void tell_liquidation() {
    const LiquidationTerms terms = {500'000, 50, 100'000, 10'000, 5, 5'000, 8};
    Terms instrument = {};
    instrument.numerator = 7, instrument.denominator = 100;
    for (i64 n = 0; n < 500; ++n) {
        const i64 bits = any(56), size = any(i64{2} << bits) + 1, total = 1 + any(i64{2} << bits), own = any(total);
        const i64 has = any(kMost), step = any(7), left = any(1 << 20), loss = any(1'000'000);
        const i64 sign = n % 2 ? 1 : -1, lots_before = sign * size;
        i64 price = 0, limit = 0, lots = 0, rest = 0;
        tell(bankruptcy_price(instrument, 60'000, lots_before, has - kMost / 2, own, total, price), price);
        tell(step_price(terms, 60'000, price, lots_before, step, limit), limit);
        tell(step_lots(terms, left, lots), lots);
        Unhealthy queue[20];
        Opposite opposite[20];
        Bearer bearers[20];
        Taken taken[20] = {};
        u64 takers = 0;
        for (i64 k = 0; k < 20; ++k) {
            const i64 maintenance = any(kMost), less = 1 + any(1'000), equity = any(2'000'000);
            queue[k] = {k, maintenance - less, maintenance};
            opposite[k] = {k, -any(1'000), any(kMost), any(kMost), any(kMost), any(kMost)};
            bearers[k] = {k, equity - 1'000'000, 0, {0, 0}};
        }
        tell(order(queue, 20), queue);
        tell(deleverage(instrument, 60'000, 59'000, 5'000, opposite, 20, taken, takers, rest), taken);
        tell(socialise(loss, bearers, 20, rest), bearers);
    }
}

extern "C" int main() {
    for (i64 left = number(); left > 0; --left) tell_requirement();
    for (i64 left = number(); left > 0; --left) tell_book();
    tell_prices();
    tell_liquidation();
    return 0;
}
