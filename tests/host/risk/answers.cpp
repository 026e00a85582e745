// Answers from standard input to standard output: options, volatilities, and what there is of surfaces.
//
// In: a count and REQUEST rows; a count and QUOTE rows; a count of surfaces, each with rows, columns, times,
// moneyness, volatilities, a count of POINT rows, a count of listings, each time, forward, count, strikes.
#include <stdio.h>

#include "surface.hpp"

using namespace hawse::risk;

static const i64 kMostRows = 1 << 16;
static i64 numbers[4 * kMostRows];

static i64* take(i64* to, i64 count) {
    return count && fread(to, sizeof(i64), size_t(count), stdin) != size_t(count) ? nullptr : to + count;
}

static i64 number() {
    i64 value = 0;
    return take(&value, 1) ? value : 0;
}

template <class Row>
static void tell(Code code, const Row& row) {
    const i64 said = i64(code);
    fwrite(&said, sizeof said, 1, stdout);
    fwrite(&row, sizeof row, 1, stdout);
}

static void tell_surface() {
    Surface surface;
    surface.rows = u64(number()), surface.columns = u64(number());
    i64* const moneyness = take(numbers, i64(surface.rows));
    i64* const volatilities = take(moneyness, i64(surface.columns));
    i64* const points = take(volatilities, i64(surface.rows * surface.columns));
    surface.times = numbers, surface.moneyness = moneyness, surface.volatilities = volatilities;
    const Code good = check(surface);
    tell(good, surface.rows);
    const i64 count = number();
    i64* next = take(points, 2 * count);
    for (i64 n = 0; n < count && good == Code::OK; ++n) {
        i64 found[2] = {};
        const Code code = variance(surface, points[2 * n], points[2 * n + 1], found[0]);
        tell(code, found[0]);
        tell(volatility(surface, points[2 * n], points[2 * n + 1], found[1]), found[1]);
    }
    Listing listings[16];
    const i64 listed = number();
    for (i64 n = 0; n < listed; ++n) {
        listings[n].time = number(), listings[n].forward = number(), listings[n].count = u64(number());
        listings[n].strikes = next;
        next = take(next, i64(listings[n].count));
    }
    Arbitrage found = {};
    if (good == Code::OK) tell(arbitrage(surface, listings, u64(listed), found), found);
}

extern "C" int main() {
    for (i64 left = number(); left > 0; --left) {
        Request request;
        Option option = {};
        if (!take(&request.forward, 5)) return 1;
        const Code code = evaluate(request, option);
        tell(code, option);
    }
    for (i64 left = number(); left > 0; --left) {
        Quote quote;
        i64 found = 0;
        quote.right = Right(number());
        if (!take(&quote.forward, 5)) return 1;
        const Code code = implied_volatility(quote, found);
        tell(code, found);
    }
    for (i64 left = number(); left > 0; --left) tell_surface();
    return 0;
}
