// Keccak-256 of many messages side by side, and the Merkle trees above them.
#pragma once

#include "arena.hpp"

namespace hawse::state {

// Hashes messages as they come, KECCAK_LANES at a time, whatever their lengths: a lane that is done takes the next.
class Lanes {
  public:
    // Room for one message of `size` bytes, to be filled before the next call; `out` has its hash behind finish().
    Writer begin(size_t size, Hash *out);
    // A long message that stands somewhere else, with room for its padding behind it.
    void begin_there(u8 *message, size_t size, Hash *out);
    // All that were begun.
    void finish();
    // Permutations so far.
    u64 permutations() const { return permutations_; }

    static constexpr size_t LONGEST = 17 * KECCAK_RATE - 1;

  private:
    struct Lane {
        const u8 *at;
        size_t blocks;
        Hash *out;
    };
    u32 take();
    void step();
    void start(u32 lane, u8 *message, size_t size, Hash *out);

    alignas(64) u64 states_[25][KECCAK_LANES];
    alignas(64) u8 room_[KECCAK_LANES][LONGEST + 1];
    Lane lanes_[KECCAK_LANES];
    u32 busy_; // a bit for each lane
    u64 permutations_;
};

enum NodeTag : u8 {
    ACCOUNTS = 0x11,
    CONTROL = 0x13,
    EXITS = 0x21,
    EXIT_MARKS = 0x23,
    WITHDRAWALS = 0x31,
    ORDERS = 0x51,
    SECTION = 0x6F,
    OUTCOMES = 0x81,
    INPUTS = 0xA1,
};

Hash empty_root();

// The root over `count` leaves, which are written over.
Hash root_over(Lanes &lanes, Hash *leaves, size_t count, NodeTag tag);

// A tree whose leaves change, or come at its end; each changed path is hashed once.
class Tree {
  public:
    void make(Arena &arena, size_t most_leaves, NodeTag tag);
    size_t size() const { return count_; }
    void clear() { count_ = 0; }
    const Hash &leaf(size_t at) const { return levels_[0][at]; }
    void prefetch(size_t at) const { __builtin_prefetch(levels_[0] + at, 1); }
    // Sets one that is there, or the one behind the last.
    void set(u32 at, const Hash &leaf);
    Hash root(Lanes &lanes);
    // Siblings of a leaf from the leaf up, of the tree as root() left it; returns how many.
    size_t proof(u32 at, Hash *out) const;

  private:
    static constexpr size_t HEIGHT = 32;
    NodeTag tag_;
    Hash *levels_[HEIGHT];
    size_t count_;
    Numbers behind_; // leaves that the nodes above them do not know yet
    u32 *changed_;
};

// A tree whose leaves come at its end. Nodes are made as their children are known, beside other messages.
class Growing {
  public:
    void make(Arena &arena, size_t most_leaves, NodeTag tag);
    size_t size() const { return made_[0]; }
    void clear() { memset(made_, 0, sizeof made_); }
    // Room for so many more leaves, which count at once.
    Hash *append(size_t count);
    const Hash *leaves() const { return levels_[0]; }
    // Begin every node whose children were known before; its own parent comes with the next call.
    bool advance(Lanes &lanes, size_t known_leaves);
    Hash root(Lanes &lanes);

  private:
    static constexpr size_t HEIGHT = 32;
    NodeTag tag_;
    Hash *levels_[HEIGHT];
    size_t made_[HEIGHT];
};

} // namespace hawse::state
