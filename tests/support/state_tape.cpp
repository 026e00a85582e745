// Plays a tape of slots and reports to the native state, on whatever machine this runs, and prints what comes out.
// support.tape writes the tape: numbers of 64 bits, little-endian, and arrays as the C interface takes them.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "state.h"
#include "keccak.hpp"

namespace {

using Bytes = std::vector<uint8_t>;

uint64_t number() {
    uint8_t bytes[8];
    if (std::fread(bytes, 1, 8, stdin) != 8)
        std::exit(feof(stdin) ? 0 : 1);
    uint64_t value = 0;
    for (int n = 8; n--;)
        value = value << 8 | bytes[n];
    return value;
}

Bytes bytes(size_t size) {
    Bytes out(size + 1);
    if (std::fread(out.data(), 1, size, stdin) != size)
        std::exit(2);
    return out;
}

void say(const char *what, const uint8_t *hash) {
    std::printf("%s ", what);
    for (int n = 0; n < 32; ++n)
        std::printf("%02x", hash[n]);
    std::printf("\n");
}

void check(int result) {
    if (result != HAWSE_STATE_OK) {
        std::printf("error %d\n", result);
        std::exit(3);
    }
}

struct Player {
    Bytes config;
    hawse_state_capacity capacity;
    hawse_state *state = nullptr;
    void *memory = nullptr;

    void make() {
        const size_t size = hawse_state_size(config.data(), config.size() - 1, &capacity);
        memory = std::aligned_alloc(4096, (size + 4095) / 4096 * 4096);
        for (size_t n = 0; n < size; ++n)
            static_cast<uint8_t *>(memory)[n] = 0;
        const uint64_t seed[2] = {1, 2};
        state = hawse_state_new(memory, size, config.data(), config.size() - 1, &capacity, seed);
    }
    void open() {
        hawse_state_slot slot{};
        slot.number = number(), slot.time = number(), slot.closes = number();
        slot.closing = uint32_t(number());
        slot.operation_count = number(), slot.deposit_count = number();
        slot.row_count = number(), slot.message_count = number();
        const Bytes operations = bytes(slot.operation_count * sizeof(hawse_state_operation));
        const Bytes deposits = bytes(slot.deposit_count * sizeof(hawse_state_deposit));
        const Bytes rows = bytes(slot.row_count * 128), is_signed = bytes(slot.message_count);
        const Bytes signers = bytes(slot.message_count * 20), structs = bytes(slot.message_count * 32);
        slot.operations = reinterpret_cast<const hawse_state_operation *>(operations.data());
        slot.deposits = reinterpret_cast<const hawse_state_deposit *>(deposits.data());
        slot.rows = rows.data(), slot.is_signed = is_signed.data();
        slot.signers = signers.data(), slot.structs = structs.data();
        hawse_state_made made;
        check(hawse_state_open(state, &slot, &made));
        const size_t size = made.order_count * sizeof(hawse_order);
        say("orders", hawse::keccak256(reinterpret_cast<const uint8_t *>(made.orders), size).bytes);
    }
    void clear() {
        const uint64_t count = number();
        const Bytes events = bytes(count * sizeof(hawse_event));
        hawse_state_made made;
        check(hawse_state_clear(state, reinterpret_cast<const hawse_event *>(events.data()), count, &made));
        hawse_state_counters counters;
        hawse_state_count(state, &counters);
        say("digest", counters.digest);
    }
    void seal() {
        hawse_state_batch batch;
        check(hawse_state_seal(state, &batch));
        const uint8_t *const roots[] = {batch.state_root,  batch.inputs_root, batch.outcomes_root,
                                        batch.exit_root,   batch.marks_root,  batch.withdrawals_root};
        for (const uint8_t *root : roots)
            say("root", root);
    }
    // And go on as the machine that is restored from it.
    void snapshot() {
        Bytes data(size_t(hawse_state_snapshot(state, nullptr, 0)));
        hawse_state_snapshot(state, data.data(), data.size());
        say("snapshot", hawse::keccak256(data.data(), data.size()).bytes);
        std::free(memory);
        make();
        check(hawse_state_restore(state, data.data(), data.size()));
    }
};

} // namespace

int main() {
    Player player;
    player.config = bytes(number());
    player.capacity = {number(), number(), number(), number()};
    player.make();
    for (;;)
        switch (number()) {
        case 1: player.open(); break;
        case 2: player.clear(); break;
        case 3: player.seal(); break;
        case 4: player.snapshot(); break;
        default: return 4;
        }
}
