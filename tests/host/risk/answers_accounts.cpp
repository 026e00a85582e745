// Answers from standard input to standard output: requirements, arrays and scans.
//
// In: a count and rows of TERMS, MARKET, HOLDING; a count of books, each with scenarios, Ranges, short and basis
// part, a count and ArrayRequest rows, a count and POSITION rows. Out: codes and results.
#include <stdio.h>

#include "portfolio.hpp"

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

extern "C" int main() {
    for (i64 left = number(); left > 0; --left) tell_requirement();
    for (i64 left = number(); left > 0; --left) tell_book();
    return 0;
}
