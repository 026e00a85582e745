// The price levels of one side, a queue of orders in each.
//
// A level is known by a key: a price, counted so that a better one has a lower key. Most keys are within a window, an
// array of levels with bitmaps of those that are occupied; where the instrument has no band, the others are kept in a
// tree.
#pragma once
#include <cstdint>
#include <map>
#include <memory>

#include "hawse_wire.h"
#include "zeroed.hpp"

namespace hawse {

constexpr uint32_t NONE = 0xFFFFFFFF;
constexpr uint64_t NO_KEY = uint64_t(1) << 32; // worse than any

inline uint32_t key_of(unsigned side, int32_t price) {
    return (uint32_t(price) ^ 0x80000000u) ^ (side == HAWSE_SIDE_SELL ? 0u : ~0u);
}

// The orders at one price, first and last.
struct Queue {
    uint32_t head, tail; // handles
};

// An array of up to 2^24 queues and the set of those that are occupied. The others hold anything.
class Levels {
  public:
    explicit Levels(uint32_t count);
    void clear();

    Queue &operator[](uint32_t level) { return queues_[level]; }
    void touch(uint32_t first, uint32_t last) { queues_.touch(first, last); }
    bool occupied(uint32_t level) const { return words_[level >> 6] >> (level & 63) & 1; }

    void mark(uint32_t level) {
        words_[level >> 6] |= bit(level);
        middle_[level >> 12] |= bit(level >> 6);
        upper_[level >> 18] |= bit(level >> 12);
        top_ |= bit(level >> 18);
    }

    void unmark(uint32_t level) {
        if (!(words_[level >> 6] &= ~bit(level)))
            if (!(middle_[level >> 12] &= ~bit(level >> 6)))
                if (!(upper_[level >> 18] &= ~bit(level >> 12)))
                    top_ &= ~bit(level >> 18);
    }

    // The next occupied level behind `level`, or one not below `end` if there is none before. Windows share words of
    // the bitmap's upper levels, but none of the lowest.
    uint32_t after(uint32_t level, uint32_t end) const {
        if (const uint64_t word = words_[level >> 6] & above(level))
            return (level & ~63u) | lowest(word);
        level >>= 6;
        if (const uint64_t word = middle_[level >> 6] & above(level))
            return below(words_, (level & ~63u) | lowest(word));
        return search(level >> 6, end);
    }

  private:
    static uint64_t bit(uint32_t level) { return uint64_t(1) << (level & 63); }
    static uint64_t above(uint32_t level) { return ~uint64_t(1) << (level & 63); }
    static uint32_t lowest(uint64_t word) { return uint32_t(__builtin_ctzll(word)); }
    static uint32_t below(const Zeroed<uint64_t> &words, uint32_t word) { return word << 6 | lowest(words[word]); }

    uint32_t search(uint32_t middle, uint32_t end) const;

    uint32_t count_;
    Zeroed<Queue> queues_;
    Zeroed<uint64_t> words_, middle_, upper_; // bit i of a word: word i below it is not zero
    uint64_t top_ = 0;
};

// One side of a book.
class Ladder {
  public:
    // Key of the best occupied level, NO_KEY if there is none.
    uint64_t best() const { return best_; }
    bool empty() const { return best_ == NO_KEY; }

    // Have a window of `count` levels of the shared `levels`, from `first` on, whose best price has the key `start`;
    // nothing rests.
    void take(Levels &levels, uint32_t first, uint32_t count, uint32_t start);
    // Have no band: any key has its level.
    void take_any();

    bool holds(uint32_t key) const {
        return inside(key) ? levels_->occupied(key - offset_) : sparse_.count(key) != 0;
    }

    // The queue of an occupied level.
    Queue &operator[](uint32_t key) { return inside(key) ? (*levels_)[key - offset_] : sparse_.at(key); }

    // The last order at `key`, which `handle` is from now on; NONE if there was none.
    uint32_t append(uint32_t key, uint32_t handle) {
        if (!inside(key))
            return append_outside(key, handle);
        ++within_;
        return append_inside(key, handle);
    }

    // A level has lost its last order.
    void vacate(uint32_t key) {
        if (inside(key))
            levels_->unmark(key - offset_);
        else
            sparse_.erase(key);
        if (key == best_)
            best_ = after(key);
    }

    // Key of the next occupied level behind `key`, NO_KEY if there is none.
    uint64_t after(uint32_t key) const {
        uint64_t found = NO_KEY;
        if (inside(key))
            found = from_level(levels_->after(key - offset_, end_));
        else if (key < start_ && count_)
            found = first_inside();
        if (!sparse_.empty())
            if (const auto next = sparse_.upper_bound(key); next != sparse_.end() && next->first < found)
                found = next->first;
        return found;
    }

  private:
    bool inside(uint32_t key) const { return key - start_ < count_; }
    uint64_t from_level(uint32_t level) const { return level < end_ ? uint32_t(level + offset_) : NO_KEY; }
    uint64_t first_inside() const;

    uint32_t append_inside(uint32_t key, uint32_t handle) {
        const uint32_t level = key - offset_;
        Queue &queue = (*levels_)[level];
        uint32_t last = NONE;
        if (levels_->occupied(level)) {
            last = queue.tail;
        } else {
            queue.head = handle;
            levels_->mark(level);
            if (key < best_)
                best_ = key;
        }
        queue.tail = handle;
        return last;
    }

    uint32_t append_outside(uint32_t key, uint32_t handle);
    void move_window(uint32_t key);

    Levels *levels_ = nullptr;
    uint64_t best_ = NO_KEY;
    uint32_t start_ = 0, count_ = 0; // the window: keys
    uint32_t offset_ = 0; // key of a level less its number, modulo 2^32
    uint32_t end_ = 0; // level where the window ends
    uint32_t within_ = 0, outside_ = 0; // orders that rested since the window was last thought about
    uint32_t patience_ = 0; // orders that may rest outside before it is thought about again
    std::unique_ptr<Levels> own_; // without a band
    std::map<uint32_t, Queue> sparse_;
};

} // namespace hawse
