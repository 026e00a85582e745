#include "config.hpp"

namespace hawse::state {
namespace {

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
    t.maintenance_ppm = from.get<u32>();
    return t.numerator && t.denominator && t.initial_margin_ppm <= PPM && t.maker_fee_ppm <= PPM &&
           t.taker_fee_ppm <= PPM && t.minimum_notional <= u64(MONEY_MAX) && t.maintenance_ppm &&
           t.maintenance_ppm <= PPM;
}

bool read_liquidation(LiquidationTerms &t, Reader &from) {
    t.share_ppm = from.get<u32>(), t.whole = i64(from.get<u64>()), t.most = from.get<u32>();
    t.begin_ppm = from.get<u32>(), t.steps = from.get<u16>(), t.fee_ppm = from.get<u32>(), t.cap = from.get<u16>();
    if (!t.cap)
        return !(t.share_ppm || t.whole || t.most || t.begin_ppm || t.steps || t.fee_ppm);
    return t.share_ppm && t.share_ppm <= PPM && t.whole >= 0 && t.most && t.begin_ppm <= PPM && t.steps &&
           t.fee_ppm <= PPM;
}

} // namespace

u32 Config::find(u32 number) const {
    u32 low = 0, high = instruments;
    while (low < high) {
        const u32 middle = (low + high) / 2;
        if (terms[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < instruments && terms[low].number == number ? low : NONE;
}

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
    config.instruments = from.get<u16>();
    if (!from.good() || data_provider > 1 || !config.instruments || !config.orders || !config.tag_bits || config.tag_bits > 16)
        return false;
    if (!read_liquidation(config.liquidation, from))
        return false;
    config.terms = arena.make<Terms>(config.instruments);
    Terms none;
    u8 *room = arena.make<u8>(size + 1);
    for (u32 n = 0; n < config.instruments; ++n) {
        Terms &terms = arena.counts() ? none : config.terms[n];
        if (!read_terms(terms, from) || (n && !arena.counts() && terms.number <= config.terms[n - 1].number))
            return false;
    }
    if (!from.done())
        return false;
    if (!arena.counts() && arena.enough()) {
        config.rules = rules_hash(room, bytes, size);
        config.assets = assets_hash(config);
    }
    return true;
}

} // namespace hawse::state
