// Slots of commands alone, one behind another, with an engine that lives in the same process.
#include "machine.hpp"
#include "state.h"

using namespace hawse::state;

namespace {

// The owners of the accounts that a slot's messages name, as who signed them; false if others may have.
bool owners(hawse_state *state, const hawse_state_plain &slot, uint8_t *addresses) {
    const auto *rows = static_cast<const Message *>(slot.rows);
    u64 message = 0;
    for (u64 row = 0; row < slot.row_count; row += 1 + is_wide(rows[row].kind), ++message) {
        const uint32_t account = rows[row].account;
        if (message == slot.message_count || !hawse_state_sole_signers(state, &account, 1, addresses + 20 * message))
            return false;
    }
    return message == slot.message_count;
}

// What an OUTCOME has behind its log digest.
size_t outcome_size(const hawse_state_made &made) {
    return 8 + 4 + 4 + 42 * made.refusal_count + 4 + 39 * made.event_count + 32;
}

void put_outcome(Writer to, const hawse_state_made &made, const uint8_t *digest) {
    to.put(u64(made.first_seq)).put(u32(made.inputs)).put(u32(made.refusal_count));
    const auto *refusals = static_cast<const Refusal *>(made.refusals);
    for (u64 n = 0; n < made.refusal_count; ++n) {
        const Refusal &r = refusals[n];
        to.put(r.seq).put(r.reason).put(r.detail).put(r.have).put(r.need);
    }
    to.put(u32(made.event_count));
    const auto *events = static_cast<const Event *>(made.events);
    for (u64 n = 0; n < made.event_count; ++n) {
        const Event &e = events[n];
        to.put(e.reason).put(e.account).put(e.instrument).put(e.first).put(e.second);
    }
    to.raw(digest, 32);
}

// The engine's reports of a burst; 0, or why there are none.
int burst(const hawse_state_engine &engine, const hawse_state_made &made, hawse_state_ran &out,
          const hawse_event *&events, size_t &count) {
    const hawse_command *commands;
    const hawse_resting *dumped;
    const uint32_t *refused;
    const void *beats;
    hawse_batch batch;
    uint8_t root[32];
    size_t refusals, dumps;
    const int64_t prepared =
        engine.prepare(engine.driver, made.orders, made.order_count, &commands, &refused, &refusals);
    if (prepared < 0)
        return HAWSE_STATE_ENGINE;
    out.last_seq = commands[prepared - 1].seq;
    if (refusals) {
        out.refused = refused[0], out.reason = refused[1];
        return HAWSE_STATE_REFUSED;
    }
    const int64_t answered = engine.exchange(engine.soft, commands, size_t(prepared), &beats);
    if (answered < 0)
        return HAWSE_STATE_ENGINE;
    const int64_t told = engine.absorb(engine.driver, beats, size_t(answered), &events, &dumped, &dumps);
    if (told < 0)
        return HAWSE_STATE_ENGINE;
    count = size_t(told);
    return engine.done(engine.driver, &out.fence, out.log_digest, &batch, root) ? 0 : HAWSE_STATE_UNANSWERED;
}

} // namespace

size_t hawse_state_together(hawse_state *state, const hawse_state_engine *engine, const hawse_state_plain *slots,
                            size_t count, hawse_state_ran *out, hawse_state_rooms *rooms, int *why) {
    uint8_t *outcome = rooms->outcomes, *record = rooms->records;
    for (size_t n = 0; n < count; ++n) {
        const hawse_state_plain &plain = slots[n];
        *why = HAWSE_STATE_UNFIT;
        if (!plain.signers && (plain.message_count > rooms->messages || !owners(state, plain, rooms->addresses)))
            return n;
        hawse_state_slot slot{};
        slot.number = plain.number, slot.time = plain.time, slot.rows = plain.rows, slot.row_count = plain.row_count;
        slot.message_count = plain.message_count, slot.structs = plain.structs;
        slot.signers = plain.signers ? plain.signers : rooms->addresses;
        slot.is_signed = plain.signers ? plain.is_signed : rooms->ones;
        hawse_state_made made;
        if ((*why = hawse_state_open(state, &slot, &made)) != HAWSE_STATE_OK)
            return n;
        const hawse_event *events = nullptr;
        size_t told = 0;
        if ((*why = burst(*engine, made, out[n], events, told)) != HAWSE_STATE_OK)
            return n;
        if ((*why = hawse_state_clear(state, events, told, &made)) != HAWSE_STATE_OK)
            return n;
        hawse_state_counters counters;
        hawse_state_count(state, &counters);
        *why = HAWSE_STATE_TOO_LITTLE;
        if (outcome_size(made) > size_t(rooms->outcomes_end - outcome) ||
            told * HAWSE_RECORD_BYTES > size_t(rooms->records_end - record))
            return n;
        put_outcome(Writer(outcome), made, counters.digest);
        for (size_t at = 0; at < told; ++at, record += HAWSE_RECORD_BYTES)
            memcpy(record, events + at, HAWSE_RECORD_BYTES);
        outcome += outcome_size(made);
        out[n].outcome_end = size_t(outcome - rooms->outcomes), out[n].records_end = size_t(record - rooms->records);
    }
    *why = HAWSE_STATE_OK;
    return count;
}
