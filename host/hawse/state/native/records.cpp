// What is hashed of a journal and of its messages around the transition function, many at a time.
#include "lanes.hpp"
#include "state.h"

using namespace hawse::state;
using hawse::Hash;

namespace {

constexpr size_t FRAME = 9, LINK = 32, WORD = 32, ROW = 128;
constexpr u8 INPUT = 1, OUTCOME = 2, BOARD = 7, LAST_TYPE = 7;

u32 big(const u8 *at) { return u32(at[0]) << 24 | u32(at[1]) << 16 | u32(at[2]) << 8 | at[3]; }

u32 crc32(const u8 *at, size_t size) {
    u32 crc = ~0u;
    for (const u8 *end = at + size; at < end; ++at) {
        crc ^= *at;
        for (int bit = 0; bit < 8; ++bit)
            crc = crc >> 1 ^ (0xEDB88320 & -(crc & 1));
    }
    return ~crc;
}

// Whether a whole record stands there, as far as its head tells.
bool whole(const u8 *at, size_t left) {
    if (left < FRAME + LINK || crc32(at, 5) != big(at + 5) || !at[4] || at[4] > LAST_TYPE)
        return false;
    return big(at) <= left - FRAME - LINK;
}

bool chained(u8 type) { return type == INPUT || type == OUTCOME || type == BOARD; }

void put_word(Writer &to, const hawse_state_member &member, const u8 *row) {
    const u8 *from = row + member.offset;
    if (member.size == sizeof(Address)) {
        to.zeros(WORD - sizeof(Address)).raw(from, sizeof(Address));
        return;
    }
    u64 value = 0;
    memcpy(&value, from, member.size);
    if (member.mask)
        value = value >> member.shift & member.mask;
    u64 above = 0;
    if (member.is_signed && value >> (8 * member.size - 1)) {
        above = ~u64(0);
        if (member.size < 8)
            value |= above << 8 * member.size;
    }
    to.put(above).put(above).put(above).put(value);
}

} // namespace

size_t hawse_state_links(const uint8_t *data, size_t size, const uint8_t *chain, hawse_state_record *out, size_t most,
                         uint8_t *scratch) {
    Lanes lanes{};
    size_t count = 0;
    for (size_t at = 0; count < most && whole(data + at, size - at); ++count) {
        const u32 length = big(data + at);
        const u8 type = data[at + 4], *payload = data + at + FRAME;
        const size_t message = 1 + LINK + 1 + length;
        Writer(scratch).put(u8(0x90)).raw(chain, LINK).put(type).raw(payload, length);
        out[count] = {at, length, type, {}};
        lanes.begin_there(scratch, message, reinterpret_cast<Hash *>(out[count].link));
        scratch += (message / hawse::KECCAK_RATE + 1) * hawse::KECCAK_RATE;
        // What the record itself says; whether that is so is known when all are hashed.
        if (chained(type))
            chain = payload + length;
        at += FRAME + length + LINK;
    }
    lanes.finish();
    for (size_t n = 0; n < count; ++n)
        if (memcmp(out[n].link, data + out[n].offset + FRAME + out[n].length, LINK) != 0)
            return n;
    return count;
}

void hawse_state_structs(const hawse_state_kind *kinds, const hawse_state_member *members, const void *rows,
                         const uint32_t *places, size_t count, uint8_t *out) {
    Lanes lanes{};
    const u8 *all = static_cast<const u8 *>(rows);
    for (size_t n = 0; n < count; ++n) {
        const u8 *head = all + ROW * places[n];
        const hawse_state_kind &kind = kinds[*head];
        Writer to = lanes.begin(WORD * (1 + kind.count), reinterpret_cast<Hash *>(out + WORD * n));
        to.raw(kind.type_hash, WORD);
        for (u32 m = kind.first; m < kind.first + kind.count; ++m)
            put_word(to, members[m], members[m].body ? head + ROW : head);
    }
    lanes.finish();
}
