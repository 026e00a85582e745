// The leaves of the state as they stand at a slot's end, the chain of slot digests, and the roots above them:
// hawse.state.commitments. hawse.commit.leaves says what stands where.
#pragma once

#include "admission.hpp"

namespace hawse::state {

class Commitments {
  public:
    void make(Arena &arena, Ledger &ledger, const Capacity &capacity);

    // Takes in the leaves as they are; nothing counts as changed afterwards.
    void take_in();
    // Takes in what a slot has changed, and begins the digest behind it, which stands when the lanes are finished.
    void end_slot(u64 slot);

    Hash orders_root();
    void put_sections(Writer &out);
    // Handles of the resting orders: by instrument, side, best price, then queue. Returns how many.
    u32 in_place(u32 *handles);

    Lanes &lanes() { return *lanes_; }
    Hash digest;
    Tree accounts, control;

  private:
    // Begins the hash of each leaf that may have changed.
    void begin_accounts();
    void begin_control();
    void begin_orders();
    void begin_instruments();
    void begin_underlyings();
    void begin_tags();
    void begin_strategies();
    void begin_waiting();
    void begin_rules();
    // Hashes of those that did change, by tag of the leaf, then by key; behind `out`.
    Hash *changes(Hash *out);
    Hash *moved(Hash *out);
    Hash *tagged(Hash *out);
    Hash *planned(Hash *out);
    Hash *waited(Hash *out);
    Hash *ruled(Hash *out);

    Ledger *ledger_;
    Lanes *lanes_;
    Hash *new_accounts_, *new_control_, *new_orders_, *new_instruments_, *new_tags_, *new_waiting_; // as they were begun
    Hash *new_underlyings_, *underlyings_;
    Hash *instruments_, *tags_, *waiting_, *leaves_, rules_, new_rules_;
    Hash *strategies_, *new_strategies_;
    Numbers known_tags_, known_strategies_, known_waiting_;
    u32 known_rules_; // number of the rules whose leaf is `rules_`
    u8 *body_;        // of the operation that brought them
    u8 *message_; // of the digest
    struct Place {
        u64 price, queue;
        u32 handle;
    } *places_;
};

} // namespace hawse::state
