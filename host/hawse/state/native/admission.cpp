#include "admission.hpp"

namespace hawse::state {
namespace {

constexpr u64 NONCE_AHEAD = 86400000, NONCE_LIMIT = u64{1} << 48;

u64 tail(const Address &address) {
    u64 value;
    memcpy(&value, address.bytes + 12, 8);
    return __builtin_bswap64(value);
}

bool names_order(u8 kind) {
    return kind == ORDER || kind == CANCEL || kind == REPLACE || kind == REDUCE || kind == REGISTER || kind == UNREGISTER;
}

} // namespace

bool is_carried(u8 kind) {
    return (kind >= ORDER && kind <= REDUCE) || (kind >= TRANSFER && kind <= CANCEL_ALL_AFTER);
}

bool find_flaw(const Message &m, Flaw &flaw) {
    const u8 k = m.kind;
    if (!is_carried(k)) {
        flaw = {k, 0, k};
        return true;
    }
    const bool order = k == ORDER, moves = k == WITHDRAW || k == TRANSFER;
    const bool money = moves || k == CANCEL_ALL || k == CANCEL_ALL_AFTER;
    const bool plans = k == REGISTER, priced = order || k == REPLACE, sized = priced || k == REDUCE || plans;
    const struct {
        i128 value, limit;
        u8 at;
        bool member, never_zero;
    } columns[] = {
        {m.account, m.account, 8, true, false},
        {m.generation, m.generation, 32, true, false},
        {m.nonce, m.nonce, 40, true, false},
        {m.expiry, m.expiry, 48, true, false},
        {m.client_id, m.client_id, 24, names_order(k), names_order(k)},
        {m.instrument, m.instrument, 4, order || plans || k == CANCEL_ALL || k == TRANSFER, false},
        {m.side, 1, 1, order || plans, false},
        {m.time_in_force, 3, 2, order, false},
        {m.mode, 2 + (order ? m.mode & REDUCE_ONLY : 0), 3, order, false},
        {m.price, m.price, 12, priced, false},
        {m.quantity, m.quantity, 16, sized, false},
        {m.amount, m.amount, 56, money, moves},
    };
    for (const auto &c : columns) {
        if ((c.value && !c.member) || c.value > c.limit || (!c.value && c.never_zero)) {
            flaw = {c.value, !c.member ? 0 : c.value > c.limit ? c.limit : 1, c.at};
            return true;
        }
    }
    if (k == CANCEL_ALL && m.amount > m.nonce) {
        flaw = {m.amount, m.nonce, 56};
        return true;
    }
    const u8 *const bytes = reinterpret_cast<const u8 *>(&m);
    const auto gap = [&](u32 from, u32 to) {
        for (u32 at = from; at < to; ++at)
            if (bytes[at]) {
                flaw = {bytes[at], 0, u8(at)};
                return true;
            }
        return false;
    };
    if (gap(6, 8) || gap(20, 24))
        return true;
    if (!is_wide(k))
        return false;
    const u32 body = sizeof(Message);
    if (plans)
        return gap(body, body + 1) || gap(body + offsetof(StrategyBody, zero_3), body + offsetof(StrategyBody, trigger_price)) ||
               gap(body + offsetof(StrategyBody, zero_20), body + offsetof(StrategyBody, low)) ||
               gap(body + offsetof(StrategyBody, zero_48), 2 * body);
    const u32 agent = body + offsetof(AgentBody, agent);
    if (gap(body, agent))
        return true;
    if (k == REVOKE)
        return gap(agent + 20, 2 * body);
    return gap(agent + 20, body + offsetof(AgentBody, expiry)) || gap(body + offsetof(AgentBody, zero_48), 2 * body);
}

void Admission::make(Arena &arena, Ledger &ledger, const Capacity &capacity, size_t most_events) {
    ledger_ = &ledger;
    const size_t messages = capacity.messages, own = 4 * size_t(ledger.config->orders);
    rows.make(arena, messages + own + 1);
    sent.make(arena, messages + own);
    refusals.make(arena, messages);
    events.make(arena, own + messages + most_events);
    machine.make(arena, own);
    message_seqs.make(arena, messages);
    appointments.make(arena, messages);
    request_seqs.make(arena, messages);
    leaving.make(arena, messages);
    transfers.make(arena, messages);
    withdrawals.make(arena, capacity.withdrawals);
}

void Admission::begin(u64 slot, u64 time, u64 last, u64 batch) {
    slot_ = slot, time_ = time, seq = message_seq_ = last, batch_ = batch;
    highest_nonce_ = least(time + NONCE_AHEAD, NONCE_LIMIT - 1);
    shortfall_known_ = wrong = false;
    rows.count = sent.count = refusals.count = events.count = machine.count = message_seqs.count = 0;
    appointments.count = request_seqs.count = transfers.count = leaving.count = 0;
}

void Admission::note(u64 number, u8 reason, i128 have, i128 need, u8 detail) {
    refusals.add() = {number, reason, detail, {}, have, need};
}

bool Admission::refuse(u8 reason, i128 have, i128 need, u8 detail) {
    note(seq, reason, have, need, detail);
    return false;
}

void Admission::pay(const Address &owner, u64 amount) {
    withdrawals.add() = {owner, amount};
    withdrawn += amount;
}

void Admission::send(u8 opcode, u32 handle, i32 price, u32 quantity, u8 flags) {
    const Order &order = ledger_->orders[handle];
    hawse_order &row = rows.add();
    row.opcode = opcode, row.flags = flags, row.instrument = ledger_->config->terms[order.market].number;
    row.handle = 0, row.tag = ledger_->tag_of(order), row.price = price, row.quantity = quantity;
    row.token = 0, row.seq = seq, row.order_id = handle;
    sent.add() = {seq, handle, opcode, 0, price, quantity, 0, 0, 0, 0, 0};
}

void Admission::take(u32 handle, u32 left, u8 reason, u64 cause) {
    ++seq;
    machine.add() = {seq, cause, rows.count, ledger_->orders[handle].account, reason, {}};
    send(left ? HAWSE_OPCODE_REDUCE : HAWSE_OPCODE_CANCEL, handle, 0, left, HAWSE_SEQUENCE_CLASS_MACHINE << 5);
}

// It is immediate or cancel, and takes its owner's orders out of the way.
u8 Admission::close(u32 account, u32 market, i64 lots, i32 price, u8 why, i128 first, i128 second, u64 cause) {
    Ledger &ledger = *ledger_;
    if (ledger.handles.empty())
        return HAWSE_REASON_STORE_FULL;
    if (!ledger.owners[ledger.accounts[account].owner].tag && !ledger.free_tags)
        return HAWSE_REASON_TAGS_FULL;
    Order order{};
    order.account = account, order.market = market, order.price = price, order.remaining = u32(magnitude(lots));
    order.side = lots > 0 ? HAWSE_SIDE_SELL : HAWSE_SIDE_BUY, order.time_in_force = HAWSE_TIME_IN_FORCE_IOC;
    order.self_trade = HAWSE_SELF_TRADE_CANCEL_OLDEST, order.why = why, order.queue = ++seq;
    const u32 handle = ledger.handles.first();
    ledger.orders[handle] = order;
    ledger.add(handle);
    ledger.accounts[account].free_slot = 0; // what it may cost is not free for what the account sends behind it
    machine.add() = {seq, cause, rows.count, ledger_->orders[handle].account, why, {}};
    send(HAWSE_OPCODE_NEW, handle, price, order.remaining,
         u8(order.side | order.time_in_force << 1 | order.self_trade << 3 | HAWSE_SEQUENCE_CLASS_MACHINE << 5));
    tell(why, account, ledger.config->terms[market].number, first, second);
    return 0;
}

void Admission::message(const Message &m, const Address *signer, const Hash &struct_hash) {
    message_seq_ = ++seq;
    appointment_ = 0;
    if (is_formed(m, struct_hash) && is_good(m, signer)) {
        Overflow &overflow = ledger_->overflow;
        if (!carry_out(m) && overflow.happened) {
            refuse(HAWSE_REASON_OVERFLOW, overflow.value, MONEY_MAX);
            overflow = {};
        }
    }
    message_seqs.add() = message_seq_;
    appointments.add() = appointment_;
}

// Of a kind that is carried out, naming what order, or what amount to move, and signed as a struct.
bool Admission::is_formed(const Message &m, const Hash &struct_hash) {
    static constexpr Hash NO_STRUCT{};
    const bool nameless = names_order(m.kind) && !m.client_id;
    const bool nothing = !m.amount && (m.kind == WITHDRAW || m.kind == TRANSFER);
    if (is_carried(m.kind) && !nameless && !nothing && struct_hash != NO_STRUCT)
        return true;
    Flaw flaw{};
    wrong |= !find_flaw(m, flaw);
    return refuse(HAWSE_REASON_REQUEST, flaw.have, flaw.need, flaw.detail);
}

// The user's account of that index, in that life.
bool Admission::is_there(u32 index, u64 generation) {
    if (index == INSURANCE || index >= ledger_->account_count)
        return refuse(HAWSE_REASON_ACCOUNT, index, ledger_->account_count);
    const u64 mine = ledger_->accounts[index].generation;
    return mine == generation || refuse(HAWSE_REASON_GONE, generation, mine);
}

// The nonces of who signed, and how long his commands may live.
bool Admission::find_window(const Message &m, const Address *signer) {
    Account &account = ledger_->accounts[m.account];
    const Address &owner = ledger_->owner_of(account);
    window_ = &account.nonces, life_ = AS_HE_SAYS;
    if (!signer)
        return refuse(HAWSE_REASON_SIGNATURE, 0, 1);
    if (*signer == owner)
        return true;
    Agent *const agent = ledger_->agent_at(m.account, *signer);
    if (!agent)
        return refuse(HAWSE_REASON_SIGNER, tail(*signer), tail(owner));
    appointment_ = agent->appointed;
    if (agent->expiry < time_)
        return refuse(HAWSE_REASON_SIGNER, agent->expiry, time_, 1);
    if (is_the_owners(m.kind))
        return refuse(HAWSE_REASON_SIGNER, tail(*signer), tail(owner), 2);
    window_ = &agent->nonces, life_ = agent->max_life;
    return true;
}

// Its owner's or his agent's, and in time. Its nonce is used up, unless nobody has shown that he may sign.
bool Admission::is_good(const Message &m, const Address *signer) {
    if (!is_there(m.account, m.generation) || !find_window(m, signer))
        return false;
    u64 limit = 0;
    if (const u8 why = window_->take(m.nonce, highest_nonce_, limit))
        return refuse(why, m.nonce, limit);
    ledger_->signed_.insert(m.account);
    if (m.expiry < time_ || !m.expiry)
        return refuse(HAWSE_REASON_EXPIRED, m.expiry, time_);
    const u64 last = m.nonce + life_;
    return life_ == AS_HE_SAYS || m.expiry <= last || refuse(HAWSE_REASON_EXPIRY_LONG, m.expiry, last);
}

void Admission::forced(const hawse_state_request &request) {
    ++seq;
    request_seqs.add() = seq;
    if (!is_there(request.account, request.generation))
        return;
    Address from;
    memcpy(from.bytes, request.owner, 20);
    const Address &owner = ledger_->owner_of(ledger_->accounts[request.account]);
    if (!(from == owner))
        refuse(HAWSE_REASON_SIGNER, tail(from), tail(owner));
    else if (!carry_out(request) && ledger_->overflow.happened) {
        refuse(HAWSE_REASON_OVERFLOW, ledger_->overflow.value, MONEY_MAX);
        ledger_->overflow = {};
    }
}

bool Admission::carry_out(const hawse_state_request &request) {
    const u32 index = request.account;
    if (request.kind == FORCED_APPOINT) {
        Address agent;
        memcpy(agent.bytes, request.agent, 20);
        return request.expiry ? appoint(index, agent, request.expiry, 0) : revoke(index, agent);
    }
    if (request.kind == FORCED_WITHDRAW)
        return request.amount ? withdraw(index, request.amount)
                              : refuse(HAWSE_REASON_REQUEST, 0, 1, offsetof(Message, amount));
    if (request.kind == FORCED_EXIT && !withdraw_all(index))
        return false;
    leaving.add() = {seq, index, request.kind == FORCED_EXIT};
    return true;
}

// The orders of those whose requests want it go; until clearing they count.
void Admission::cancel_forced() {
    for (u32 n = 0; n < leaving.count; ++n)
        for (u32 at = ledger_->accounts[leaving.items[n].account].newest; at != NONE; at = ledger_->orders[at].older)
            if (!ledger_->orders[at].dropped) {
                ledger_->orders[at].dropped = true;
                take(at, 0, HAWSE_REASON_FORCED, leaving.items[n].seq);
            }
}

// Appoint an agent until `expiry`, whose commands live for `life` milliseconds (0: as usual).
bool Admission::appoint(u32 index, const Address &agent, u64 expiry, u64 life) {
    static constexpr Address NOBODY{};
    constexpr u8 BODY = sizeof(Message);
    Ledger &ledger = *ledger_;
    if (agent == ledger.owner_of(ledger.accounts[index]) || agent == NOBODY)
        return refuse(HAWSE_REASON_REQUEST, tail(agent), i128(tail(agent)) + 1, BODY + offsetof(AgentBody, agent));
    if (expiry >= NONCE_LIMIT)
        return refuse(HAWSE_REASON_REQUEST, expiry, NONCE_LIMIT - 1, BODY + offsetof(AgentBody, expiry));
    if (life > Agent::LIFE_MAX)
        return refuse(HAWSE_REASON_REQUEST, life, Agent::LIFE_MAX, BODY + offsetof(AgentBody, max_life));
    if (expiry < time_)
        return refuse(HAWSE_REASON_EXPIRED, expiry, time_, 1);
    if (!ledger.appoint(index, agent, expiry, u32(life ? life : Agent::USUAL_LIFE), seq, time_))
        return refuse(HAWSE_REASON_AGENTS_FULL, Agent::MOST + 1, Agent::MOST);
    ledger.signed_.insert(index);
    return true;
}

// From now on an agent may do nothing; its orders stay.
bool Admission::revoke(u32 index, const Address &address) {
    Agent *const agent = ledger_->agent_at(index, address);
    if (!agent)
        return refuse(HAWSE_REASON_SIGNER, tail(address), 0, 3);
    agent->expiry = 0;
    ledger_->signed_.insert(index);
    return true;
}

bool Admission::carry_out(const Message &m) {
    switch (m.kind) {
    case ORDER: return new_order(m);
    case WITHDRAW: return withdraw(m.account, m.amount);
    case TRANSFER: return transfer(m);
    case APPOINT:
    case REVOKE: {
        const AgentBody &body = reinterpret_cast<const AgentBody *>(&m)[1];
        return m.kind == REVOKE ? revoke(m.account, body.agent)
                                : appoint(m.account, body.agent, body.expiry, body.max_life);
    }
    case CANCEL_ALL: return cancel_all(m);
    case CANCEL_ALL_AFTER: return set_timer(m);
    case REGISTER: return register_strategy(m);
    case UNREGISTER: return unregister(m);
    }
    const u32 handle = ledger_->order_at(m.account, m.client_id);
    if (handle == NONE)
        return refuse(HAWSE_REASON_CLIENT_ID_UNKNOWN, 0, 1);
    if (m.kind == REPLACE)
        return replace(handle, m);
    if (m.kind == REDUCE)
        return reduce(handle, m.quantity);
    send(HAWSE_OPCODE_CANCEL, handle, 0, m.quantity, 0);
    return true;
}

bool Admission::no_instrument(u16 number) {
    return refuse(HAWSE_REASON_NO_INSTRUMENT, number, ledger_->config->highest());
}

bool Admission::is_open(u32 market) {
    const u8 status = ledger_->markets[market].status;
    return status == HAWSE_INSTRUMENT_STATE_OPEN || refuse(HAWSE_REASON_STATE, status, HAWSE_INSTRUMENT_STATE_OPEN);
}

bool Admission::new_order(const Message &m) {
    Ledger &ledger = *ledger_;
    const u32 market = ledger.config->find(m.instrument);
    if (market == NONE)
        return no_instrument(m.instrument);
    const u16 only = ledger.accounts[m.account].only();
    if (only != ANY_INSTRUMENT && only != m.instrument)
        return refuse(HAWSE_REASON_ISOLATED, m.instrument, only);
    if (!is_open(market))
        return false;
    const u32 taken = ledger.order_at(m.account, m.client_id);
    if (taken != NONE)
        return refuse(HAWSE_REASON_CLIENT_ID_USED, m.client_id, taken);
    if (!has_room(ledger.accounts[m.account], market))
        return false;
    Order order{};
    order.client_id = m.client_id, order.account = m.account, order.market = market;
    order.price = m.price, order.remaining = m.quantity;
    order.side = m.side & 1, order.time_in_force = m.time_in_force & 3, order.self_trade = m.mode & 3;
    order.reduce_only = m.mode >= REDUCE_ONLY;
    if (!carries(order, NONE, m.price, m.quantity))
        return false;
    const u32 handle = ledger.handles.first();
    order.queue = seq;
    ledger.orders[handle] = order;
    ledger.add(handle);
    if (!ledger.handles.empty())
        __builtin_prefetch(ledger.orders + ledger.handles.first(), 1);
    send(HAWSE_OPCODE_NEW, handle, m.price, m.quantity,
         u8(order.side | order.time_in_force << 1 | order.self_trade << 3));
    return true;
}

// Whether the account, its owner and the engine have room for one more order.
bool Admission::has_room(const Account &account, u32 market) {
    const Config &config = *ledger_->config;
    const Owner &owner = ledger_->owners[account.owner];
    if (owner.tag && owner.orders >= config.order_quota)
        return refuse(HAWSE_REASON_ORDER_QUOTA, owner.orders, config.order_quota);
    if (account.touched >= config.position_quota && !ledger_->holding(account, market))
        return refuse(HAWSE_REASON_POSITION_QUOTA, account.touched, config.position_quota);
    if (ledger_->free_handles <= config.reserved_handles)
        return refuse(HAWSE_REASON_STORE_FULL, 0, 1);
    if (!owner.tag && ledger_->free_tags <= config.reserved_tags)
        return refuse(HAWSE_REASON_TAGS_FULL, 0, 1);
    return true;
}

// Until clearing the old counts and the new, for the old may trade before it is replaced.
bool Admission::replace(u32 handle, const Message &m) {
    Order &order = ledger_->orders[handle];
    if (!is_open(order.market) || !carries(order, handle, m.price, m.quantity))
        return false;
    ledger_->hold(order, m.price, m.quantity);
    order.peak = most(order.peak, m.quantity);
    send(HAWSE_OPCODE_REPLACE, handle, m.price, m.quantity, order.side); // a gate draws on it
    return true;
}

bool Admission::reduce(u32 handle, u32 quantity) {
    if (!big_enough(ledger_->orders[handle].market, quantity))
        return false;
    send(HAWSE_OPCODE_REDUCE, handle, 0, quantity, 0);
    return true;
}

bool Admission::big_enough(u32 market, u32 quantity) {
    const Terms &terms = ledger_->config->terms[market];
    if (quantity < terms.minimum_quantity)
        return refuse(HAWSE_REASON_MIN_QUANTITY, quantity, terms.minimum_quantity);
    if (!terms.minimum_notional)
        return true;
    const i64 worth = notional(terms, ledger_->markets[market].mark, quantity, ledger_->overflow);
    if (ledger_->overflow.happened)
        return false;
    return u64(worth) >= terms.minimum_notional ||
           refuse(HAWSE_REASON_MIN_NOTIONAL, worth, terms.minimum_notional);
}

// Whether its account carries an order of `quantity` lots at `price`; what that costs is then taken from free
// collateral, and reduce-only orders for which it leaves no room go.
bool Admission::carries(const Order &order, u32 handle, i32 price, u32 quantity) {
    Ledger &ledger = *ledger_;
    Overflow &overflow = ledger.overflow;
    Account &account = ledger.accounts[order.account];
    if (!ledger.is_valid(order.market))
        return no_mark(order.market);
    const Holding *has = ledger.holding(account, order.market);
    const i64 size = has ? has->size : 0, open = has ? has->lots[order.side] : 0;
    const i64 closable = size && (size > 0) == bool(order.side) ? magnitude(size) : 0;
    // A position that is small may be closed whole.
    if ((quantity != closable || !quantity) && !big_enough(order.market, quantity))
        return false;
    const bool reduces = order.reduce_only || (closable && account.reducing);
    const i128 left = i128(closable) - (reduces ? lots_beside(order, handle, false) : 0);
    if (order.reduce_only && quantity > left)
        return refuse(HAWSE_REASON_REDUCE_ONLY, most<i128>(0, left), quantity);
    const bool within = i128(open) + quantity <= closable;
    // Beside others that may trade before they go, a reduce-only order may open.
    if (!within && !may_grow(account, order.market, quantity))
        return false;
    const i128 before = ledger.requirement(has, order.market);
    const i128 more = ledger.requirement(has, order.market, order.side, price, quantity) - before;
    const i128 free = free_of(account);
    if (overflow.happened)
        return false;
    if (more > free) {
        const bool closes = within && pays(order, price, quantity, more, free);
        if (overflow.happened)
            return false;
        if (!closes)
            return refuse(HAWSE_REASON_MARGIN, free, more);
    }
    account.free = free - more;
    if (reduces)
        make_room(order, handle, i64(left - quantity));
    return true;
}

bool Admission::no_mark(u32 market) {
    return refuse(HAWSE_REASON_NO_MARK, ledger_->counted(market), ledger_->quorum(market));
}

// Whether marks stand behind all that the account holds, and rules let the owner have so many lots more. Nobody
// who cannot be liquidated takes more risk on profit at a mark that nobody stands behind.
bool Admission::may_grow(const Account &account, u32 market, u32 quantity) {
    const u32 unmarked = ledger_->unmarked(account);
    if (unmarked != NONE)
        return no_mark(unmarked);
    const Rules &rules = ledger_->rules;
    if (!rules.number)
        return true;
    i128 has;
    const u8 rule = rules.broken(account.flags, ledger_->could_hold(account.owner, market) + quantity, has);
    return !rule || refuse(HAWSE_REASON_RULE, has, rules.number, rule);
}

// Whether an order that closes releases the margin that it costs, and equity covers what all orders may lose.
bool Admission::pays(const Order &order, i32 price, u32 quantity, i128 more, i128 free) {
    Ledger &ledger = *ledger_;
    const Terms &terms = ledger.config->terms[order.market];
    const i32 mark = ledger.markets[order.market].mark;
    return pays_for_itself(terms, order.side, price, quantity, mark, ledger.overflow) &&
           !ledger.overflow.happened && more <= ledger.solvency(ledger.accounts[order.account], free);
}

// Whether `other` is another order of the same account, instrument and side.
bool Admission::is_beside(const Order &order, u32 handle, u32 other, bool reduce_only) const {
    const Order &o = ledger_->orders[other];
    return other != handle && !o.dropped && o.market == order.market && o.side == order.side &&
           o.reduce_only == reduce_only;
}

u64 Admission::lots_beside(const Order &order, u32 handle, bool reduce_only) const {
    u64 lots = 0;
    for (u32 at = ledger_->accounts[order.account].newest; at != NONE; at = ledger_->orders[at].older)
        if (is_beside(order, handle, at, reduce_only))
            lots += ledger_->orders[at].peak;
    return lots;
}

// Cancel other reduce-only orders, newest first, until those that stay fit. They count until clearing.
void Admission::make_room(const Order &order, u32 handle, i64 room) {
    Ledger &ledger = *ledger_;
    i128 excess = i128(lots_beside(order, handle, true)) - most<i64>(0, room);
    if (excess <= 0)
        return;
    // Their cancels come before the message, whose number is then behind theirs.
    const u32 first = machine.count;
    --seq;
    for (u32 at = ledger.accounts[order.account].newest; at != NONE && excess > 0; at = ledger.orders[at].older) {
        if (!is_beside(order, handle, at, true))
            continue;
        Order &o = ledger.orders[at];
        excess -= o.peak;
        o.dropped = true;
        give_up(at, HAWSE_REASON_TRIM, o.remaining, 0);
    }
    message_seq_ = ++seq;
    for (u32 n = first; n < machine.count; ++n)
        machine.items[n].cause = seq;
}

// The machine cancels each order; until clearing they count, for they may have traded before.
bool Admission::cancel_all(const Message &m) {
    Ledger &ledger = *ledger_;
    const bool all = m.instrument == NO_INSTRUMENT;
    const u32 market = ledger.config->find(m.instrument);
    if (!all && market == NONE)
        return no_instrument(m.instrument);
    window_->floor = most(window_->floor, m.amount);
    const Account &account = ledger.accounts[m.account];
    for (u32 at = account.newest; at != NONE; at = ledger.orders[at].older) {
        Order &order = ledger.orders[at];
        if (order.dropped || !(all || order.market == market))
            continue;
        order.dropped = true;
        take(at, 0, HAWSE_REASON_MASS, message_seq_);
    }
    return true;
}

bool Admission::set_timer(const Message &m) {
    const u64 longest = NONCE_LIMIT - 1 - time_;
    if (m.amount > longest)
        return refuse(HAWSE_REASON_REQUEST, m.amount, longest, offsetof(Message, amount));
    ledger_->set_timer(m.account, m.amount ? time_ + m.amount : 0);
    return true;
}

// Whether so many quanta may leave an account.
bool Admission::may_leave(Account &account, u64 asked) {
    Ledger &ledger = *ledger_;
    if (asked > u64(MONEY_MAX))
        return refuse(HAWSE_REASON_OVERFLOW, asked, MONEY_MAX);
    const i64 amount = i64(asked);
    if (amount > account.collateral)
        return refuse(HAWSE_REASON_BALANCE, account.collateral, amount);
    const i128 free = free_of(account), withdrawable = ledger.withdrawable(account, free);
    if (ledger.overflow.happened)
        return false;
    if (amount > withdrawable)
        return refuse(HAWSE_REASON_WITHDRAWABLE, withdrawable, amount);
    if (!shortfall_known_) {
        shortfall_ = ledger.shortfall();
        if (ledger.overflow.happened)
            return false;
        shortfall_known_ = true;
    }
    const i64 insurance = ledger.accounts[INSURANCE].collateral;
    return shortfall_ <= insurance || refuse(HAWSE_REASON_WITHDRAWABLE, insurance, shortfall_, 1);
}

void Admission::take_from(u32 index, i64 amount) {
    Account &account = ledger_->accounts[index];
    account.free -= amount;
    account.collateral -= amount;
    ledger_->changed.insert(index);
}

bool Admission::withdraw(u32 index, u64 amount) {
    Account &account = ledger_->accounts[index];
    if (!may_leave(account, amount))
        return false;
    take_from(index, i64(amount));
    pay(ledger_->owner_of(account), amount);
    return true;
}

// All that may leave, which may be nothing.
bool Admission::withdraw_all(u32 index) {
    Account &account = ledger_->accounts[index];
    const i128 amount = ledger_->withdrawable(account, free_of(account));
    return !ledger_->overflow.happened && (!amount || withdraw(index, u64(amount)));
}

// To another subaccount of the owner, opened if there is none.
bool Admission::transfer(const Message &m) {
    Ledger &ledger = *ledger_;
    Account &account = ledger.accounts[m.account];
    const u16 to = m.instrument;
    if (to == account.subaccount)
        return refuse(HAWSE_REASON_REQUEST, to, to ^ 1, offsetof(Message, instrument));
    if (!may_leave(account, m.amount))
        return false;
    const Owner &owner = ledger.owners[account.owner];
    Account &main = ledger.accounts[owner.account];
    u32 target = ledger.account_at(owner.address, to);
    if (main.transfers >= TRANSFERS_MAX)
        return refuse(HAWSE_REASON_OVERFLOW, i128(main.transfers) + 1, TRANSFERS_MAX, 1);
    const i64 amount = i64(m.amount);
    const i128 held = i128(amount) + (target == NONE ? 0 : ledger.accounts[target].collateral);
    if (held > MONEY_MAX)
        return refuse(HAWSE_REASON_OVERFLOW, held, MONEY_MAX);
    if (target == NONE && !may_open(owner, to, amount))
        return false;
    ++main.transfers;
    ledger.signed_.insert(owner.account);
    take_from(m.account, amount);
    if (target == NONE)
        target = ledger.open_account(owner.address, main.generation | main.transfers, to, batch_);
    ledger.credit(target, amount);
    Account &receiver = ledger.accounts[target];
    if (receiver.free_slot == slot_ + 1)
        receiver.free += amount;
    transfers.add() = {seq, receiver.generation, target, 0};
    return true;
}

// Whether a TRANSFER may open a subaccount.
bool Admission::may_open(const Owner &owner, u16 subaccount, i64 amount) {
    const Config &config = *ledger_->config;
    if (u64(amount) < config.minimum_deposit)
        return refuse(HAWSE_REASON_MIN_DEPOSIT, amount, config.minimum_deposit);
    if (subaccount >= ISOLATED && config.find(subaccount - ISOLATED) == NONE)
        return no_instrument(subaccount - ISOLATED);
    return owner.accounts < config.account_quota ||
           refuse(HAWSE_REASON_ACCOUNT_QUOTA, owner.accounts, config.account_quota);
}

// Free collateral, less what this slot has taken of it.
i128 Admission::free_of(Account &account) {
    if (account.free_slot != slot_ + 1) {
        const i64 free = ledger_->free_collateral(account);
        if (ledger_->overflow.happened)
            return 0;
        account.free = free, account.free_slot = slot_ + 1;
    }
    return account.free;
}

} // namespace hawse::state
