#include "config.hpp"

namespace hawse::state {
namespace {

constexpr u8 FUTURE = 1;
constexpr size_t MINE_AT = 12, MINE_SIZE = 32 + 20 + 20; // chain id, contract and token

// keccak256(0x61 ‖ the configuration with chain, contract and token zero).
Hash rules_hash(u8 *room, const u8 *bytes, size_t size) {
    room[0] = 0x61;
    memcpy(room + 1, bytes, size);
    memset(room + 1 + MINE_AT, 0, MINE_SIZE);
    return keccak256(room, size + 1);
}

Hash assets_hash(const Config &config) {
    u8 bytes[2 + 2 + 32 + 20];
    Writer(bytes).put(u8(0x68)).put(VERSION).put(u16(1)).raw(config.chain_id, 32).put(config.token);
    return keccak256(bytes, sizeof bytes);
}

bool read_terms(Terms &t, Reader &from) {
    t.number = from.get<u16>();
    from.take(from.get<u8>());
    t.numerator = from.get<u32>(), t.denominator = from.get<u32>();
    t.initial_margin_ppm = from.get<u32>(), t.maker_fee_ppm = from.get<u32>(), t.taker_fee_ppm = from.get<u32>();
    t.first = from.get<u32>(), t.count = from.get<u32>();
    t.base = i32(from.get<u32>()), t.first_mark = i32(from.get<u32>());
    t.minimum_quantity = from.get<u32>(), t.minimum_notional = from.get<u64>();
    t.underlying = from.get<u16>(), t.mark_bound_ppm = from.get<u32>();
    t.maintenance_ppm = from.get<u32>();
    t.kind = from.get<u8>(), t.expiry = from.get<u64>(), t.window = from.get<u64>(), t.patience = from.get<u32>();
    t.funding_interval = from.get<u32>(), t.funding_cap_ppm = from.get<u32>(), t.impact_notional = from.get<u64>();
    const bool dated = t.kind == FUTURE;
    if (t.kind > FUTURE || dated != bool(t.expiry) || dated != bool(t.window) || dated != bool(t.patience) ||
        t.window > t.expiry || t.expiry >= TIME_LIMIT)
        return false;
    return t.numerator && t.denominator && t.initial_margin_ppm <= PPM && t.maker_fee_ppm <= PPM &&
           t.taker_fee_ppm <= PPM && t.minimum_notional <= u64(MONEY_MAX) && t.maintenance_ppm && t.maintenance_ppm <= PPM &&
           t.mark_bound_ppm < PPM / 2 && t.funding_cap_ppm <= PPM && t.impact_notional <= u64(MONEY_MAX) &&
           (t.impact_notional || !t.funding_interval);
}

bool read_liquidation(LiquidationTerms &t, Reader &from) {
    constexpr u64 MOST_LOTS = u64{1} << 56;
    t.share_ppm = from.get<u32>(), t.whole = from.get<u64>(), t.most = from.get<u64>();
    t.begin_ppm = from.get<u32>(), t.steps = from.get<u32>(), t.fee_ppm = from.get<u32>(), t.cap = from.get<u32>();
    return t.share_ppm && t.share_ppm <= PPM && t.whole <= MOST_LOTS && t.most && t.most <= MOST_LOTS &&
           t.begin_ppm <= PPM && t.steps && t.steps <= 1u << 16 && t.fee_ppm <= PPM && t.cap && t.cap <= 1u << 16;
}

bool read_underlying(Underlying &u, Reader &from) {
    u.number = from.get<u16>();
    from.take(from.get<u8>());
    u.quorum = from.get<u8>(), u.staleness = from.get<u32>(), u.ahead = from.get<u32>();
    u.deviation_ppm = from.get<u32>(), u.publisher_count = from.get<u8>();
    if (u.publisher_count > MOST_PUBLISHERS || u.quorum > u.publisher_count || bool(u.quorum) != bool(u.publisher_count))
        return false;
    for (u32 n = 0; n < u.publisher_count; ++n)
        u.publishers[n] = from.address();
    return u.staleness && u.deviation_ppm <= PPM;
}

template <class T> u32 find_in(const T *items, u32 count, u32 number) {
    u32 low = 0, high = count;
    while (low < high) {
        const u32 middle = (low + high) / 2;
        if (items[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && items[low].number == number ? low : NONE;
}

} // namespace

u32 Config::find(u32 number) const { return find_in(terms, instruments, number); }

u32 Config::find_underlying(u32 number) const { return find_in(underlyings, underlying_count, number); }

bool read_config(Config &config, Arena &arena, const u8 *bytes, size_t size) {
    Reader from(bytes, size);
    if (from.get<u8>() != VERSION)
        return false;
    config.instruments_most = from.get<u16>(), config.pool = from.get<u32>(), config.orders = from.get<u32>();
    config.tag_bits = from.get<u8>();
    if (const u8 *chain = from.take(32))
        memcpy(config.chain_id, chain, 32);
    config.contract = from.address(), config.token = from.address(), config.operator_address = from.address();
    config.insurance_ppm = from.get<u32>(), config.minimum_deposit = from.get<u64>();
    config.order_quota = from.get<u32>(), config.position_quota = from.get<u8>();
    config.mark_step_ppm = from.get<u32>(), config.account_quota = from.get<u16>();
    config.reuse_batches = from.get<u32>(), config.reserved_tags = from.get<u16>();
    config.reserved_handles = from.get<u32>();
    const u8 data_provider = from.get<u8>();
    if (!read_liquidation(config.liquidation, from))
        return false;
    config.instruments = from.get<u16>();
    if (!from.good() || data_provider > 1 || !config.instruments || !config.orders || !config.tag_bits || config.tag_bits > 16)
        return false;
    config.terms = arena.make<Terms>(config.instruments);
    Terms none;
    u8 *room = arena.make<u8>(size + 1);
    for (u32 n = 0; n < config.instruments; ++n) {
        Terms &terms = arena.counts() ? none : config.terms[n];
        if (!read_terms(terms, from) || u64{terms.first} + terms.count > config.pool || (n && !arena.counts() && terms.number <= config.terms[n - 1].number))
            return false;
    }
    config.underlying_count = from.get<u16>();
    config.underlyings = arena.make<Underlying>(config.underlying_count);
    Underlying nothing;
    for (u32 n = 0; n < config.underlying_count; ++n) {
        Underlying &about = arena.counts() ? nothing : config.underlyings[n];
        if (!read_underlying(about, from) || (n && !arena.counts() && about.number <= config.underlyings[n - 1].number))
            return false;
    }
    if (!from.done())
        return false;
    if (!arena.counts() && arena.enough()) {
        for (u32 n = 0; n < config.instruments; ++n) {
            Terms &terms = config.terms[n];
            const u32 at = config.find_underlying(terms.underlying);
            if (at == NONE && terms.underlying != NO_UNDERLYING)
                return false;
            terms.feed = at != NONE && config.underlyings[at].publisher_count ? at : NONE;
            if (terms.expiry && terms.feed == NONE)
                return false;
        }
        config.rules = rules_hash(room, bytes, size);
        config.assets = assets_hash(config);
    }
    return true;
}

} // namespace hawse::state
