#include "lanes.hpp"

namespace hawse::state {

// Lanes

void Lanes::start(u32 lane, u8 *message, size_t size, Hash *out) {
    const size_t blocks = size / KECCAK_RATE + 1, padded = blocks * KECCAK_RATE;
    memset(message + size, 0, padded - size);
    message[size] = 0x01;
    message[padded - 1] |= 0x80;
    lanes_[lane] = {message, blocks, out};
    for (u32 i = 0; i < 25; ++i)
        states_[i][lane] = 0;
    busy_ |= 1u << lane;
}

u32 Lanes::take() {
    constexpr u32 ALL = (1u << KECCAK_LANES) - 1;
    while (busy_ == ALL)
        step();
    return u32(__builtin_ctz(~busy_));
}

Writer Lanes::begin(size_t size, Hash *out) {
    const u32 lane = take();
    start(lane, room_[lane], size, out);
    return Writer(room_[lane]);
}

void Lanes::begin_there(u8 *message, size_t size, Hash *out) { start(take(), message, size, out); }

void Lanes::step() {
    u32 highest = 0;
    for (u32 left = busy_; left; left &= left - 1) {
        const u32 lane = u32(__builtin_ctz(left));
        const u8 *at = lanes_[lane].at;
        for (u32 i = 0; i < KECCAK_RATE / 8; ++i) {
            u64 word;
            memcpy(&word, at + 8 * i, 8);
            states_[i][lane] ^= word;
        }
        lanes_[lane].at += KECCAK_RATE;
        ++permutations_;
        highest = lane;
    }
    keccak_permute_lanes(states_, highest + 1);
    for (u32 left = busy_; left; left &= left - 1) {
        const u32 lane = u32(__builtin_ctz(left));
        if (--lanes_[lane].blocks)
            continue;
        for (u32 i = 0; i < 4; ++i)
            memcpy(lanes_[lane].out->bytes + 8 * i, &states_[i][lane], 8);
        busy_ &= ~(1u << lane);
    }
}

void Lanes::finish() {
    while (busy_)
        step();
}

// Trees

namespace {

constexpr size_t NODE_BYTES = 1 + 2 * sizeof(Hash);

void begin_node(Lanes &lanes, NodeTag tag, const Hash *children, Hash *out) {
    lanes.begin(NODE_BYTES, out).put(u8(tag)).raw(children, 2 * sizeof(Hash));
}

// Levels of a tree of at most so many leaves, each half as long as the one below.
void make_levels(Arena &arena, Hash **levels, size_t most_leaves) {
    for (size_t size = most<size_t>(most_leaves, 1);; size = (size + 1) / 2) {
        *levels++ = arena.make<Hash>(size);
        if (size == 1)
            return;
    }
}

} // namespace

Hash empty_root() { return keccak256(nullptr, 0); }

Hash root_over(Lanes &lanes, Hash *leaves, size_t count, NodeTag tag) {
    if (!count)
        return empty_root();
    for (; count > 1; count = (count + 1) / 2) {
        // What a node is written over was read for a node before it, or for itself.
        for (size_t at = 0; at < count / 2; ++at)
            begin_node(lanes, tag, leaves + 2 * at, leaves + at);
        lanes.finish();
        if (count & 1)
            leaves[count / 2] = leaves[count - 1];
    }
    return leaves[0];
}

void Tree::make(Arena &arena, size_t most_leaves, NodeTag tag) {
    tag_ = tag;
    count_ = 0;
    make_levels(arena, levels_, most_leaves);
    behind_.make(arena, most_leaves);
    changed_ = arena.make<u32>(most_leaves);
}

void Tree::set(u32 at, const Hash &leaf) {
    levels_[0][at] = leaf;
    count_ = most<size_t>(count_, at + 1);
    behind_.insert(at);
}

Hash Tree::root(Lanes &lanes) {
    if (!count_)
        return empty_root();
    size_t changed = 0;
    behind_.each([&](u32 at) { changed_[changed++] = at; });
    behind_.clear();
    size_t count = count_, height = 0;
    for (; count > 1; count = (count + 1) / 2, ++height) {
        size_t parents = 0;
        for (size_t n = 0; n < changed; ++n)
            if (!parents || changed_[parents - 1] != changed_[n] / 2)
                changed_[parents++] = changed_[n] / 2;
        changed = parents;
        for (size_t n = 0; n < changed; ++n) {
            const size_t at = changed_[n];
            if (2 * at + 1 < count)
                begin_node(lanes, tag_, levels_[height] + 2 * at, levels_[height + 1] + at);
            else
                levels_[height + 1][at] = levels_[height][2 * at];
        }
        lanes.finish();
    }
    return levels_[height][0];
}

size_t Tree::proof(u32 at, Hash *out) const {
    size_t found = 0, height = 0;
    for (size_t last = count_ - 1; last; last >>= 1, at >>= 1, ++height)
        if ((at ^ 1) <= last)
            out[found++] = levels_[height][at ^ 1];
    return found;
}

void Growing::make(Arena &arena, size_t most_leaves, NodeTag tag) {
    tag_ = tag;
    memset(made_, 0, sizeof made_);
    make_levels(arena, levels_, most_leaves);
}

Hash *Growing::append(size_t count) {
    made_[0] += count;
    return levels_[0] + made_[0] - count;
}

bool Growing::advance(Lanes &lanes, size_t known_leaves) {
    // From the top: a level's count is then still that of nodes that were made before.
    size_t top = 0;
    while (made_[top] > 1)
        ++top;
    bool begun = false;
    for (size_t height = top + 1; height--;) {
        const size_t known = height ? made_[height] : known_leaves;
        for (size_t &at = made_[height + 1]; at < known / 2; ++at) {
            begin_node(lanes, tag_, levels_[height] + 2 * at, levels_[height + 1] + at);
            begun = true;
        }
    }
    return begun;
}

Hash Growing::root(Lanes &lanes) {
    if (!size())
        return empty_root();
    do
        lanes.finish();
    while (advance(lanes, size()));
    // What is left over at the right of each level is carried up, from the lowest.
    Hash right;
    bool carried = false;
    for (size_t height = 0; made_[height]; ++height) {
        if (!(made_[height] & 1))
            continue;
        const Hash &last = levels_[height][made_[height] - 1];
        if (!carried) {
            right = last;
            carried = true;
            continue;
        }
        const Hash pair[2] = {last, right};
        begin_node(lanes, tag_, pair, &right);
        lanes.finish();
    }
    return right;
}

} // namespace hawse::state
