// The rule by which orders get handles, and the map from their ids.
//
// A new order takes the lowest free handle. One whose order ended is free again, and the order's id unknown, from the
// next fence on. No call does work for more than one order: a fence only counts on, and each word of a bitmap takes
// note of it when it is next used.
#pragma once
#include <cstdint>
#include <vector>

#include "wire.hpp"
#include "zeroed.hpp"

namespace hawse {

class Handles {
  public:
    static constexpr uint32_t NONE = 0xFFFFFFFF;

    // As many as there may be, up to 2^24.
    explicit Handles(uint32_t count);

    void clear();

    // The handle of an order that is known, else NONE.
    uint32_t find(uint64_t id) const {
        const uint32_t handle = lookup(hash(id), id);
        return handle != NONE && known(handle) ? handle : NONE;
    }

    // Have a new order take the lowest free handle. NONE: there is none, or the id is known; `known` tells which.
    uint32_t take_lowest(uint64_t id, bool &known) {
        const uint32_t hash = this->hash(id), old = lookup(hash, id);
        known = old != NONE && this->known(old);
        if (__builtin_expect(known, 0))
            return NONE;
        const uint32_t handle = lowest();
        if (handle != NONE)
            enter(handle, id, hash, old);
        return handle;
    }

    // Take a handle that is free, for an id that is not known.
    void take(uint32_t handle, uint64_t id) { enter(handle, id, hash(id), lookup(hash(id), id)); }

    // The handle is not free.
    bool known(uint32_t handle) const { return low_[handle >> 6].used(fences_) >> (handle & 63) & 1; }

    // Free from the next fence on.
    void end(uint32_t handle) {
        Word &word = low_[handle >> 6];
        word.follow(fences_);
        if (!word.ended)
            promise(handle >> 6);
        word.ended |= uint64_t(1) << (handle & 63);
    }

    void fence() {
        ++fences_;
        if (lowest_ended_ < at_)
            at_ = lowest_ended_;
        lowest_ended_ = NONE;
    }

    uint64_t id(uint32_t handle) const { return entries_[handle].id; }
    // Handles from here on were never used.
    uint32_t never_used() const { return never_used_; }
    // How many ids share the fullest bucket: what a look-up may cost. Looks at every bucket.
    uint32_t longest_bucket() const;

  private:
    // 64 handles, or words of the bitmap below: which are in use (full), and which of these will not be behind the
    // next fence. `stamp` is the number of fences at which this was written.
    struct Word {
        uint64_t taken, ended, stamp;

        uint64_t used(uint64_t fences) const { return stamp == fences ? taken : taken & ~ended; }
        void follow(uint64_t fences) {
            if (stamp == fences)
                return;
            taken &= ~ended;
            ended = 0;
            stamp = fences;
        }
    };

    struct Entry {
        uint64_t id;
        uint32_t next; // in its bucket: handle + 1, LAST behind the last; 0 if it is in none
        uint32_t hash;
    };
    static constexpr uint32_t LAST = 0xFFFFFFFF;
    static bool leads(uint32_t link) { return link - 1 < LAST - 1; } // neither 0 nor LAST

    // Who does not know the seed can choose no ids that meet in a bucket; 16 ids in a row share a line of the cache,
    // and never a bucket.
    uint32_t hash(uint64_t id) const {
        const auto product = static_cast<unsigned __int128>((id >> 4) ^ seed_[0]) * seed_[1];
        const uint64_t mixed = uint64_t(product) ^ uint64_t(product >> 64);
        return (uint32_t(mixed) & ~15u) | (uint32_t(id ^ mixed >> 60) & 15);
    }

    // Linear hashing: buckets are split one by one, as orders come.
    size_t bucket(uint32_t hash) const {
        const size_t i = hash & mask_;
        return i < buckets_ ? i : i & mask_ >> 1;
    }

    // Whoever has the id in the map, known or not.
    uint32_t lookup(uint32_t hash, uint64_t id) const {
        for (uint32_t link = heads_[bucket(hash)]; leads(link); link = entries_[link - 1].next)
            if (entries_[link - 1].id == id)
                return link - 1;
        return NONE;
    }

    uint32_t lowest() {
        Word &word = low_[at_];
        word.follow(fences_);
        if (~word.taken)
            return at_ << 6 | uint32_t(__builtin_ctzll(~word.taken));
        return search();
    }

    // The id is in the map already, of a handle that is free by now: `old`, else NONE.
    void enter(uint32_t handle, uint64_t id, uint32_t hash, uint32_t old) {
        if (__builtin_expect(old != NONE, 0))
            unlist(old);
        Entry &entry = entries_[handle];
        if (entry.next)
            unlist(handle);
        if (handle >= never_used_)
            never_used_ = handle + 1;
        uint32_t &head = heads_[bucket(hash)];
        entry = {id, head ? head : LAST, hash};
        head = handle + 1;
        if (__builtin_expect(2 * ++listed_ > buckets_, 0))
            split();
        Word &word = low_[handle >> 6];
        word.follow(fences_);
        word.taken |= uint64_t(1) << (handle & 63);
        if (__builtin_expect(!~word.taken, 0))
            fill(handle >> 6);
    }

    void unlist(uint32_t handle) {
        Entry &entry = entries_[handle];
        uint32_t *link = &heads_[bucket(entry.hash)];
        while (*link != handle + 1)
            link = &entries_[*link - 1].next;
        *link = entry.next;
        entry.next = 0;
        --listed_;
    }

    uint32_t search();
    void fill(uint32_t word);
    void promise(uint32_t word);
    void split();

    uint32_t count_;
    uint64_t seed_[2];
    Zeroed<Entry> entries_; // by handle
    Zeroed<uint32_t> heads_; // by bucket: handle + 1, 0 or LAST if it is empty
    size_t buckets_ = 0, mask_ = 0, listed_ = 0; // mask_ + 1: the power of two at or above buckets_
    std::vector<Zeroed<Word>> words_; // the bitmap of handles, and above each word a bit
    Word *low_ = nullptr; // the first of them
    uint64_t fences_ = 0;
    uint32_t at_ = 0; // no word below has a free handle
    uint32_t lowest_ended_ = NONE; // word, since the last fence
    uint32_t never_used_ = 0;
};

} // namespace hawse
