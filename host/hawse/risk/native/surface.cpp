#include "surface.hpp"

namespace hawse::risk {
namespace {

inline bool outside(i64 value, i64 least, i64 most) { return value < least || value > most; }

bool ascends(const i64* values, u64 count) {
    for (u64 n = 1; n < count; ++n)
        if (values[n] <= values[n - 1]) return false;
    return true;
}

// How many of the ascending values are no greater than x.
u64 no_greater(const i64* values, u64 count, i64 x) {
    u64 low = 0;
    while (low < count) {
        const u64 middle = low + (count - low) / 2;
        if (values[middle] <= x) low = middle + 1; else count = middle;
    }
    return low;
}

i128 node(const Surface& s, u64 i, u64 j) {
    const i64 volatility = s.volatilities[i * s.columns + j];
    const i128 squared = shifted(i128{volatility} * volatility, 2 * kBits - kFineBits);
    return shifted(squared * s.times[i], kBits);
}

i64 between(i64 x, i64 x0, i64 x1, i64 y0, i64 y1) {
    return y0 + i64(quotient(i128{y1 - y0} * (x - x0), u64(x1 - x0)));
}

i64 expiry_variance(const Surface& s, u64 i, i64 moneyness) {
    const u64 j = no_greater(s.moneyness, s.columns, moneyness);
    if (j == 0) return i64(node(s, i, 0));
    if (j == s.columns) return i64(node(s, i, j - 1));
    const i64 before = i64(node(s, i, j - 1)), after = i64(node(s, i, j));
    return between(moneyness, s.moneyness[j - 1], s.moneyness[j], before, after);
}

// A total variance w and the time t to which it belongs.
struct Anchor {
    i64 w, t;
};

Code anchor(const Surface& s, i64 moneyness, i64 time, Anchor& found) {
    if (outside(moneyness, -kMostMoneyness, kMostMoneyness)) return Code::RATIO;
    if (outside(time, 0, kMostTime)) return Code::TIME;
    const u64 i = no_greater(s.times, s.rows, time);
    if (i == 0 || i == s.rows) {
        const u64 row = i ? i - 1 : 0;
        found = {expiry_variance(s, row, moneyness), s.times[row]};
        return Code::OK;
    }
    const i64 before = expiry_variance(s, i - 1, moneyness), after = expiry_variance(s, i, moneyness);
    found = {between(time, s.times[i - 1], s.times[i], before, after), time};
    return Code::OK;
}

Code call_price(const Surface& surface, const Listing& listing, i64 strike, i64& result) {
    i64 moneyness = 0, found = 0;
    Prices both;
    Code code = log_moneyness(listing.forward, strike, moneyness);
    if (code == Code::OK) code = volatility(surface, moneyness, listing.time, found);
    if (code == Code::OK) code = prices({listing.forward, strike, listing.time, found, kOne}, both);
    if (code == Code::OK) result = both.call;
    return code;
}

Code check_listings(const Listing* listings, u64 count) {
    for (u64 n = 1; n < count; ++n)
        if (listings[n].time <= listings[n - 1].time) return Code::ORDER;
    for (u64 n = 0; n < count; ++n) {
        const Listing& listing = listings[n];
        if (outside(listing.time, 1, kMostTime)) return Code::TIME;
        if (outside(listing.forward, 1, kMostUnits)) return Code::FORWARD;
        for (u64 k = 0; k < listing.count; ++k)
            if (outside(listing.strikes[k], 1, kMostUnits)) return Code::STRIKE;
        if (!ascends(listing.strikes, listing.count)) return Code::ORDER;
    }
    return Code::OK;
}

Code butterfly(const Surface& surface, i64 index, const Listing& listing, Arbitrage& found) {
    i64 strikes[3] = {0, 0, 0}, calls[3] = {0, 0, kOne};
    for (u64 n = 0; n < listing.count; ++n) {
        strikes[0] = strikes[1], strikes[1] = strikes[2], strikes[2] = listing.strikes[n];
        calls[0] = calls[1], calls[1] = calls[2];
        if (const Code code = call_price(surface, listing, strikes[2], calls[2]); code != Code::OK) return code;
        if (n == 0) continue;
        const i64 below = strikes[1] - strikes[0], above = strikes[2] - strikes[1];
        const i128 weighted = i128{calls[0]} * above + i128{calls[2]} * below;
        const i64 chord = i64(weighted / (below + above));
        if (calls[1] > chord + kPriceTolerance) {
            found = {Kind::BUTTERFLY, index, i64(n) - 1, calls[1], chord};
            return Code::OK;
        }
    }
    if (listing.count > 1 && calls[2] > calls[1] + kPriceTolerance)
        found = {Kind::SPREAD, index, i64(listing.count) - 1, calls[2], calls[1]};
    return Code::OK;
}

Code calendar(const Surface& surface, i64 index, const Listing& listing, Arbitrage& found) {
    for (u64 n = 0; n < listing.count; ++n) {
        i64 moneyness = 0, before = 0;
        const Code code = log_moneyness(listing.forward, listing.strikes[n], moneyness);
        if (code != Code::OK) return code;
        for (u64 i = 0; i < surface.rows; ++i) {
            const i64 now = expiry_variance(surface, i, moneyness);
            if (i128{now} + kVarianceTolerance < before) {
                found = {Kind::CALENDAR, index, i64(n), now, before};
                return Code::OK;
            }
            before = now;
        }
    }
    return Code::OK;
}

bool same(const i64* a, const i64* b, u64 count) {
    for (u64 n = 0; n < count; ++n)
        if (a[n] != b[n]) return false;
    return true;
}

}  // namespace

Code check(const Surface& s) {
    if (s.rows == 0 || s.columns == 0 || s.rows > kMostNodes / s.columns) return Code::SHAPE;
    for (u64 i = 0; i < s.rows; ++i)
        if (outside(s.times[i], 1, kMostTime)) return Code::TIME;
    if (!ascends(s.times, s.rows)) return Code::ORDER;
    for (u64 j = 0; j < s.columns; ++j)
        if (outside(s.moneyness[j], -kMostMoneyness, kMostMoneyness)) return Code::RATIO;
    if (!ascends(s.moneyness, s.columns)) return Code::ORDER;
    for (u64 i = 0; i < s.rows; ++i) {
        for (u64 j = 0; j < s.columns; ++j) {
            if (outside(s.volatilities[i * s.columns + j], 1, kMostVolatility)) return Code::VOLATILITY;
            const i128 w = node(s, i, j);
            if (w < 1 || w >= kMostVariance) return Code::VARIANCE;
        }
    }
    return Code::OK;
}

Code variance(const Surface& surface, i64 moneyness, i64 time, i64& result) {
    Anchor at;
    if (const Code code = anchor(surface, moneyness, time, at); code != Code::OK) return code;
    const i128 found = at.t == time ? i128{at.w} : quotient(i128{at.w} * time, u64(at.t));
    if (found >= kMostVariance) return Code::VARIANCE;
    result = i64(found);
    return Code::OK;
}

Code volatility(const Surface& surface, i64 moneyness, i64 time, i64& result) {
    Anchor at;
    if (const Code code = anchor(surface, moneyness, time, at); code != Code::OK) return code;
    const i128 squared = quotient(i128{at.w} << 60, u64(at.t));
    result = i64(root(u128(squared) << (2 * kBits - 70)));
    return Code::OK;
}

Code arbitrage(const Surface& surface, const Listing* listings, u64 count, Arbitrage& result) {
    if (const Code code = check_listings(listings, count); code != Code::OK) return code;
    Arbitrage found = {Kind::NONE, 0, 0, 0, 0};
    for (u64 n = 0; n < count && found.kind == Kind::NONE; ++n) {
        Code code = butterfly(surface, i64(n), listings[n], found);
        if (code == Code::OK && found.kind == Kind::NONE) code = calendar(surface, i64(n), listings[n], found);
        if (code != Code::OK) return code;
    }
    result = found;
    return Code::OK;
}

Code distance(const Surface& a, const Surface& b, i64& result) {
    if (a.rows != b.rows || a.columns != b.columns) return Code::SHAPE;
    if (!same(a.times, b.times, a.rows) || !same(a.moneyness, b.moneyness, a.columns)) return Code::SHAPE;
    i64 total = 0;
    for (u64 n = 0; n < a.rows * a.columns; ++n) {
        const i64 gap = a.volatilities[n] - b.volatilities[n];
        total += gap < 0 ? -gap : gap;
    }
    result = total;
    return Code::OK;
}

Code ruling(const Surface* surfaces, u64 count, i64& result) {
    if (count == 0) return Code::SHAPE;
    i128 least = 0;
    i64 best = 0;
    for (u64 n = 0; n < count; ++n) {
        i128 total = 0;
        for (u64 other = 0; other < count; ++other) {
            i64 apart = 0;
            if (const Code code = distance(surfaces[n], surfaces[other], apart); code != Code::OK) return code;
            total += apart;
        }
        if (n == 0 || total < least) least = total, best = i64(n);
    }
    result = best;
    return Code::OK;
}

}  // namespace hawse::risk
