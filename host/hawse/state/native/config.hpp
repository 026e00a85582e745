// What a venue is (hawse.state.config), read from its canonical bytes.
#pragma once

#include "../../risk/native/index.hpp"
#include "arena.hpp"

namespace hawse::state {

struct Terms {
    u16 number;
    u32 numerator, denominator, initial_margin_ppm, maker_fee_ppm, taker_fee_ppm;
    u32 first, count;
    i32 base, first_mark;
    u32 minimum_quantity;
    u64 minimum_notional;
    u16 underlying; // its number
    u32 mark_bound_ppm;
    u32 feed; // index of the underlying if somebody observes it, else NONE
    u32 maintenance_ppm;
    u8 kind;
    u64 expiry, window; // 0 of what does not expire
    u32 patience;
    u32 funding_interval, funding_cap_ppm; // milliseconds, 0: no funding
    u64 impact_notional;                   // 0: no impact prices
};

constexpr u32 MOST_PUBLISHERS = 16;

struct Underlying {
    u16 number;
    u8 quorum, publisher_count;
    u32 staleness, ahead, deviation_ppm;
    Address publishers[MOST_PUBLISHERS];
};

// How accounts are closed that do not carry their positions: hawse.risk.liquidation.
struct LiquidationTerms {
    u32 share_ppm;
    u64 whole, most;
    u32 begin_ppm, steps, fee_ppm, cap;
};

struct Config {
    u32 instruments_most, pool, orders;
    u8 tag_bits;
    u8 chain_id[32];
    Address contract, token, operator_address;
    u32 insurance_ppm;
    u64 minimum_deposit;
    u32 order_quota;
    u8 position_quota;
    u32 mark_step_ppm;
    u16 account_quota;
    u32 reuse_batches;
    u32 reserved_tags, reserved_handles;
    u32 instruments;
    LiquidationTerms liquidation;
    Terms *terms; // ascending by number
    u32 underlying_count;
    Underlying *underlyings; // ascending by number
    Hash rules, assets;

    u32 tags() const { return 1u << tag_bits; }
    // Index of an instrument among them, or NONE.
    u32 find(u32 number) const;
    // The same of an underlying.
    u32 find_underlying(u32 number) const;
    u16 highest() const { return terms[instruments - 1].number; }
};

// Reads `size` bytes; false if they are no configuration. Terms are made in the arena.
bool read_config(Config &config, Arena &arena, const u8 *bytes, size_t size);

} // namespace hawse::state
