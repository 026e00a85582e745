#include "ladder.hpp"

#include <algorithm>

namespace hawse {
namespace {

#ifndef HAWSE_OWN_LEVELS // a test has fewer
#define HAWSE_OWN_LEVELS (1 << 20)
#define HAWSE_PATIENCE 1024
#endif

// Without a band: levels of the window, which goes where most orders are.
constexpr uint32_t OWN = HAWSE_OWN_LEVELS;
// On both sides of the middle, where the first order comes to rest: levels whose memory is at hand.
constexpr uint32_t NEAR = OWN < (1 << 16) ? OWN / 2 : 1 << 15;
// Orders that rest outside before the window may move, at least: moving takes time for each occupied level, so that
// there are eight orders for each.
constexpr uint32_t PATIENCE = HAWSE_PATIENCE;

} // namespace

Levels::Levels(uint32_t count) : count_(count), queues_(count) { clear(); }

void Levels::clear() {
    words_ = Zeroed<uint64_t>((count_ >> 6) + 1);
    middle_ = Zeroed<uint64_t>((count_ >> 12) + 1);
    upper_ = Zeroed<uint64_t>((count_ >> 18) + 1);
    top_ = 0;
}

// The first occupied level behind all those of a word of the bitmap's middle.
uint32_t Levels::search(uint32_t middle, uint32_t end) const {
    if (const uint64_t word = upper_[middle >> 6] & above(middle))
        return below(words_, below(middle_, (middle & ~63u) | lowest(word)));
    if (const uint64_t word = top_ & above(middle >> 6))
        return below(words_, below(middle_, below(upper_, lowest(word))));
    return end;
}

void Ladder::take(Levels &levels, uint32_t first, uint32_t count, uint32_t start) {
    *this = Ladder();
    levels_ = &levels;
    start_ = start;
    count_ = count;
    offset_ = start - first;
    end_ = first + count;
}

void Ladder::take_any() {
    *this = Ladder();
    own_ = std::make_unique<Levels>(OWN);
    levels_ = own_.get();
    levels_->touch(OWN / 2 - NEAR, OWN / 2 + NEAR);
}

uint64_t Ladder::first_inside() const {
    const uint32_t first = start_ - offset_;
    return from_level(levels_->occupied(first) ? first : levels_->after(first, end_));
}

uint32_t Ladder::append_outside(uint32_t key, uint32_t handle) {
    ++outside_;
    if (empty() || (outside_ > patience_ && outside_ > within_)) {
        move_window(key);
        return append_inside(key, handle);
    }
    if (outside_ > patience_)
        outside_ = within_ = 0;
    const auto [level, fresh] = sparse_.try_emplace(key, Queue{handle, handle});
    best_ = std::min<uint64_t>(best_, key);
    if (fresh)
        return NONE;
    const uint32_t last = level->second.tail;
    level->second.tail = handle;
    return last;
}

// Have `key` in the middle of the window.
void Ladder::move_window(uint32_t key) {
    outside_ = within_ = 0;
    uint32_t moved = 0;
    if (count_)
        for (uint64_t at = first_inside(); at != NO_KEY;) {
            const uint32_t level = uint32_t(at) - offset_;
            sparse_.emplace(uint32_t(at), (*levels_)[level]);
            levels_->unmark(level);
            ++moved;
            at = from_level(levels_->after(level, end_));
        }
    start_ = std::clamp<uint32_t>(key, OWN / 2, 0u - OWN / 2) - OWN / 2;
    count_ = end_ = OWN;
    offset_ = start_;
    for (auto it = sparse_.lower_bound(start_); it != sparse_.end() && inside(it->first); it = sparse_.erase(it)) {
        const uint32_t level = it->first - offset_;
        (*levels_)[level] = it->second;
        levels_->mark(level);
        ++moved;
    }
    patience_ = std::max(PATIENCE, 8 * moved);
}

} // namespace hawse
