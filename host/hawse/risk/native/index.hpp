// Index of an underlying: index of hawse/risk/prices.py, to the bit. It stands alone, for the state needs it without
// the tables.
#pragma once

#include <stdint.h>

namespace hawse::risk {

using i64 = int64_t;
using u64 = uint64_t;
using i128 = __int128;

constexpr u64 kMostPublishers = 255;

struct Maybe {
    i64 value, is;
};

struct Feed {
    i64 publishers, quorum, staleness, ahead, deviation;
};

// The last observation of a publisher.
struct Last {
    i64 value, time, number, is;
};

enum class Drop : i64 { NONE = 0, MISSING = 1, STALE = 2, OUTLYING = 3 };

// Of a publisher; why is NONE where it counts.
struct LeftOut {
    Drop why;
    i64 value, bound;
};

struct Index {
    Maybe value;
    i64 counted;
};

inline i64 clamp(i128 value, i64 least, i64 most) {
    return value < least ? least : value > most ? most : i64(value);
}

inline i64 distance(i64 a, i64 b) { return a < b ? b - a : a - b; }

// Of ascending values.
inline i64 middle(const i64* values, u64 count) {
    const u64 half = count / 2;
    return count % 2 ? values[half] : (values[half - 1] + values[half]) >> 1;
}

// Puts value among count ascending ones.
inline void insert(i64* values, u64 count, i64 value) {
    for (; count && values[count - 1] > value; --count) values[count] = values[count - 1];
    values[count] = value;
}

// observed and left_out have a row for each publisher.
inline Index index(const Feed& feed, const Last* observed, i64 now, LeftOut* left_out) {
    i64 fresh[kMostPublishers], near[kMostPublishers];
    u64 count = 0, counted = 0;
    for (i64 n = 0; n < feed.publishers; ++n) {
        const Last& last = observed[n];
        left_out[n] = {Drop::NONE, 0, 0};
        if (!last.is) {
            left_out[n].why = Drop::MISSING;
        } else if (now - last.time > feed.staleness) {
            left_out[n] = {Drop::STALE, now - last.time, feed.staleness};
        } else {
            insert(fresh, count++, last.value);
        }
    }
    if (i64(count) < feed.quorum) return {{0, 0}, i64(count)};
    const i64 centre = middle(fresh, count), reach = centre * feed.deviation / 1'000'000;
    for (i64 n = 0; n < feed.publishers; ++n) {
        const i64 value = observed[n].value;
        if (left_out[n].why != Drop::NONE) continue;
        if (distance(value, centre) <= reach) {
            insert(near, counted++, value);
        } else {
            left_out[n] = {Drop::OUTLYING, value, clamp(value, centre - reach, centre + reach)};
        }
    }
    if (i64(counted) < feed.quorum) return {{0, 0}, i64(counted)};
    return {{middle(near, counted), 1}, i64(counted)};
}

}  // namespace hawse::risk
