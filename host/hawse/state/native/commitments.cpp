#include "commitments.hpp"

namespace hawse::state {
namespace {

constexpr size_t ACCOUNT_BYTES = 54, POSITION_BYTES = 42, CONTROL_BYTES = 23, SIGNER_BYTES = 47, NONCE_BYTES = 6;
constexpr size_t WAITING_BYTES = 15, RULES_BYTES = 46, STRATEGY_BYTES = 108;
constexpr size_t ORDER_BYTES = 38, TAG_BYTES = 97, BUCKETS = 8, INSTRUMENT_BYTES = 431 + 4 * 8;
constexpr size_t UNDERLYING_BYTES = 98, SOURCE_BYTES = 57;
constexpr size_t DIGEST_BYTES = 1 + 32 + 8;

void put_tag(Writer out, u16 tag, const Address &owner) {
    const u64 unlimited = ~u64{0};
    out.put(u8(0x64)).put(VERSION).put(tag).put(owner);
    for (u32 n = 0; n < 5; ++n) // order size, open orders, open buy, open sell, commands
        out.put(unlimited);
    out.put(u8(0)).put(unlimited); // killed, credit
    out.zeros(4 + 8 + 8 + 4);      // orders, buy, sell, sent
}

void put_waiting(Writer out, u32 index, u64 until) {
    out.put(u8(0x66)).put(VERSION).put(u8(2)).put(index).put(until);
}

void put_nonces(Writer &out, const Nonces &nonces) {
    out.u48(nonces.floor).put(u8(nonces.count)).raw(nonces.used, NONCE_BYTES * nonces.count);
}

} // namespace

void Commitments::make(Arena &arena, Ledger &ledger, const Capacity &capacity) {
    ledger_ = &ledger;
    const Config &config = *ledger.config;
    const size_t people = capacity.accounts;
    lanes_ = arena.make<Lanes>(1);
    accounts.make(arena, people, ACCOUNTS);
    control.make(arena, people, CONTROL);
    new_accounts_ = arena.make<Hash>(people);
    new_control_ = arena.make<Hash>(people);
    new_orders_ = arena.make<Hash>(config.orders);
    new_instruments_ = arena.make<Hash>(config.instruments);
    new_tags_ = arena.make<Hash>(config.tags());
    instruments_ = arena.make<Hash>(config.instruments);
    new_underlyings_ = arena.make<Hash>(config.underlying_count);
    underlyings_ = arena.make<Hash>(config.underlying_count);
    tags_ = arena.make<Hash>(config.tags());
    known_tags_.make(arena, config.tags());
    new_strategies_ = arena.make<Hash>(config.orders);
    strategies_ = arena.make<Hash>(config.orders);
    known_strategies_.make(arena, config.orders);
    new_waiting_ = arena.make<Hash>(people);
    waiting_ = arena.make<Hash>(people);
    known_waiting_.make(arena, people);
    body_ = arena.make<u8>(2 + Rules::LONGEST);
    known_rules_ = 0;
    const size_t all = 1 + 3 * people + 2 * size_t(config.orders) + config.instruments + config.underlying_count + config.tags();
    message_ = arena.make<u8>(DIGEST_BYTES + sizeof(Hash) * all + KECCAK_RATE);
    const size_t most_listed = most<size_t>(config.instruments, config.underlying_count);
    const size_t most_fixed = most<size_t>(config.orders, most<size_t>(most_listed, config.tags()));
    leaves_ = arena.make<Hash>(most(people, most_fixed));
    places_ = arena.make<Place>(config.orders);
}

// Leaves

void Commitments::begin_accounts() {
    const Ledger &ledger = *ledger_;
    Hash *out = new_accounts_;
    ledger.changed.each([&](u32 index) {
        const Account &a = ledger.accounts[index];
        accounts.prefetch(index);
        u32 positions = 0;
        ledger.each_holding(a, [&](const Holding &h) { positions += h.size != 0; });
        Writer leaf = lanes_->begin(ACCOUNT_BYTES + POSITION_BYTES * positions, out++);
        leaf.put(u8(0x10)).put(VERSION).put(index).put(ledger.owner_of(a));
        leaf.put(a.subaccount).put(a.generation).put(u16(0)).put(a.collateral); // asset
        leaf.put(u8(0)).put(a.only()).put(a.flags).put(u8(positions));          // mode
        ledger.each_holding(a, [&](const Holding &h) {
            if (h.size)
                leaf.put(ledger.config->terms[h.market].number).put(h.size).put(h.entry).put(i128(h.funding));
        });
    });
}

void Commitments::begin_control() {
    const Ledger &ledger = *ledger_;
    Hash *out = new_control_;
    ledger.signed_.each([&](u32 index) {
        const Account &a = ledger.accounts[index];
        control.prefetch(index);
        const bool venue = index == INSURANCE;
        const Agent *const agents = ledger.agents_of(index);
        size_t signers = venue ? 0 : SIGNER_BYTES + NONCE_BYTES * a.nonces.count;
        for (u32 n = 0; n < a.agents; ++n)
            signers += SIGNER_BYTES + NONCE_BYTES * agents[n].nonces.count;
        Writer leaf = lanes_->begin(CONTROL_BYTES + signers, out++);
        leaf.put(u8(0x12)).put(VERSION).put(index).put(a.transfers).put(a.timer).put(a.step).put(u8(venue ? 0 : 1 + a.agents));
        if (venue)
            return;
        leaf.put(ledger.owner_of(a)).zeros(8 + 8 + 4); // expiry, appointed, longest life
        put_nonces(leaf, a.nonces);
        for (u32 n = 0; n < a.agents; ++n) {
            const Agent &agent = agents[n];
            leaf.put(agent.address).put(agent.expiry).put(agent.appointed).put(agent.max_life);
            put_nonces(leaf, agent.nonces);
        }
    });
}

void Commitments::begin_orders() {
    const Ledger &ledger = *ledger_;
    Hash *out = new_orders_;
    ledger.moved.each([&](u32 handle) {
        const Order &o = ledger.orders[handle];
        if (!o.remaining && !o.has_leaf)
            return; // came and went within the slot
        __builtin_prefetch(&o.leaf);
        lanes_->begin(ORDER_BYTES, out++)
            .put(u8(0x50)).put(VERSION).put(ledger.config->terms[o.market].number).put(o.side).put(o.price)
            .put(o.queue).put(handle).put(o.account).put(o.client_id).put(o.remaining).put(o.leaf_flags());
    });
}

void Commitments::begin_instruments() {
    const Ledger &ledger = *ledger_;
    ledger.priced.each([&](u32 n) {
        const Terms &t = ledger.config->terms[n];
        const Market &m = ledger.markets[n];
        Writer leaf = lanes_->begin(INSTRUMENT_BYTES, new_instruments_ + n);
        leaf.put(u8(0x62)).put(VERSION).put(t.number).put(t.kind).put(t.underlying).zeros(2); // template
        leaf.put(m.status).put(t.expiry).zeros(8); // strike
        leaf.put(t.first).put(t.count).put(t.base).put(i64(m.mark)).put(m.mark_time);
        leaf.put(i64(m.last_trade)).put(i128(m.basis)).put(m.trade_time);
        const Average &impact = m.impact, &premium = m.funding.premium;
        leaf.put(impact.time).put(impact.value).put(impact.total).put(impact.elapsed);
        leaf.put(premium.time).put(premium.value).put(m.funding.until).put(premium.total).put(premium.elapsed);
        leaf.put(m.funding.begun).put(m.funding.index).put(i128(m.funding.cumulative));
        leaf.put(m.settlement.total).put(m.settlement.time).put(m.settlement.elapsed).put(m.settlement.heard);
        leaf.put(m.settlement.value).put(m.settlement.last).zeros(BUCKETS * 20); // buckets
        leaf.put(m.open_interest).put(u8(2)).put(m.dust).put(m.funding_dust);
    });
}

void Commitments::begin_underlyings() {
    const Ledger &ledger = *ledger_;
    ledger.observed.each([&](u32 n) {
        const Underlying &about = ledger.config->underlyings[n];
        const Feed &feed = ledger.feeds[n];
        u32 said = 0;
        for (u32 p = 0; p < about.publisher_count; ++p)
            said += feed.observed[p].is != 0;
        Writer leaf = lanes_->begin(UNDERLYING_BYTES + SOURCE_BYTES * said, new_underlyings_ + n);
        leaf.put(u8(0x63)).put(VERSION).put(about.number).put(feed.index).put(feed.time).put(u8(feed.counted));
        leaf.zeros(16 + 8 + 4 + 8 + 32 + 8).put(u8(said)); // variance, fraction and surface, with their times
        for (u32 p = 0; p < about.publisher_count; ++p) {
            const risk::Last &last = feed.observed[p];
            if (last.is)
                leaf.put(u8(p)).put(last.value).put(u64(last.time)).put(u64(last.number)).zeros(32);
        }
    });
}

void Commitments::begin_tags() {
    const Ledger &ledger = *ledger_;
    ledger.tagged.each([&](u32 tag) {
        const u32 owner = ledger.tag_owners[tag];
        const Address nobody{};
        put_tag(lanes_->begin(TAG_BYTES, new_tags_ + tag), u16(tag),
                ledger.tags.has(tag) ? nobody : ledger.owners[owner].address);
    });
}

void Commitments::begin_strategies() {
    const Ledger &ledger = *ledger_;
    ledger.planned.each([&](u32 place) {
        Writer leaf = lanes_->begin(STRATEGY_BYTES, new_strategies_ + place).put(u8(0x65)).put(VERSION).put(place);
        if (!ledger.planning.has(place)) {
            leaf.zeros(STRATEGY_BYTES - 6);
            return;
        }
        const Strategy &s = ledger.strategies[place];
        leaf.put(s.account).put(ledger.accounts[s.account].generation).put(s.client_id).put(s.kind);
        leaf.put(ledger.config->terms[s.market].number).put(s.side).put(s.trigger).put(s.trigger_price);
        leaf.put(s.limit_price).put(s.offset_ppm).put(s.quantity).put(s.every).put(s.low).put(s.high).put(s.until);
        leaf.put(s.queue).put(s.next).put(s.done).put(s.best).put(u8(s.fired));
    });
}

void Commitments::begin_waiting() {
    const Ledger &ledger = *ledger_;
    ledger.waited.each([&](u32 index) {
        put_waiting(lanes_->begin(WAITING_BYTES, new_waiting_ + index), index,
                    ledger.waiting.has(index) ? ledger.waits[index] : 0);
    });
}

void Commitments::begin_rules() {
    const Ledger &ledger = *ledger_;
    if (ledger.rules.number == known_rules_)
        return;
    constexpr u8 RULES = 5; // hawse.state.slot.OperationKind
    Writer(body_).put(u8(0xA3)).put(RULES).raw(ledger.rules_body, ledger.rules_size);
    const Hash body = keccak256(body_, size_t{2} + ledger.rules_size);
    lanes_->begin(RULES_BYTES, &new_rules_)
        .put(u8(0x67)).put(VERSION).put(ledger.rules.number).put(ledger.rules.from).put(body);
}

// What changed

Hash *Commitments::changes(Hash *out) {
    begin_control();
    begin_accounts();
    begin_instruments();
    begin_underlyings();
    begin_tags();
    begin_orders();
    begin_strategies();
    begin_waiting();
    begin_rules();
    lanes_->finish();
    const auto indexed = [&](Tree &tree, Numbers &indices, const Hash *leaf) {
        indices.each([&](u32 index) {
            if (index == tree.size() || tree.leaf(index) != *leaf) {
                tree.set(index, *leaf);
                *out++ = *leaf;
            }
            ++leaf;
        });
        indices.clear();
    };
    indexed(accounts, ledger_->changed, new_accounts_);
    indexed(control, ledger_->signed_, new_control_);
    out = moved(out);
    const auto renewed = [&](Numbers &numbers, Hash *known, const Hash *now) {
        numbers.each([&](u32 n) {
            if (known[n] != now[n])
                *out++ = known[n] = now[n];
        });
        numbers.clear();
    };
    renewed(ledger_->priced, instruments_, new_instruments_);
    renewed(ledger_->observed, underlyings_, new_underlyings_);
    return ruled(waited(planned(tagged(out))));
}

// Orders that are others than at the slot's beginning; one that has ended has no lots.
Hash *Commitments::moved(Hash *out) {
    const Hash *leaf = new_orders_;
    ledger_->moved.each([&](u32 handle) {
        Order &o = ledger_->orders[handle];
        if (!o.remaining && !o.has_leaf)
            return;
        if (!o.has_leaf || o.leaf != *leaf)
            *out++ = o.leaf = *leaf;
        o.has_leaf = true;
        ++leaf;
    });
    ledger_->moved.clear();
    return out;
}

// Tags that changed hands; one that came free is nobody's.
Hash *Commitments::tagged(Hash *out) {
    ledger_->tagged.each([&](u32 tag) {
        const bool before = known_tags_.has(tag), now = !ledger_->tags.has(tag);
        if (before != now || (now && tags_[tag] != new_tags_[tag]))
            *out++ = new_tags_[tag];
        if (now)
            known_tags_.insert(tag);
        else
            known_tags_.erase(tag);
        tags_[tag] = new_tags_[tag];
    });
    ledger_->tagged.clear();
    return out;
}

// Strategies that are others than before; one that is over is zeros but its place.
Hash *Commitments::planned(Hash *out) {
    ledger_->planned.each([&](u32 place) {
        const bool before = known_strategies_.has(place), now = ledger_->planning.has(place);
        if (before != now || (now && strategies_[place] != new_strategies_[place]))
            *out++ = new_strategies_[place];
        if (now)
            known_strategies_.insert(place);
        else if (before)
            known_strategies_.erase(place);
        strategies_[place] = new_strategies_[place];
    });
    ledger_->planned.clear();
    return out;
}

// Indices that wait anew, or for another batch; one that waits no more has batch 0.
Hash *Commitments::waited(Hash *out) {
    ledger_->waited.each([&](u32 index) {
        const bool before = known_waiting_.has(index), now = ledger_->waiting.has(index);
        if (before != now || (now && waiting_[index] != new_waiting_[index]))
            *out++ = new_waiting_[index];
        if (now)
            known_waiting_.insert(index);
        else if (before)
            known_waiting_.erase(index);
        waiting_[index] = new_waiting_[index];
    });
    ledger_->waited.clear();
    return out;
}

// The rules that came into force.
Hash *Commitments::ruled(Hash *out) {
    if (ledger_->rules.number == known_rules_)
        return out;
    known_rules_ = ledger_->rules.number;
    *out++ = rules_ = new_rules_;
    return out;
}

void Commitments::take_in() { changes(reinterpret_cast<Hash *>(message_ + DIGEST_BYTES)); }

void Commitments::end_slot(u64 slot) {
    const Hash *end = changes(reinterpret_cast<Hash *>(message_ + DIGEST_BYTES));
    Writer(message_).put(u8(0x71)).put(digest).put(slot);
    lanes_->begin_there(message_, size_t(reinterpret_cast<const u8 *>(end) - message_), &digest);
}

// Roots

u32 Commitments::in_place(u32 *handles) {
    const Ledger &ledger = *ledger_;
    u32 count = 0;
    for (u32 handle = 0; handle < ledger.config->orders; ++handle) {
        const Order &o = ledger.orders[handle];
        if (ledger.handles.has(handle))
            continue;
        const u32 price = o.side ? u32(o.price) ^ 0x80000000 : 0x7FFFFFFF - u32(o.price);
        places_[count++] = {u64(o.market) << 33 | u64(o.side) << 32 | price, o.queue, handle};
    }
    sort(places_, count, [](const Place &a, const Place &b) {
        return a.price != b.price ? a.price < b.price : a.queue < b.queue;
    });
    for (u32 n = 0; n < count; ++n)
        handles[n] = places_[n].handle;
    return count;
}

Hash Commitments::orders_root() {
    u32 *handles = reinterpret_cast<u32 *>(new_orders_);
    const u32 count = in_place(handles);
    for (u32 n = 0; n < count; ++n)
        leaves_[n] = ledger_->orders[handles[n]].leaf;
    return root_over(*lanes_, leaves_, count, ORDERS);
}

// Instruments, underlyings, tags, strategies, waiting, rule sets; strategies have no leaves yet.
void Commitments::put_sections(Writer &out) {
    const Config &config = *ledger_->config;
    memcpy(leaves_, instruments_, sizeof(Hash) * config.instruments);
    out.put(config.instruments).put(root_over(*lanes_, leaves_, config.instruments, SECTION));
    memcpy(leaves_, underlyings_, sizeof(Hash) * config.underlying_count);
    out.put(config.underlying_count).put(root_over(*lanes_, leaves_, config.underlying_count, SECTION));
    u32 tags = 0;
    known_tags_.each([&](u32 tag) { leaves_[tags++] = tags_[tag]; });
    out.put(tags).put(root_over(*lanes_, leaves_, tags, SECTION));
    u32 strategies = 0;
    known_strategies_.each([&](u32 place) { leaves_[strategies++] = strategies_[place]; });
    out.put(strategies).put(root_over(*lanes_, leaves_, strategies, SECTION));
    u32 waiting = 0;
    known_waiting_.each([&](u32 index) { leaves_[waiting++] = waiting_[index]; });
    out.put(waiting).put(root_over(*lanes_, leaves_, waiting, SECTION));
    leaves_[0] = rules_;
    out.put(u32(known_rules_ != 0)).put(root_over(*lanes_, leaves_, known_rules_ != 0, SECTION));
}

} // namespace hawse::state
