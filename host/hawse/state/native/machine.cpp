#include "machine.hpp"

#include "funding.hpp"
#include "marks.hpp"

namespace hawse::state {
namespace {

enum OperationKind : u8 { STATE = 2, RULES = 5, FLAGS = 6, INTERIM_MARK = 8 };
constexpr u32 STATE_BYTES = 3, MARK_BYTES = 10, FLAGS_BYTES = 24;
constexpr size_t INPUT_BYTES = 135, OUTCOME_BYTES = 76;
enum InputClass : u8 { USER = 0, MACHINE = 1, OPERATOR = 4, DEPOSIT = 5, REQUEST = 6, OBSERVATION = 7, AUTHORISATION = 9 };

struct Mark {
    u16 number;
    i64 price;
};

Mark read_mark(const hawse_state_operation &operation) {
    Reader body(operation.body, MARK_BYTES);
    const u16 number = body.get<u16>();
    return {number, i64(body.get<u64>())};
}

struct Status {
    u16 number;
    u8 status;
};

Status read_status(const hawse_state_operation &operation) {
    Reader body(operation.body, STATE_BYTES);
    const u16 number = body.get<u16>();
    return {number, body.get<u8>()};
}

struct Flags {
    Address owner;
    u32 flags;
};

Flags read_flags(const hawse_state_operation &operation) {
    Reader body(operation.body, FLAGS_BYTES);
    const Address owner = body.address();
    return {owner, body.get<u32>()};
}

const Message *messages_of(const hawse_state_slot &slot) { return static_cast<const Message *>(slot.rows); }

} // namespace

bool Machine::make(Arena &arena, const u8 *bytes, size_t size, const Capacity &capacity, const Seed &seed) {
    capacity_ = capacity;
    if (!read_config(config, arena, bytes, size))
        return false;
    const size_t own = 4 * size_t(config.orders);
    ledger.make(arena, config, capacity, seed);
    admission.make(arena, ledger, capacity, Liquidation::most_events(config) + FUNDING_EVENTS * config.instruments);
    expired.make(arena, ledger, capacity);
    strategies.make(arena, ledger, admission);
    liquidation.make(arena, ledger, admission, capacity);
    commitments.make(arena, ledger, capacity);
    inputs.make(arena, capacity.inputs, INPUTS);
    outcomes.make(arena, capacity.inputs, OUTCOMES);
    exits = arena.make<i64>(capacity.accounts);
    moved_.make(arena, config.instruments);
    accumulators_ = arena.make<Hash>(capacity.messages);
    bodies_ = arena.make<Hash>(own);
    const size_t leaves = LEAF_ROOM * (size_t(capacity.messages) + own);
    input_bytes = arena.make<u8>(leaves);
    outcome_bytes = arena.make<u8>(leaves);
    body_ = arena.make<u8>(2 + Rules::LONGEST);
    const size_t nodes = most(capacity.accounts, most(capacity.withdrawals, u64(config.instruments)));
    nodes_ = arena.make<Hash>(nodes);
    sums_ = arena.make<u128>(2 * nodes);
    fractions_ = arena.make<Fraction>(config.instruments);
    handles_ = arena.make<u32>(config.orders);
    big_ = arena.make<u32>(2 * (config.instruments + 2));
    if (arena.counts() || !arena.enough())
        return arena.counts();
    batch = withdrawals_first = inputs_first = 1;
    commitments.take_in();
    return true;
}

// A slot's inputs

int Machine::open(const hawse_state_slot &slot) {
    if (const int wrong = check(slot))
        return wrong;
    phase = BROKEN;
    slot_ = slot.number, closing_ = slot.closing, closes_ = slot.closes;
    next_slot = slot.number + 1, time = slot.time, slot_first = last_seq + 1;
    admission.begin(slot.number, slot.time, last_seq, batch);
    ledger.time = time;
    admission.seq += slot.observation_count;
    take_in(ledger, slot.observations, slot.observation_count, time, moved_);
    operate(slot);
    accrue(ledger, admission, time, moved_);
    expired.begin(time, moved_);
    for (u64 n = 0; n < slot.deposit_count; ++n)
        deposit(slot.deposits[n], accumulators_[n]);
    u64 message = 0;
    admit(slot, 0, slot.authorised, message);
    for (u64 n = 0; n < slot.request_count; ++n)
        request(slot.requests[n], accumulators_[slot.deposit_count + n]);
    expired.tell(admission);
    liquidation.run(slot.number, moved_);
    expired.settled.each([&](u32 index) { liquidation.touched.insert(index); });
    admission.look_again();
    admission.sweep(moved_, liquidation.touched);
    admission.cancel_forced();
    liquidation.trade(moved_);
    for (u32 n = 0; n < admission.leaving.count; ++n)
        if (admission.leaving.items[n].exits)
            liquidation.leave(admission.leaving.items[n].account, admission.leaving.items[n].seq);
    moved_.clear();
    if (ledger.overflow.happened)
        return HAWSE_STATE_OVERFLOW;
    admit(slot, slot.authorised, slot.row_count, message);
    strategies.run(time);
    last_seq = admission.seq;
    if (admission.wrong)
        return HAWSE_STATE_UNFIT;
    input_leaves(slot);
    hawse_order &end = admission.rows.add();
    end = {};
    end.opcode = slot.closing ? HAWSE_OPCODE_CLOSE : HAWSE_OPCODE_FENCE;
    end.token = u32(slot.closing ? slot.closes : slot.number);
    end.seq = last_seq;
    phase = OPEN;
    return HAWSE_STATE_OK;
}

int Machine::check(const hawse_state_slot &slot) const {
    if (phase != BOUNDARY || slot.number != next_slot || slot.time < time || slot.time >= TIME_LIMIT ||
        (slot.closing && slot.closes != batch) || slot.unfit || slot.authorised > slot.row_count)
        return HAWSE_STATE_UNFIT;
    if (!good_observations(ledger, slot.observations, slot.observation_count, slot.time))
        return HAWSE_STATE_UNFIT;
    for (u64 n = 0; n < slot.operation_count; ++n)
        if (!good_operation(slot, u32(n)))
            return HAWSE_STATE_UNFIT;
    for (u64 n = 0; n < slot.deposit_count; ++n)
        if (slot.deposits[n].index != deposit_index + 1 + n || !slot.deposits[n].amount)
            return HAWSE_STATE_UNFIT;
    for (u64 n = 0; n < slot.request_count; ++n)
        if (slot.requests[n].index != request_index + 1 + n || !slot.requests[n].kind ||
            slot.requests[n].kind > FORCED_EXIT)
            return HAWSE_STATE_UNFIT;
    u64 messages = 0, transfers = 0;
    for (u64 row = 0; row < slot.row_count; ++row, ++messages) {
        const u8 kind = messages_of(slot)[row].kind;
        const bool authorises = row < slot.authorised;
        transfers += kind == TRANSFER;
        if (authorises && !is_authorisation(kind))
            return HAWSE_STATE_UNFIT;
        if (is_wide(kind) && ++row == (authorises ? slot.authorised : slot.row_count))
            return HAWSE_STATE_UNFIT;
    }
    if (messages != slot.message_count)
        return HAWSE_STATE_UNFIT;
    return enough_room(slot, messages, transfers) ? HAWSE_STATE_OK : HAWSE_STATE_TOO_MUCH;
}

bool Machine::good_operation(const hawse_state_slot &slot, u32 n) const {
    const hawse_state_operation &operation = slot.operations[n];
    if (!operation.is_signed || memcmp(operation.signer, config.operator_address.bytes, 20))
        return false;
    u32 about = 0; // bytes of the body that no other of its kind may begin with
    if (operation.kind == RULES) {
        Rules rules{};
        if (!rules.read(operation.body, operation.size) || rules.number != u64{ledger.rules.number} + 1)
            return false;
    } else if (operation.kind == FLAGS) {
        about = sizeof(Address);
        if (operation.size != FLAGS_BYTES)
            return false;
        const Flags given = read_flags(operation);
        if (given.flags & ~DEFINED || ledger.owner_at(given.owner) == NONE)
            return false;
    } else {
        about = sizeof(u16);
        if (operation.kind == STATE ? !good_status(slot, operation) : operation.kind != INTERIM_MARK || operation.size != MARK_BYTES || !good_mark(slot, operation))
            return false;
    }
    for (u32 before = 0; before < n; ++before)
        if (slot.operations[before].kind == operation.kind &&
            !memcmp(slot.operations[before].body, operation.body, about))
            return false;
    return true;
}

// An instrument is opened or closed as long as it has not expired.
bool Machine::good_status(const hawse_state_slot &slot, const hawse_state_operation &operation) const {
    if (operation.size != STATE_BYTES)
        return false;
    const u32 at = config.find(read_status(operation).number);
    return at != NONE && read_status(operation).status < SETTLED &&
           !(config.terms[at].expiry && slot.time >= config.terms[at].expiry);
}

// A mark moves at most so far, and so often.
bool Machine::good_mark(const hawse_state_slot &slot, const hawse_state_operation &operation) const {
    const Mark mark = read_mark(operation);
    const u32 at = config.find(mark.number);
    if (at == NONE || config.terms[at].feed != NONE || mark.price != i32(mark.price))
        return false;
    const Market &market = ledger.markets[at];
    const u64 step = most<u64>(1, u64(magnitude(i64(market.mark))) * config.mark_step_ppm / PPM);
    return u64(magnitude(mark.price - market.mark)) <= step &&
           !(market.mark_time && slot.time < market.mark_time + MARK_INTERVAL);
}

bool Machine::enough_room(const hawse_state_slot &slot, u64 messages, u64 transfers) const {
    const u64 all =
        messages + slot.deposit_count + slot.request_count + slot.operation_count + slot.observation_count;
    const u64 own = 4 * u64(config.orders);
    return all <= capacity_.messages &&
           ledger.account_count + slot.deposit_count + transfers <= capacity_.accounts &&
           inputs.size() + all + own <= capacity_.inputs &&
           admission.withdrawals.count + all <= capacity_.withdrawals;
}

void Machine::operate(const hawse_state_slot &slot) {
    for (u64 n = 0; n < slot.operation_count; ++n) {
        const hawse_state_operation &operation = slot.operations[n];
        ++admission.seq;
        if (operation.kind == RULES) {
            ledger.set_rules(operation.body, operation.size, slot_);
        } else if (operation.kind == FLAGS) {
            const Flags given = read_flags(operation);
            ledger.set_flags(ledger.owner_at(given.owner), given.flags);
        } else if (operation.kind == STATE) {
            const Status given = read_status(operation);
            ledger.set_status(config.find(given.number), given.status);
        } else {
            const Mark mark = read_mark(operation);
            const u32 market = config.find(mark.number);
            ledger.set_mark(market, i32(mark.price), time);
            moved_.insert(market);
        }
    }
}

// Credit a deposit. What is too little to open an account, or leaves int64, is paid back.
void Machine::deposit(const hawse_state_deposit &given, Hash &accumulator) {
    const u64 seq = ++admission.seq;
    Address address;
    memcpy(address.bytes, given.owner, 20);
    u8 bytes[1 + 32 + 8 + 20 + 32];
    Writer(bytes).put(u8(0x40)).put(deposit_accumulator).put(given.index).put(address).zeros(24).put(given.amount);
    accumulator = deposit_accumulator = keccak256(bytes, sizeof bytes);
    deposit_index = given.index;
    deposited += given.amount;
    u32 index = ledger.account_at(address, 0);
    const i128 held = i128(given.amount) + (index == NONE ? 0 : ledger.accounts[index].collateral);
    if (index == NONE && given.amount < config.minimum_deposit) {
        admission.pay(address, given.amount);
        admission.note(seq, HAWSE_REASON_MIN_DEPOSIT, given.amount, config.minimum_deposit);
    } else if (held > MONEY_MAX) {
        admission.pay(address, given.amount);
        admission.note(seq, HAWSE_REASON_OVERFLOW, held, MONEY_MAX);
    } else {
        if (index == NONE)
            index = ledger.open_account(address, given.index << TRANSFER_BITS, 0, batch);
        ledger.credit(index, given.amount);
    }
}

// Carry out a forced request.
void Machine::request(const hawse_state_request &given, Hash &accumulator) {
    u8 bytes[1 + 32 + 85];
    Writer(bytes).put(u8(0xC0)).put(request_accumulator)
        .put(given.index).put(given.kind).raw(given.owner, 20).put(given.account).put(given.generation)
        .put(given.amount).raw(given.agent, 20).put(given.expiry).put(given.time);
    accumulator = request_accumulator = keccak256(bytes, sizeof bytes);
    request_index = given.index;
    admission.forced(given);
}

void Machine::admit(const hawse_state_slot &slot, u64 from, u64 to, u64 &message) {
    const Message *rows = messages_of(slot);
    constexpr u64 FAR = 16, NEAR = 6;
    for (u64 row = from; row < to; row += 1 + is_wide(rows[row].kind), ++message) {
        if (row + FAR < to)
            ledger.prefetch_account(rows[row + FAR].account, rows[row + FAR].client_id);
        if (row + NEAR < to)
            ledger.prefetch_orders(rows[row + NEAR].account, rows[row + NEAR].client_id);
        Address signer;
        memcpy(signer.bytes, slot.signers + 20 * message, 20);
        Hash struct_hash;
        memcpy(struct_hash.bytes, slot.structs + 32 * message, 32);
        admission.message(rows[row], slot.is_signed[message] ? &signer : nullptr, struct_hash);
    }
}

// keccak256(0xA3 ‖ kind ‖ body).
Hash Machine::operation_body(u8 kind, const u8 *body, u32 size) {
    Writer(body_).put(u8(0xA3)).put(kind).raw(body, size);
    return keccak256(body_, size_t{2} + size);
}

Writer Machine::input_leaf(Hash *leaves, u64 seq, u8 kind) {
    u8 *room = input_bytes + LEAF_ROOM * (seq - slot_first);
    lanes().begin_there(room, INPUT_BYTES, leaves + (seq - slot_first));
    return Writer(room).put(u8(0xA0)).put(VERSION).put(seq).put(kind);
}

void Machine::input_leaves(const hawse_state_slot &slot) {
    Hash *leaves = inputs.append(last_seq + 1 - slot_first);
    u64 seq = slot_first;
    for (u64 n = 0; n < slot.observation_count; ++n, ++seq) {
        const hawse_state_observation &one = slot.observations[n];
        input_leaf(leaves, seq, OBSERVATION)
            .raw(one.signer, 20).put(one.number).raw(one.struct_hash, 32).raw(one.signature, 64);
    }
    for (u64 n = 0; n < slot.operation_count; ++n, ++seq) {
        const hawse_state_operation &operation = slot.operations[n];
        const Hash body = operation_body(operation.kind, operation.body, operation.size);
        input_leaf(leaves, seq, OPERATOR)
            .raw(operation.signer, 20).put(u64(0)).put(body).raw(operation.signature, 64);
    }
    for (u64 n = 0; n < slot.deposit_count; ++n, ++seq)
        input_leaf(leaves, seq, DEPOSIT)
            .raw(slot.deposits[n].owner, 20).put(slot.deposits[n].index).put(accumulators_[n]).zeros(64);
    for (u64 n = 0; n < slot.request_count; ++n) {
        const u64 number = admission.request_seqs.items[n];
        input_leaf(leaves, number, REQUEST)
            .raw(slot.requests[n].owner, 20).put(slot.requests[n].index).put(accumulators_[slot.deposit_count + n])
            .zeros(64);
    }
    machine_inputs(leaves);
    user_inputs(slot, leaves);
    lanes().finish();
}

void Machine::machine_inputs(Hash *leaves) {
    const List<MachineInput> &own = admission.machine;
    for (u32 n = 0; n < own.count; ++n) {
        const hawse_order &row = admission.rows.items[own.items[n].row];
        hawse_command command;
        memcpy(&command, &row, sizeof command); // an order begins with its command
        command.handle = u32(row.order_id);
        lanes().begin(2 + sizeof command, bodies_ + n).put(u8(0xA2)).put(own.items[n].reason).raw(&command, sizeof command);
    }
    lanes().finish();
    for (u32 n = 0; n < own.count; ++n) {
        const MachineInput &input = own.items[n];
        input_leaf(leaves, input.seq, MACHINE)
            .zeros(20).put(input.cause).put(bodies_[n]).zeros(64);
    }
}

void Machine::user_inputs(const hawse_state_slot &slot, Hash *leaves) {
    static constexpr Address NOBODY{};
    const Message *rows = messages_of(slot);
    u64 message = 0;
    for (u64 row = 0; row < slot.row_count; row += 1 + is_wide(rows[row].kind), ++message) {
        const u64 seq = admission.message_seqs.items[message];
        const u8 *signer = slot.is_signed[message] ? slot.signers + 20 * message : NOBODY.bytes;
        input_leaf(leaves, seq, row < slot.authorised ? AUTHORISATION : USER)
            .raw(signer, 20).put(admission.appointments.items[message]).raw(slot.structs + 32 * message, 32)
            .raw(rows[row].signature, 64);
    }
}

// A slot's reports

int Machine::clear(const hawse_event *events, u64 count) {
    if (phase != OPEN)
        return HAWSE_STATE_UNFIT;
    phase = BROKEN;
    ledger.fill_count = 0;
    Clearing clearing(ledger);
    const bool fits = clearing.run(admission.sent.items, admission.sent.count, events, count);
    if (ledger.overflow.happened)
        return HAWSE_STATE_OVERFLOW;
    wrong_seq = clearing.wrong_seq;
    if (!fits)
        return HAWSE_STATE_CLEARING;
    ledger.end_slot(batch);
    quote(ledger, time);
    split_fees();
    liquidation.check_changed();
    if (ledger.overflow.happened)
        return HAWSE_STATE_OVERFLOW;
    const size_t known = outcomes.size();
    commitments.end_slot(slot_);
    outcome_leaves();
    inputs.advance(lanes(), inputs.size());
    outcomes.advance(lanes(), known);
    lanes().finish();
    batch += closing_;
    phase = closing_ ? SEALING : BOUNDARY;
    return HAWSE_STATE_OK;
}

void Machine::outcome_leaves() {
    const u64 count = last_seq + 1 - slot_first;
    Hash *leaves = outcomes.append(count);
    const List<Sent> &sent = admission.sent;
    const List<Refusal> &refusals = admission.refusals;
    u32 next_sent = 0, next_refusal = 0;
    for (u64 seq = slot_first; seq <= last_seq; ++seq) {
        u8 *room = outcome_bytes + LEAF_ROOM * (seq - slot_first);
        lanes().begin_there(room, OUTCOME_BYTES, leaves + (seq - slot_first));
        Writer leaf(room);
        leaf.put(u8(0x80)).put(VERSION).put(seq);
        if (next_sent < sent.count && sent.items[next_sent].seq == seq) {
            const Sent &s = sent.items[next_sent++];
            leaf.put(s.reason).put(u8(0)).put(s.have).put(s.need).put(s.handle).put(s.filled).put(s.value);
            leaf.put(i64(s.fee));
        } else if (next_refusal < refusals.count && refusals.items[next_refusal].seq == seq) {
            const Refusal &r = refusals.items[next_refusal++];
            leaf.put(r.reason).put(r.detail).put(r.have).put(r.need).put(u32(HAWSE_NULL_HANDLE)).zeros(4 + 16 + 8);
        } else {
            leaf.zeros(1 + 1 + 16 + 16).put(u32(HAWSE_NULL_HANDLE)).zeros(4 + 16 + 8);
        }
    }
}

u32 Machine::resting(u32 *&handles) {
    handles = handles_;
    return commitments.in_place(handles_);
}

void Machine::split_fees() {
    Account &venue = ledger.accounts[INSURANCE];
    const i128 share = ledger.slot_fees * config.insurance_ppm / i128(PPM);
    if (share) {
        venue.collateral = ledger.overflow.money(venue.collateral + share);
        ledger.changed.insert(INSURANCE);
    }
    ledger.fees += ledger.slot_fees - share;
    ledger.slot_fees = 0;
}

} // namespace hawse::state
