// Integers, bytes, sorting and keyed hashing: what every part of the state uses.
//
// Freestanding C++17: no I/O, clock, randomness, floating point, exceptions, RTTI, threads or allocation.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "hawse_wire.h"
#include "keccak.hpp"

extern "C" {
void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
void *memset(void *, int, size_t);
int memcmp(const void *, const void *, size_t);
}

namespace hawse::state {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using i32 = int32_t;
using i64 = int64_t;
using i128 = __int128;
using u128 = unsigned __int128;

constexpr u32 NONE = 0xFFFFFFFF;
constexpr u64 PPM = 1000000;
constexpr u8 VERSION = 2;
constexpr i64 MONEY_MAX = INT64_MAX;
constexpr u64 TIME_LIMIT = u64{1} << 48;
constexpr u32 TRANSFER_BITS = 24;
constexpr u32 TRANSFERS_MAX = (1u << TRANSFER_BITS) - 1;
constexpr u32 INSURANCE = 0; // index of the venue's own account
// Fractional bits of a tick: of prices that are finer, and of the index of funding, per lot.
constexpr u32 PART_BITS = 8, FUNDING_BITS = 28;
constexpr u32 MOST_HELD = 32; // instruments that insurance may hold
constexpr u16 ISOLATED = 0x8000; // subaccounts from it on may trade one instrument only: number less this
constexpr u16 ANY_INSTRUMENT = 0xFFFF;
constexpr u16 NO_UNDERLYING = 0xFFFF;

struct Address {
    u8 bytes[20];
};

inline bool operator==(const Address &a, const Address &b) { return !memcmp(a.bytes, b.bytes, sizeof a.bytes); }
inline bool operator==(const Hash &a, const Hash &b) { return !memcmp(a.bytes, b.bytes, sizeof a.bytes); }
inline bool operator!=(const Hash &a, const Hash &b) { return !(a == b); }

template <class T> constexpr T least(T a, T b) { return b < a ? b : a; }
template <class T> constexpr T most(T a, T b) { return a < b ? b : a; }
template <class T> constexpr T magnitude(T a) { return a < 0 ? -a : a; }

// Writes big-endian fields one behind another.
class Writer {
  public:
    explicit Writer(u8 *to) : at_(to) {}

    Writer &put(u8 value) {
        *at_++ = value;
        return *this;
    }
    Writer &put(u16 value) { return swapped(__builtin_bswap16(value)); }
    Writer &put(u32 value) { return swapped(__builtin_bswap32(value)); }
    Writer &put(u64 value) { return swapped(__builtin_bswap64(value)); }
    Writer &put(i32 value) { return put(u32(value)); }
    Writer &put(i64 value) { return put(u64(value)); }
    Writer &put(u128 value) { return put(u64(value >> 64)).put(u64(value)); }
    Writer &put(i128 value) { return put(u128(value)); }
    Writer &put(const Hash &value) { return raw(value.bytes, 32); }
    Writer &put(const Address &value) { return raw(value.bytes, 20); }
    Writer &raw(const void *from, size_t size) {
        memcpy(at_, from, size);
        at_ += size;
        return *this;
    }
    Writer &u48(u64 value) { return put(u16(value >> 32)).put(u32(value)); }
    Writer &zeros(size_t size) {
        memset(at_, 0, size);
        at_ += size;
        return *this;
    }
    u8 *end() const { return at_; }

  private:
    template <class T> Writer &swapped(T value) { return raw(&value, sizeof value); }

    u8 *at_;
};

// Reads big-endian fields one behind another; beyond the end it gives zeros and is not good any more.
class Reader {
  public:
    Reader(const u8 *from, size_t size) : at_(from), end_(from + size) {}

    template <class T> T get() {
        T value = 0;
        if (const u8 *bytes = take(sizeof(T)))
            for (size_t n = 0; n < sizeof(T); ++n)
                value = T(u64(value) << 8 | bytes[n]);
        return value;
    }
    Address address() {
        Address value{};
        if (const u8 *bytes = take(20))
            memcpy(value.bytes, bytes, 20);
        return value;
    }
    const u8 *take(size_t size) {
        if (size > size_t(end_ - at_)) {
            good_ = false;
            return nullptr;
        }
        const u8 *from = at_;
        at_ += size;
        return from;
    }
    bool good() const { return good_; }
    bool done() const { return good_ && at_ == end_; }

  private:
    const u8 *at_, *end_;
    bool good_ = true;
};

// Heap sort: in place, and no order of the input makes it slow.
template <class T, class Before> void sort(T *items, size_t count, Before before) {
    const auto sift = [&](size_t at, size_t end) {
        const T item = items[at];
        for (size_t child; (child = 2 * at + 1) < end; at = child) {
            if (child + 1 < end && before(items[child], items[child + 1]))
                ++child;
            if (!before(item, items[child]))
                break;
            items[at] = items[child];
        }
        items[at] = item;
    };
    for (size_t at = count / 2; at--;)
        sift(at, count);
    for (size_t end = count; end-- > 1;) {
        const T item = items[end];
        items[end] = items[0], items[0] = item;
        sift(0, end);
    }
}

// SipHash-1-3 of a few words (Aumasson, Bernstein 2012): who does not know the seed cannot choose collisions.
struct Seed {
    u64 low, high;
};

inline u64 keyed_hash(const Seed &seed, const u64 *words, size_t count) {
    u64 a = seed.low ^ 0x736f6d6570736575, b = seed.high ^ 0x646f72616e646f6d;
    u64 c = seed.low ^ 0x6c7967656e657261, d = seed.high ^ 0x7465646279746573;
    const auto rotated = [](u64 x, int n) { return x << n | x >> (64 - n); };
    const auto round = [&] {
        a += b, b = rotated(b, 13) ^ a, a = rotated(a, 32);
        c += d, d = rotated(d, 16) ^ c;
        a += d, d = rotated(d, 21) ^ a;
        c += b, b = rotated(b, 17) ^ c, c = rotated(c, 32);
    };
    for (size_t n = 0; n <= count; ++n) {
        const u64 word = n < count ? words[n] : u64(count) << 59;
        d ^= word, round(), a ^= word;
    }
    c ^= 0xff, round(), round(), round();
    return a ^ b ^ c ^ d;
}

} // namespace hawse::state
