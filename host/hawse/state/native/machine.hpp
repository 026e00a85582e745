// The transition function, slot by slot: hawse.state.machine.
#pragma once

#include "state.h"
#include "clearing.hpp"
#include "commitments.hpp"
#include "liquidating.hpp"
#include "settling.hpp"
#include "strategies.hpp"

namespace hawse::state {

enum Phase : u8 { BOUNDARY, OPEN, BROKEN, SEALING };

class Machine {
  public:
    // In the arena; false if the bytes are no configuration. An arena without a block only counts.
    bool make(Arena &arena, const u8 *config, size_t size, const Capacity &capacity, const Seed &seed);

    // Each gives HAWSE_STATE_OK, or what is wrong.
    int open(const hawse_state_slot &slot);
    int clear(const hawse_event *events, u64 count);
    int root(Hash &out);
    int seal(hawse_state_batch &out);
    // Begin the next batch; what has to be said of the last one, another machine says.
    int turn();

    // Bytes of the snapshot, of which as many are written as there is room for; negative for what is wrong.
    i64 snapshot(u8 *out, size_t room);
    int restore(const u8 *bytes, size_t size);

    u128 dust();
    u64 next_withdrawal() const { return withdrawals_first + admission.withdrawals.count; }

    // Handles of the resting orders in the order of their tree; returns how many.
    u32 resting(u32 *&handles);

    Config config;
    Ledger ledger;
    Admission admission;
    Liquidation liquidation;
    Expired expired;
    Strategies strategies;
    Commitments commitments;
    Phase phase;
    u64 next_slot, time, last_seq, batch, deposit_index, request_index;
    i128 deposited;
    u64 withdrawals_first, inputs_first;
    Hash deposit_accumulator, request_accumulator;
    Growing inputs, outcomes;
    // Leaves of the last slot as they are hashed, each at the beginning of so many bytes.
    static constexpr size_t LEAF_ROOM = KECCAK_RATE;
    u8 *input_bytes, *outcome_bytes;
    u64 wrong_seq;  // of the command whose report could not be
    u64 slot_first; // sequence number of the slot's first input
    i64 *exits;     // equity of each account, as the last seal has it

  private:
    friend class Restoring;

    int check(const hawse_state_slot &slot) const;
    bool good_operation(const hawse_state_slot &slot, u32 n) const;
    bool good_status(const hawse_state_slot &slot, const hawse_state_operation &operation) const;
    bool good_mark(const hawse_state_slot &slot, const hawse_state_operation &operation) const;
    bool enough_room(const hawse_state_slot &slot, u64 messages, u64 transfers) const;
    void operate(const hawse_state_slot &slot);
    void deposit(const hawse_state_deposit &deposit, Hash &accumulator);
    void request(const hawse_state_request &request, Hash &accumulator);
    // Messages from a row to another; `message` is the number of the first, and then of the one behind the last.
    void admit(const hawse_state_slot &slot, u64 from, u64 to, u64 &message);
    Hash operation_body(u8 kind, const u8 *body, u32 size);
    Writer input_leaf(Hash *leaves, u64 seq, u8 kind);
    void input_leaves(const hawse_state_slot &slot);
    void machine_inputs(Hash *leaves);
    void user_inputs(const hawse_state_slot &slot, Hash *leaves);
    void outcome_leaves();
    void split_fees();

    Hash exit_root(u128 &positive, u128 &shortfall);
    Hash marks_root();
    Hash withdrawals_root(u128 &sum);
    Hash venue_hash();
    u128 sum_of_fractions(u32 count);
    void write_ledger(class Text &out);
    void write_feeds(class Text &out);
    void write_account(class Text &out, u32 index);

    Lanes &lanes() { return commitments.lanes(); }

    Capacity capacity_;
    Numbers moved_; // instruments with a new mark, or a new index of funding
    Hash *accumulators_, *bodies_, *nodes_;
    u8 *body_; // of an operation, behind its tag and kind
    u128 *sums_;
    u64 closes_, slot_;
    bool closing_;
    struct Fraction {
        u64 numerator, denominator;
    } *fractions_;
    u32 *handles_; // of an account's orders, sorted
    u32 *big_;     // room for two large numbers
};

} // namespace hawse::state
