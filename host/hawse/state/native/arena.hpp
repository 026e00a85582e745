// One piece of memory that everything lives in, and the two containers that are made in it.
#pragma once

#include "base.hpp"

namespace hawse::state {

// Hands out zeroed memory from one block, which the caller has zeroed. With no block it only counts.
class Arena {
  public:
    Arena(void *block, size_t size) : block_(static_cast<u8 *>(block)), size_(size) {}

    template <class T> T *make(size_t count) {
        used_ = (used_ + 63) / 64 * 64;
        const size_t at = used_;
        used_ += count * sizeof(T);
        return counts() || used_ > size_ ? nullptr : reinterpret_cast<T *>(block_ + at);
    }
    bool counts() const { return !block_; }
    bool enough() const { return used_ <= size_; }
    size_t used() const { return used_ + 64; }

  private:
    u8 *block_;
    size_t size_, used_ = 0;
};

// A set of numbers below a limit, walked in ascending order: a tree of words, 64 branches each.
class Numbers {
  public:
    void make(Arena &arena, size_t limit) {
        for (height_ = 0; height_ < MOST; ++height_) {
            limit = (limit + 63) / 64;
            levels_[height_] = arena.make<u64>(most<size_t>(limit, 1));
            if (limit <= 1) {
                ++height_;
                break;
            }
        }
    }
    void insert(u32 number) {
        for (u32 level = 0; level < height_; ++level, number >>= 6) {
            u64 &word = levels_[level][number >> 6];
            const bool known = word;
            word |= u64{1} << (number & 63);
            if (known)
                return;
        }
    }
    void erase(u32 number) {
        for (u32 level = 0; level < height_; ++level, number >>= 6)
            if (levels_[level][number >> 6] &= ~(u64{1} << (number & 63)))
                return;
    }
    bool has(u32 number) const { return levels_[0][number >> 6] >> (number & 63) & 1; }
    bool empty() const { return !levels_[height_ - 1][0]; }
    u32 first() const { return empty() ? NONE : down(height_ - 1, 0); }
    // The lowest above `number`, or NONE.
    u32 behind(u32 number) const {
        for (u32 level = 0; level < height_; ++level, number >>= 6) {
            const u32 bit = number & 63;
            const u64 rest = bit == 63 ? 0 : levels_[level][number >> 6] & (~u64{0} << (bit + 1));
            if (rest)
                return level ? down(level - 1, u32(number >> 6 << 6 | lowest(rest))) : number >> 6 << 6 | lowest(rest);
        }
        return NONE;
    }
    template <class Visit> void each(Visit visit) const {
        for (u32 number = first(); number != NONE; number = behind(number))
            visit(number);
    }
    void clear() {
        for (u32 number; (number = first()) != NONE;)
            erase(number);
    }

  private:
    static constexpr u32 MOST = 6;
    static u32 lowest(u64 word) { return u32(__builtin_ctzll(word)); }
    u32 down(u32 level, u32 word) const {
        for (;; --level) {
            word = word << 6 | lowest(levels_[level][word]);
            if (!level)
                return word;
        }
    }
    u64 *levels_[MOST] = {};
    u32 height_ = 0;
};

// From keys, which its user holds, to numbers. Open addressing by a keyed hash; what is taken out leaves no gap.
class Index {
  public:
    void make(Arena &arena, size_t most_entries) {
        size_t places = 16;
        while (places < 2 * most_entries)
            places *= 2;
        mask_ = u32(places - 1);
        places_ = arena.make<Place>(places);
    }
    // The number whose key `same` knows, or NONE.
    template <class Same> u32 find(u64 hash, Same same) const {
        for (u32 at = u32(hash) & mask_; places_[at].number; at = (at + 1) & mask_)
            if (places_[at].hash == u32(hash) && same(places_[at].number - 1))
                return places_[at].number - 1;
        return NONE;
    }
    void prefetch(u64 hash) const { __builtin_prefetch(places_ + (u32(hash) & mask_)); }
    void insert(u64 hash, u32 number) {
        u32 at = u32(hash) & mask_;
        while (places_[at].number)
            at = (at + 1) & mask_;
        places_[at] = {number + 1, u32(hash)};
    }
    void erase(u64 hash, u32 number) {
        u32 at = u32(hash) & mask_;
        while (places_[at].number != number + 1)
            at = (at + 1) & mask_;
        for (u32 next = (at + 1) & mask_; places_[next].number; next = (next + 1) & mask_) {
            const u32 home = places_[next].hash & mask_;
            if (((next - home) & mask_) >= ((next - at) & mask_))
                places_[at] = places_[next], at = next;
        }
        places_[at].number = 0;
    }

  private:
    struct Place {
        u32 number, hash; // the number is one more, so that 0 is an empty place
    };
    Place *places_ = nullptr;
    u32 mask_ = 0;
};

} // namespace hawse::state
