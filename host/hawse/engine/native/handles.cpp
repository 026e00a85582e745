#include "handles.hpp"

#include <algorithm>
#include <random>

namespace hawse {
namespace {

constexpr size_t FEWEST_BUCKETS = 1024;

size_t power_of_two(size_t least) {
    size_t size = FEWEST_BUCKETS;
    while (size < least)
        size *= 2;
    return size;
}

} // namespace

Handles::Handles(uint32_t count) : count_(count) {
    std::random_device system;
    for (uint64_t &seed : seed_)
        seed = uint64_t(system()) << 32 | system();
    seed_[1] |= 1;
    clear();
}

void Handles::clear() {
    entries_ = Zeroed<Entry>(count_);
    heads_ = Zeroed<uint32_t>(power_of_two(size_t(2) * count_));
    const uint32_t usual = std::min(count_, USUAL_ORDERS);
    entries_.touch(0, usual);
    heads_.touch(0, std::min<size_t>(heads_.size(), size_t(2) * usual));
    buckets_ = FEWEST_BUCKETS;
    mask_ = buckets_ - 1;
    listed_ = 0;
    words_.clear();
    fences_ = 0;
    at_ = never_used_ = 0;
    lowest_ended_ = NONE;
    // What a last word has too many of counts as taken, for ever.
    for (uint32_t bits = count_;;) {
        const uint32_t words = (bits + 63) / 64;
        words_.emplace_back(words);
        if (bits % 64)
            words_.back()[words - 1].taken = ~uint64_t(0) << bits % 64;
        if (words == 1)
            break;
        bits = words;
    }
    low_ = &words_[0][0];
}

// The lowest free handle, where the word that `at_` names has none.
uint32_t Handles::search() {
    const size_t top = words_.size() - 1;
    uint32_t at = 0;
    for (size_t level = top + 1; level-- > 0;) {
        Word &word = words_[level][at];
        word.follow(fences_);
        if (!~word.taken)
            return NONE; // only the top: a word above tells the truth of those below
        at = at << 6 | uint32_t(__builtin_ctzll(~word.taken));
    }
    at_ = at >> 6;
    return at;
}

// A word of the lowest level has become full.
void Handles::fill(uint32_t word) {
    for (size_t level = 1; level < words_.size(); ++level, word >>= 6) {
        Word &above = words_[level][word >> 6];
        above.follow(fences_);
        above.taken |= uint64_t(1) << (word & 63);
        if (~above.taken)
            return;
    }
}

// A word of the lowest level has the first of its handles that the next fence will free.
void Handles::promise(uint32_t word) {
    lowest_ended_ = std::min(lowest_ended_, word);
    for (size_t level = 1; level < words_.size(); ++level, word >>= 6) {
        Word &above = words_[level][word >> 6];
        above.follow(fences_);
        const bool known = above.ended;
        above.ended |= uint64_t(1) << (word & 63);
        if (known)
            return;
    }
}

// One bucket more, of what the one that stood for it has for it.
void Handles::split() {
    if (buckets_ == heads_.size())
        return;
    if (buckets_ > mask_)
        mask_ = 2 * mask_ + 1;
    uint32_t *link = &heads_[bucket(uint32_t(buckets_))], *moved = &heads_[buckets_];
    const size_t to = buckets_++;
    while (leads(*link)) {
        const uint32_t at = *link;
        Entry &entry = entries_[at - 1];
        if (bucket(entry.hash) == to) {
            *link = entry.next;
            entry.next = *moved ? *moved : LAST;
            *moved = at;
        } else {
            link = &entry.next;
        }
    }
}

uint32_t Handles::longest_bucket() const {
    uint32_t longest = 0;
    for (size_t i = 0; i < buckets_; ++i) {
        uint32_t ids = 0;
        for (uint32_t link = heads_[i]; leads(link); link = entries_[link - 1].next)
            ++ids;
        longest = std::max(longest, ids);
    }
    return longest;
}

} // namespace hawse
