#include "state.h"

#include "machine.hpp"

using namespace hawse::state;

struct hawse_state {
    Machine machine;
};

namespace {

Capacity read(const hawse_state_capacity &c) { return {c.accounts, c.messages, c.inputs, c.withdrawals}; }

void made(Machine &m, hawse_state_made &out) {
    Admission &a = m.admission;
    out.first_seq = m.slot_first, out.inputs = m.last_seq + 1 - m.slot_first;
    out.order_count = a.rows.count, out.orders = a.rows.items;
    out.refusal_count = a.refusals.count, out.refusals = a.refusals.items;
    out.event_count = a.events.count, out.events = a.events.items;
    out.machine_count = a.machine.count, out.machine = a.machine.items;
    out.message_count = a.message_seqs.count, out.message_seqs = a.message_seqs.items;
    out.transfer_count = a.transfers.count, out.transfers = a.transfers.items;
    out.fill_count = m.ledger.fill_count, out.fill_fees = m.ledger.fill_fees;
}

hawse_state_average average(const Average &of) { return {of.total, of.time, of.elapsed, of.value, of.is}; }

void put_order(const Machine &m, u32 handle, hawse_state_order &out) {
    const Order &o = m.ledger.orders[handle];
    out = {};
    out.client_id = o.client_id, out.queue = o.queue, out.account = o.account, out.handle = handle;
    out.instrument = m.config.terms[o.market].number, out.remaining = o.remaining, out.held = o.held;
    out.peak = o.peak, out.tag = m.ledger.tag_of(o), out.price = o.price, out.side = o.side;
    out.time_in_force = o.time_in_force, out.self_trade = o.self_trade, out.reduce_only = o.reduce_only;
    out.dropped = o.dropped, out.resting = o.resting;
}

} // namespace

size_t hawse_state_size(const uint8_t *config, size_t size, const hawse_state_capacity *capacity) {
    Arena arena(nullptr, 0);
    Machine scratch{};
    arena.make<hawse_state>(1);
    return scratch.make(arena, config, size, read(*capacity), {}) ? arena.used() : 0;
}

hawse_state *hawse_state_new(void *memory, size_t bytes, const uint8_t *config, size_t size,
                             const hawse_state_capacity *capacity, const uint64_t *seed) {
    Arena arena(memory, bytes);
    hawse_state *state = arena.make<hawse_state>(1);
    const bool good = state && state->machine.make(arena, config, size, read(*capacity), {seed[0], seed[1]});
    return good ? state : nullptr;
}

int hawse_state_open(hawse_state *state, const hawse_state_slot *slot, hawse_state_made *out) {
    const int wrong = state->machine.open(*slot);
    made(state->machine, *out);
    return wrong;
}

int hawse_state_clear(hawse_state *state, const hawse_event *events, size_t count, hawse_state_made *out) {
    Machine &m = state->machine;
    const int wrong = m.clear(events, count);
    made(m, *out);
    if (wrong == HAWSE_STATE_OK) {
        const size_t first = m.inputs.size() - out->inputs;
        out->input_leaves = m.input_bytes, out->outcome_leaves = m.outcome_bytes;
        out->input_hashes = m.inputs.leaves()[first].bytes, out->outcome_hashes = m.outcomes.leaves()[first].bytes;
    }
    return wrong;
}

int hawse_state_seal(hawse_state *state, hawse_state_batch *out) { return state->machine.seal(*out); }

int hawse_state_turn(hawse_state *state) { return state->machine.turn(); }

int hawse_state_root(hawse_state *state, uint8_t *out) {
    hawse::Hash root{};
    const int wrong = state->machine.root(root);
    memcpy(out, root.bytes, sizeof root.bytes);
    return wrong;
}

int64_t hawse_state_snapshot(hawse_state *state, uint8_t *out, size_t room) {
    return state->machine.snapshot(out, room);
}

int hawse_state_restore(hawse_state *state, const uint8_t *bytes, size_t size) {
    return state->machine.restore(bytes, size);
}

// Queries

void hawse_state_count(hawse_state *state, hawse_state_counters *out) {
    Machine &m = state->machine;
    *out = {};
    out->deposited = m.deposited, out->withdrawn = m.admission.withdrawn, out->fees = m.ledger.fees;
    out->overflow = m.ledger.overflow.value;
    out->next_slot = m.next_slot, out->time = m.time, out->last_seq = m.last_seq, out->batch = m.batch;
    out->batch_inputs = m.inputs.size(), out->batch_withdrawals = m.admission.withdrawals.count;
    out->rules_from = m.ledger.rules.from, out->rules_size = m.ledger.rules_size;
    out->deposit_index = m.deposit_index, out->request_index = m.request_index;
    out->accounts = m.ledger.account_count;
    out->wrong_seq = m.wrong_seq, out->permutations = m.commitments.lanes().permutations(), out->phase = m.phase;
    memcpy(out->digest, m.commitments.digest.bytes, 32);
    memcpy(out->deposit_accumulator, m.deposit_accumulator.bytes, 32);
    memcpy(out->request_accumulator, m.request_accumulator.bytes, 32);
}

int64_t hawse_state_find(hawse_state *state, const uint8_t *owner, uint32_t subaccount) {
    Address address;
    memcpy(address.bytes, owner, 20);
    const u32 found = state->machine.ledger.account_at(address, u16(subaccount));
    return found == NONE || subaccount > 0xFFFF ? -1 : int64_t(found);
}

void hawse_state_read_rules(hawse_state *state, uint8_t *out) {
    memcpy(out, state->machine.ledger.rules_body, state->machine.ledger.rules_size);
}

void hawse_state_read_agents(hawse_state *state, uint32_t index, hawse_state_agent *out) {
    const Ledger &ledger = state->machine.ledger;
    for (u32 n = 0; n < ledger.accounts[index].agents; ++n, ++out) {
        const Agent &agent = ledger.agents_of(index)[n];
        *out = {agent.expiry, agent.appointed, agent.nonces.floor, agent.max_life, agent.nonces.count, {}, {}, {}};
        memcpy(out->address, agent.address.bytes, 20);
        memcpy(out->used, agent.nonces.used, sizeof agent.nonces.used);
    }
}

int hawse_state_read_account(hawse_state *state, uint32_t index, hawse_state_account *out) {
    Ledger &ledger = state->machine.ledger;
    if (index >= ledger.account_count)
        return HAWSE_STATE_UNFIT;
    const Account &a = ledger.accounts[index];
    *out = {};
    out->equity = ledger.equity(a), out->free_collateral = ledger.free_collateral(a);
    out->withdrawable = ledger.withdrawable(a, out->free_collateral);
    const bool left = ledger.overflow.happened;
    ledger.overflow = {};
    out->generation = a.generation, out->timer = a.timer, out->floor = a.nonces.floor, out->collateral = a.collateral;
    out->index = index, out->nonces = a.nonces.count, out->holdings = a.touched, out->orders = a.orders;
    out->transfers = a.transfers, out->flags = a.flags, out->subaccount = a.subaccount, out->agents = a.agents;
    out->strategies = a.strategies;
    memcpy(out->owner, ledger.owner_of(a).bytes, 20);
    memcpy(out->used, a.nonces.used, sizeof a.nonces.used);
    return left ? HAWSE_STATE_OVERFLOW : HAWSE_STATE_OK;
}

void hawse_state_read_owners(hawse_state *state, hawse_state_owner *out, size_t count) {
    const Ledger &ledger = state->machine.ledger;
    for (size_t n = 0; n < count; ++n, ++out) {
        *out = {ledger.accounts[n].generation, {}, {}};
        memcpy(out->owner, ledger.owner_of(ledger.accounts[n]).bytes, 20);
    }
}

size_t hawse_state_read_exits(hawse_state *state, hawse_state_exit_account *accounts,
                              hawse_state_exit_position *positions) {
    const Machine &m = state->machine;
    size_t count = 0;
    for (u32 n = 0; n < m.ledger.account_count; ++n) {
        const Account &a = m.ledger.accounts[n];
        if (accounts)
            accounts[n] = {a.generation, a.collateral, a.flags, a.subaccount, 0, 0};
        m.ledger.each_holding(a, [&](const Holding &h) {
            if (h.size && positions)
                positions[count] = {h.entry, h.funding, h.size, n, m.config.terms[h.market].number, 0};
            count += h.size != 0;
        });
    }
    return count;
}

int hawse_state_sole_signers(hawse_state *state, const uint32_t *indices, size_t count, uint8_t *out) {
    const Ledger &ledger = state->machine.ledger;
    for (size_t n = 0; n < count; ++n, out += 20) {
        if (indices[n] >= ledger.account_count)
            return 0;
        const Account &account = ledger.accounts[indices[n]];
        if (account.agents || !(account.collateral || account.touched || account.orders))
            return 0;
        memcpy(out, ledger.owner_of(account).bytes, 20);
    }
    return 1;
}

void hawse_state_read_holdings(hawse_state *state, uint32_t index, hawse_state_holding *out) {
    const Machine &m = state->machine;
    m.ledger.each_holding(m.ledger.accounts[index], [&](const Holding &h) {
        const u16 number = m.config.terms[h.market].number;
        *out++ = {h.entry, i128(h.loss), i128(h.basis), h.size, h.lots[0], h.lots[1], number, 0, h.funding, 0};
    });
}

void hawse_state_read_orders(hawse_state *state, uint32_t index, hawse_state_order *out) {
    const Ledger &ledger = state->machine.ledger;
    for (u32 at = ledger.accounts[index].newest; at != NONE; at = ledger.orders[at].older)
        put_order(state->machine, at, *out++);
}

void hawse_state_client_ids(hawse_state *state, const uint64_t *handles, size_t count, uint64_t *out) {
    const Ledger &ledger = state->machine.ledger;
    for (size_t n = 0; n < count; ++n)
        out[n] = handles[n] < ledger.config->orders ? ledger.orders[handles[n]].client_id : 0;
}

void hawse_state_read_strategies(hawse_state *state, uint32_t index, hawse_state_strategy *out) {
    const Machine &m = state->machine;
    const Account &a = m.ledger.accounts[index];
    for (u32 n = 0, place = a.strategy; n < a.strategies; ++n, place = m.ledger.strategies[place].other) {
        const Strategy &s = m.ledger.strategies[place];
        *out++ = {s.client_id, s.until, s.queue, s.next, s.done, s.low, s.high, s.best, place, s.offset_ppm, s.quantity,
                  s.every, s.trigger_price, s.limit_price, m.config.terms[s.market].number, s.kind, s.side, s.trigger,
                  s.fired, {}};
    }
}

void hawse_state_read_markets(hawse_state *state, hawse_state_market *out) {
    const Machine &m = state->machine;
    for (u32 n = 0; n < m.config.instruments; ++n) {
        const Market &market = m.ledger.markets[n];
        const Settlement &s = market.settlement;
        const Funding &f = market.funding;
        out[n] = {i128(market.dust), i128(market.funding_dust), average(market.impact), average(f.premium),
                  {s.total, s.time, s.elapsed, s.value, s.value != 0},
                  market.mark_time, market.open_interest, market.trade_time, f.begun, f.until, market.mark,
                  market.last_trade, market.basis, f.index, f.cumulative, s.heard, s.last,
                  m.config.terms[n].number, market.status, s.is, 0};
    }
}

void hawse_state_read_feeds(hawse_state *state, hawse_state_feed *out) {
    const Machine &m = state->machine;
    for (u32 n = 0; n < m.config.underlying_count; ++n) {
        const Feed &feed = m.ledger.feeds[n];
        out[n] = {feed.index, feed.time, m.config.underlyings[n].number, feed.counted, {}};
        for (u32 p = 0; p < MOST_PUBLISHERS; ++p) {
            const hawse::risk::Last &last = feed.observed[p];
            out[n].observed[p] = {last.value, u64(last.time), u64(last.number), u64(last.is)};
        }
    }
}

int hawse_state_shortfall(hawse_state *state, hawse_i128 *out) {
    Ledger &ledger = state->machine.ledger;
    *out = ledger.shortfall();
    const bool left = ledger.overflow.happened;
    ledger.overflow = {};
    return left ? HAWSE_STATE_OVERFLOW : HAWSE_STATE_OK;
}

size_t hawse_state_resting(hawse_state *state, hawse_state_order *out, size_t room) {
    u32 *handles;
    const u32 count = state->machine.resting(handles);
    for (u32 n = 0; n < count && n < room; ++n)
        put_order(state->machine, handles[n], out[n]);
    return count;
}

size_t hawse_state_proof(hawse_state *state, uint32_t account, uint8_t *out) {
    return state->machine.commitments.accounts.proof(account, reinterpret_cast<hawse::Hash *>(out));
}
