#include "funding.hpp"

#include "marks.hpp"

namespace hawse::state {
namespace {

constexpr i64 ONE = i64{1} << 48; // of a rate or a premium
constexpr i64 MOST_PREMIUM = 64 * ONE, MOST_PRICE = i64{1} << 40;
constexpr u32 STEP_BITS = 28; // a rate times an index becomes a step of the index of funding: 48 + 8 - 28

i128 held(i128 value, i128 low, i128 high) { return most(low, least(high, value)); }

// How long a premium counts if no other follows.
u64 hold_of(const Ledger &ledger, const Terms &terms) {
    const u32 feed = terms.feed;
    return feed == NONE ? terms.funding_interval
                        : least(terms.funding_interval, ledger.config->underlyings[feed].staleness);
}

void integrate(Funding &f, u64 now) {
    if (f.premium.is && now > f.until)
        f.premium.step(f.until, false, 0);
    f.premium.until(now);
}

void calm(Funding &f) {
    if (!f.premium.is)
        f.until = 0;
}

// The interval ends, the next one begins. Whether it had a rate.
bool close(const Terms &terms, Funding &f, i64 &rate) {
    const u64 end = f.begun + terms.funding_interval;
    integrate(f, end);
    const bool has = f.premium.elapsed;
    if (has) {
        const i64 cap = i64(u128(terms.funding_cap_ppm) * ONE / PPM);
        rate = i64(held(f.premium.mean(), -cap, cap));
        const i128 step = (i128(rate) * f.index + (i64{1} << (STEP_BITS - 1))) >> STEP_BITS;
        f.cumulative = i64(held(f.cumulative + step, INT64_MIN, INT64_MAX));
    }
    f.begun = end;
    f.premium.total = 0, f.premium.elapsed = 0;
    return has;
}

// What stands behind an instrument now, in parts of a tick, or 0.
i64 index_of(const Ledger &ledger, u32 market) {
    const u32 feed = ledger.config->terms[market].feed;
    const i64 value = feed == NONE ? ledger.markets[market].mark : ledger.feeds[feed].index;
    return ledger.is_valid(market) && value >= 1 && value <= MOST_INDEX ? value << PART_BITS : 0;
}

// Mean price at which so many lots trade against a side, in parts of a tick; 0 if there are fewer.
i64 impact_price(const Ledger &ledger, u32 market, u32 side, i64 lots) {
    i64 left = lots;
    i128 value = 0;
    ledger.each_level(market, side, [&](i32 price, u64 rests) {
        const i64 taken = i64(least(u64(left), rests));
        value += i128(price) * taken;
        left -= taken;
        return left > 0;
    });
    if (left)
        return 0;
    u64 rest;
    const i128 price = floored(value * (1 << PART_BITS), u64(lots), rest);
    return i64(held(price + (side && rest), 1, MOST_PRICE));
}

// (max(0, bid − index) − max(0, index − ask)) / index.
i64 premium_of(i64 index, i64 bid, i64 ask) {
    const i64 away = most<i64>(0, bid - index) - most<i64>(0, index - ask);
    u64 rest;
    return i64(held(floored(i128(away) * ONE * 2 + index, u64(2 * index), rest), -MOST_PREMIUM, MOST_PREMIUM));
}

} // namespace

void accrue(Ledger &ledger, Admission &admission, u64 now, Numbers &moved) {
    for (u32 n = 0; n < ledger.config->instruments; ++n) {
        const Terms &terms = ledger.config->terms[n];
        const u64 interval = terms.funding_interval;
        if (!interval)
            continue;
        Market &market = ledger.markets[n];
        Funding &f = market.funding;
        while (now - f.begun >= interval && (f.premium.is || f.premium.elapsed)) {
            i64 rate;
            if (!close(terms, f, rate))
                continue;
            admission.tell(HAWSE_REASON_FUNDING, INSURANCE, terms.number, rate, f.cumulative);
            admission.tell(HAWSE_REASON_FUNDING_DUST, INSURANCE, terms.number, i128(market.funding_dust),
                           i128(terms.denominator) << FUNDING_BITS);
            moved.insert(n);
        }
        if (now - f.begun >= interval) {
            f.begun = now - (now - f.begun) % interval; // nothing more to integrate
            f.premium = {f.begun, 0, false, 0, 0};
        }
        integrate(f, now);
        calm(f);
        ledger.priced.insert(n);
    }
}

void quote(Ledger &ledger, u64 now) {
    for (u32 n = 0; n < ledger.config->instruments; ++n) {
        const Terms &terms = ledger.config->terms[n];
        if (!terms.impact_notional)
            continue;
        Market &market = ledger.markets[n];
        const i64 index = index_of(ledger, n);
        i64 bid = 0, ask = 0;
        if (index) {
            const u128 worth = u128(index) * terms.numerator;
            const u128 parts = u128(terms.impact_notional) * terms.denominator << PART_BITS;
            const u128 lots = most<u128>(1, (parts + worth - 1) / worth);
            if (lots <= u128(MONEY_MAX)) {
                bid = impact_price(ledger, n, HAWSE_SIDE_BUY, i64(lots));
                ask = impact_price(ledger, n, HAWSE_SIDE_SELL, i64(lots));
            }
        }
        const bool both = bid && ask;
        market.impact.step(now, both, (bid + ask) / 2);
        ledger.priced.insert(n);
        if (!terms.funding_interval)
            continue;
        Funding &f = market.funding;
        integrate(f, now);
        f.premium.step(now, both, both ? premium_of(index, bid, ask) : 0);
        if (both)
            f.until = now + hold_of(ledger, terms), f.index = index;
        calm(f);
    }
}

} // namespace hawse::state
