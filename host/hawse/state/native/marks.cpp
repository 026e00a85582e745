#include "marks.hpp"

#include "settling.hpp"

namespace hawse::state {
namespace {

constexpr i64 SMOOTHING = 60000, FOLLOWED = 1000;
constexpr u32 BASIS_BITS = 16;

bool same_place(const hawse_state_observation &one, const hawse_state_observation &other) {
    return one.publisher == other.publisher && one.feed == other.feed;
}

bool behind(const hawse_state_observation &one, const hawse_state_observation &before) {
    if (one.publisher != before.publisher)
        return one.publisher > before.publisher;
    return one.feed != before.feed ? one.feed > before.feed : one.number > before.number;
}

// `last` is what the publisher said before.
bool good(const Underlying &about, const hawse_state_observation &one, const risk::Last &last, u64 now) {
    if (!one.is_signed || memcmp(one.signer, about.publishers[one.publisher].bytes, 20))
        return false;
    if (one.value < 1 || one.value > MOST_INDEX || one.number > u64(INT64_MAX) || one.time >= TIME_LIMIT)
        return false;
    const i64 time = i64(one.time), at = i64(now);
    if (last.is && (i64(one.number) <= last.number || time < last.time))
        return false;
    return time <= at + about.ahead && time >= at - i64(about.staleness);
}

risk::Index index_of(const Underlying &about, const Feed &feed, u64 time) {
    const risk::Feed terms = {about.publisher_count, about.quorum, about.staleness, about.ahead, about.deviation_ppm};
    risk::LeftOut left_out[MOST_PUBLISHERS];
    return risk::index(terms, feed.observed, i64(time), left_out);
}

// The index at `now`; `heard`: an observation has come. Whether anything is new.
bool reckon(const Underlying &about, Feed &feed, u64 now, bool heard) {
    if (!about.publisher_count)
        return false;
    const risk::Index found = index_of(about, feed, now);
    const i64 value = found.value.is ? found.value.value : feed.index;
    if (!heard && value == feed.index && u32(found.counted) == feed.counted)
        return false;
    feed.index = value, feed.counted = u32(found.counted), feed.time = now;
    return true;
}

i64 held(i64 value, i64 low, i64 high) { return most(low, least(high, value)); }

// Median of impact mid (where none is taken from the book: index), index + basis and last trade, held within the
// bound; the basis follows the mid, or where none is taken the last trade.
i32 fair_mark(Market &market, const Terms &terms, i64 index, u64 now) {
    const i64 bound = index * terms.mark_bound_ppm / i64(PPM);
    constexpr i64 ONE = i64{1} << BASIS_BITS;
    const bool has_book = terms.impact_notional, traded = market.trade_time && market.trade_time >= market.mark_time;
    Average impact = market.impact;
    impact.until(now);
    const bool has_mid = impact.elapsed && 2 * impact.elapsed >= now - market.mark_time;
    const i64 mid = has_mid ? impact.mean() : 0;
    if (has_book ? has_mid : traded) {
        const i64 away = has_book ? mid * (ONE >> PART_BITS) - index * ONE : (market.last_trade - index) * ONE;
        const i64 target = held(away, -bound * ONE, bound * ONE);
        const i64 span = i64(least(now - market.mark_time, u64(FOLLOWED)));
        const i128 sum = i128(market.basis) * SMOOTHING + i128(target) * span;
        u64 rest;
        market.basis = i64(floored(2 * sum + SMOOTHING + span, u64(2 * (SMOOTHING + span)), rest));
    }
    market.basis = held(market.basis, -bound * ONE, bound * ONE);
    const i64 fair = index + ((market.basis + ONE / 2) >> BASIS_BITS);
    const i64 last = market.trade_time ? market.last_trade : fair;
    const i64 book = has_mid ? (mid + (1 << (PART_BITS - 1))) >> PART_BITS : has_book ? fair : index;
    const i64 median = held(last, least(book, fair), most(book, fair));
    if (has_book)
        market.impact = {now, market.impact.value, market.impact.is, 0, 0};
    return i32(held(median, index - bound, index + bound));
}

} // namespace

i64 index_at(const Underlying &about, const Feed &feed, u64 time) {
    const risk::Maybe value = index_of(about, feed, time).value;
    return value.is ? value.value : 0;
}

bool good_observations(const Ledger &ledger, const hawse_state_observation *said, u64 count, u64 now) {
    for (u64 n = 0; n < count; ++n) {
        const hawse_state_observation &one = said[n];
        if (n && !behind(one, said[n - 1]))
            return false;
        const u32 at = ledger.config->find_underlying(one.feed);
        if (at == NONE || one.publisher >= ledger.config->underlyings[at].publisher_count)
            return false;
        risk::Last last = ledger.feeds[at].observed[one.publisher];
        if (n && same_place(one, said[n - 1]))
            last = {said[n - 1].value, i64(said[n - 1].time), i64(said[n - 1].number), 1};
        if (!good(ledger.config->underlyings[at], one, last, now))
            return false;
    }
    return true;
}

void take_in(Ledger &ledger, const hawse_state_observation *said, u64 count, u64 now, Numbers &moved) {
    const Config &config = *ledger.config;
    follow_windows(ledger, now);
    for (u64 n = 0; n < count; ++n) {
        const u32 at = config.find_underlying(said[n].feed);
        ledger.feeds[at].observed[said[n].publisher] = {said[n].value, i64(said[n].time), i64(said[n].number), 1};
        ledger.observed.insert(at);
    }
    for (u32 n = 0; n < config.underlying_count; ++n)
        if (reckon(config.underlyings[n], ledger.feeds[n], now, ledger.observed.has(n)))
            ledger.observed.insert(n);
    hear_windows(ledger, now);
    for (u32 n = 0; n < config.instruments; ++n) {
        const Terms &terms = config.terms[n];
        Market &market = ledger.markets[n];
        const bool early = market.mark_time && now < market.mark_time + MARK_INTERVAL;
        if (terms.feed == NONE || !ledger.is_valid(n) || early || market.status == SETTLED)
            continue;
        const i32 mark = market.settlement.is ? i32(window_mark(market.settlement, terms.window))
                                              : fair_mark(market, terms, ledger.feeds[terms.feed].index, now);
        ledger.priced.insert(n);
        if (mark == market.mark) {
            market.mark_time = now;
        } else {
            ledger.set_mark(n, mark, now);
            moved.insert(n);
        }
    }
}

} // namespace hawse::state
