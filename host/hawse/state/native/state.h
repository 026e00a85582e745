/* The transition function as flat C; hawse.state.native.bindings calls it. Integers are little-endian.
 *
 * A machine lives in one block of zeroed memory, divisible by 64, that its user gives and takes back. Nothing in it
 * allocates, and no call depends on anything but its arguments. One machine, one thread at a time. */
#ifndef HAWSE_STATE_H
#define HAWSE_STATE_H
#include <stddef.h>
#include <stdint.h>

#include "hawse_wire.h"

#ifdef __cplusplus
extern "C" {
#endif
#define HAWSE_API __attribute__((visibility("default")))

typedef struct hawse_state hawse_state;
typedef __int128 hawse_i128;

#define HAWSE_STATE_OK 0
#define HAWSE_STATE_UNFIT (-1)    /* not now, or an input that no slot may hold; nothing has changed */
#define HAWSE_STATE_TOO_MUCH (-2) /* more than there is room for; nothing has changed */
#define HAWSE_STATE_CLEARING (-3) /* a report that cannot be; the machine is of no further use */
#define HAWSE_STATE_OVERFLOW (-4) /* a balance leaves int64; the machine is of no further use */
#define HAWSE_STATE_SNAPSHOT (-5) /* no snapshot of this venue; the machine is of no further use */

/* What the configuration does not bound. */
typedef struct {
    uint64_t accounts, messages, inputs, withdrawals;
} hawse_state_capacity;

typedef struct {
    uint64_t time, number;
    int64_t value;
    uint16_t feed;
    uint8_t publisher, is_signed, zero[4];
    uint8_t signer[20], signature[64], struct_hash[32], zeros[4];
} hawse_state_observation;

typedef struct {
    uint8_t kind, is_signed, zero[2];
    uint32_t size; /* of the body */
    const uint8_t *body;
    uint8_t signer[20], signature[64], zeros[4];
} hawse_state_operation;

typedef struct {
    uint64_t index, amount;
    uint8_t owner[20], zero[4];
} hawse_state_deposit;

typedef struct {
    uint64_t index, generation, amount, expiry, time;
    uint32_t account;
    uint8_t kind, owner[20], agent[20], zero[3];
} hawse_state_request;

typedef struct {
    uint64_t number, time;
    uint64_t closes;  /* number of the batch, if it closes one */
    uint32_t closing; /* 0 or 1 */
    uint32_t unfit;   /* inputs of kinds that have no rules yet */
    uint64_t observation_count, operation_count, deposit_count, request_count, row_count, message_count;
    uint64_t authorised; /* the first of the rows, which are authorisations */
    const hawse_state_observation *observations;
    const hawse_state_operation *operations;
    const hawse_state_deposit *deposits;
    const hawse_state_request *requests;
    const void *rows;         /* of 128 bytes: hawse.keys.messages.MESSAGE */
    const uint8_t *is_signed; /* of each message: 1 if somebody signed it */
    const uint8_t *signers;   /* of each message: 20 bytes */
    const uint8_t *structs;   /* of each message: 32 bytes */
} hawse_state_slot;

/* What a slot made, until the next call that changes the machine. */
typedef struct {
    uint64_t first_seq, inputs;
    uint64_t order_count, refusal_count, event_count, machine_count, message_count, fill_count, transfer_count;
    const hawse_order *orders;
    const void *refusals, *events; /* 48 bytes each */
    const void *machine;           /* 32 bytes each */
    const uint64_t *message_seqs;
    const int64_t *fill_fees;
    const void *transfers; /* 24 bytes each */
    /* Of a slot that is cleared, until its batch is sealed: leaves, 136 bytes apart, and their hashes. */
    const uint8_t *input_leaves, *outcome_leaves, *input_hashes, *outcome_hashes;
} hawse_state_made;

typedef struct {
    hawse_i128 fees, dust, exit_positive, exit_shortfall, withdrawals_sum;
    uint64_t number, time, inputs_first, inputs_count, deposit_index, request_index, withdrawals_first;
    uint64_t withdrawals_count;
    int64_t insurance;
    uint64_t accounts, marks;
    uint8_t state_root[32], rules[32], assets[32], inputs_root[32], outcomes_root[32], exit_root[32], marks_root[32];
    uint8_t withdrawals_root[32], deposit_accumulator[32], request_accumulator[32];
    const uint8_t *inputs, *outcomes; /* hashes of the leaves */
    const void *withdrawals;          /* 32 bytes each */
    const int64_t *exits;             /* equity of each account */
} hawse_state_batch;

typedef struct {
    hawse_i128 deposited, withdrawn, fees, overflow; /* overflow: the amount that left int64 */
    uint64_t next_slot, time, last_seq, batch, deposit_index, request_index, accounts, wrong_seq, permutations;
    uint64_t batch_inputs, batch_withdrawals;
    uint64_t rules_from, rules_size; /* 0 before the first */
    uint8_t digest[32], deposit_accumulator[32], request_accumulator[32];
    uint32_t phase, zero;
} hawse_state_counters;

typedef struct {
    hawse_i128 free_collateral, withdrawable; /* withdrawable: whatever others owe */
    uint64_t generation, timer, floor;
    int64_t collateral, equity;
    uint32_t index, nonces, holdings, orders, transfers, flags, subaccount, agents;
    uint8_t owner[20];
    uint32_t strategies;
    uint8_t used[6 * 64];
} hawse_state_account;

/* A REGISTER's members, and what has become of it. */
typedef struct {
    uint64_t client_id, until, queue, next, done;
    int64_t low, high, best;
    uint32_t place, offset_ppm, quantity, every;
    int32_t trigger_price, limit_price;
    uint16_t instrument;
    uint8_t kind, side, trigger, fired, zero[2];
} hawse_state_strategy;

typedef struct {
    uint64_t expiry, appointed, floor;
    uint32_t max_life, nonces;
    uint8_t address[20], zero[4];
    uint8_t used[6 * 64];
} hawse_state_agent;

typedef struct {
    uint64_t generation;
    uint8_t owner[20], zero[4];
} hawse_state_owner;

typedef struct { /* hawse.commit.data.ACCOUNT */
    uint64_t generation;
    int64_t collateral;
    uint32_t flags;
    uint16_t subaccount;
    uint8_t mode, zero;
} hawse_state_exit_account;

typedef struct { /* hawse.commit.data.POSITION */
    hawse_i128 entry, funding;
    int64_t lots;
    uint32_t account;
    uint16_t instrument, zero;
} hawse_state_exit_position;

typedef struct {
    hawse_i128 entry, loss, basis;
    int64_t size, buy, sell;
    uint32_t instrument, zero;
    int64_t funding, zeros;
} hawse_state_holding;

typedef struct {
    uint64_t client_id, queue;
    uint32_t account, handle, instrument, remaining, held, peak, tag;
    int32_t price;
    uint8_t side, time_in_force, self_trade, reduce_only, dropped, resting, zero[2];
} hawse_state_order;

typedef struct {
    hawse_i128 total;
    uint64_t time, elapsed;
    int64_t value;
    uint64_t is; /* 1 if there is a value now */
} hawse_state_average;

typedef struct {
    hawse_i128 dust, funding_dust;
    hawse_state_average impact, premium, window; /* window: before expiry */
    uint64_t mark_time, open_interest, trade_time, begun, until;
    int64_t mark, last_trade, basis, index, cumulative;
    uint64_t heard;
    int64_t last_index;
    uint32_t number, status, in_window, zero;
} hawse_state_market;

typedef struct {
    int64_t value;
    uint64_t time, number, is; /* is: 1 if there is one */
} hawse_state_observed;

typedef struct {
    int64_t index;
    uint64_t time;
    uint32_t number, counted;
    hawse_state_observed observed[16]; /* by publisher */
} hawse_state_feed;

typedef struct {
    uint64_t offset; /* of the record */
    uint32_t length, type;
    uint8_t link[32];
} hawse_state_record;

typedef struct { /* a member of a signed struct: little-endian, or an address of 20 bytes */
    uint16_t offset;
    uint8_t size, body, shift, mask, is_signed, zero; /* body: in the second row; mask: 0 for all bits */
} hawse_state_member;

typedef struct {
    uint32_t first, count; /* of its members */
    uint8_t type_hash[32];
} hawse_state_kind;

/* The calls of an engine in this process, hawse.engine's c_api.h. */
typedef struct {
    void *driver, *soft;
    int64_t (*prepare)(void *driver, const hawse_order *, size_t count, const hawse_command **commands,
                       const uint32_t **refused, size_t *refused_count);
    int64_t (*exchange)(void *soft, const hawse_command *, size_t count, const void **beats);
    int64_t (*absorb)(void *driver, const void *beats, size_t count, const hawse_event **events,
                      const hawse_resting **dumped, size_t *dumped_count);
    int (*done)(const void *driver, hawse_fence *, uint8_t *digest, hawse_batch *, uint8_t *root);
} hawse_state_engine;

/* A slot of commands alone, which ends no batch. */
typedef struct {
    uint64_t number, time, row_count, message_count;
    const void *rows;       /* as in hawse_state_slot */
    const uint8_t *structs; /* of each message: 32 bytes */
    const uint8_t *signers, *is_signed; /* as in hawse_state_slot; NULL: the owners of the accounts have signed */
} hawse_state_plain;

/* What became of one. */
typedef struct {
    uint64_t outcome_end, records_end; /* in the rooms */
    uint64_t last_seq;                 /* of the burst */
    uint32_t refused, reason;          /* the first order that the driver refused, and why */
    hawse_fence fence;
    uint8_t log_digest[32]; /* of the engine */
} hawse_state_ran;

typedef struct {
    uint64_t messages;  /* that a slot may have */
    uint8_t *addresses; /* 20 bytes for each */
    const uint8_t *ones; /* for each */
    uint8_t *outcomes, *outcomes_end; /* of each slot, what an OUTCOME has behind its log digest */
    uint8_t *records, *records_end;   /* of each slot, what the engine commits to */
} hawse_state_rooms;

#define HAWSE_STATE_ENGINE (-6)     /* hawse_error says it */
#define HAWSE_STATE_REFUSED (-7)    /* the driver refused an order */
#define HAWSE_STATE_UNANSWERED (-8) /* the burst's fence was not answered */
#define HAWSE_STATE_TOO_LITTLE (-9) /* of a room */

/* Bytes that a machine takes, 0 for what is no configuration. */
HAWSE_API size_t hawse_state_size(const uint8_t *config, size_t size, const hawse_state_capacity *);
/* A machine in `memory`; NULL as above. The seed (two words) is for hash maps; nothing that comes out depends on it. */
HAWSE_API hawse_state *hawse_state_new(void *memory, size_t bytes, const uint8_t *config, size_t size,
                                       const hawse_state_capacity *, const uint64_t *seed);

HAWSE_API int hawse_state_open(hawse_state *, const hawse_state_slot *, hawse_state_made *);
HAWSE_API int hawse_state_clear(hawse_state *, const hawse_event *, size_t count, hawse_state_made *);
HAWSE_API int hawse_state_seal(hawse_state *, hawse_state_batch *);
/* Instead of seal, where another machine seals. */
HAWSE_API int hawse_state_turn(hawse_state *);
HAWSE_API int hawse_state_root(hawse_state *, uint8_t *root);
/* Bytes of the snapshot, all written if there is room for them. */
HAWSE_API int64_t hawse_state_snapshot(hawse_state *, uint8_t *out, size_t room);
/* Into a new machine. */
HAWSE_API int hawse_state_restore(hawse_state *, const uint8_t *bytes, size_t size);

HAWSE_API void hawse_state_count(hawse_state *, hawse_state_counters *);
/* Index of the owner's subaccount, or -1. */
HAWSE_API int64_t hawse_state_find(hawse_state *, const uint8_t *owner, uint32_t subaccount);
/* The body of the rules in force, as long as the counters say. */
HAWSE_API void hawse_state_read_rules(hawse_state *, uint8_t *out);
HAWSE_API int hawse_state_read_account(hawse_state *, uint32_t index, hawse_state_account *);
/* Of the first accounts. */
HAWSE_API void hawse_state_read_owners(hawse_state *, hawse_state_owner *, size_t count);
/* What exits need: every account, and every position by account and instrument. Returns how many positions there
   are; writes nothing into what is NULL. */
HAWSE_API size_t hawse_state_read_exits(hawse_state *, hawse_state_exit_account *, hawse_state_exit_position *);
/* Of accounts for which nobody but the owner signs: 20 bytes each. 0 if one has agents, nothing, or is none. */
HAWSE_API int hawse_state_sole_signers(hawse_state *, const uint32_t *indices, size_t count, uint8_t *out);
/* As they were appointed. */
HAWSE_API void hawse_state_read_agents(hawse_state *, uint32_t index, hawse_state_agent *);
/* Holdings by instrument, orders the newest first; as many as read_account says. */
HAWSE_API void hawse_state_read_holdings(hawse_state *, uint32_t index, hawse_state_holding *);
HAWSE_API void hawse_state_read_orders(hawse_state *, uint32_t index, hawse_state_order *);
/* In no order; as many as read_account says. */
HAWSE_API void hawse_state_read_strategies(hawse_state *, uint32_t index, hawse_state_strategy *);
/* Client id of what has each handle, or had it last; 0 where nothing ever had. */
HAWSE_API void hawse_state_client_ids(hawse_state *, const uint64_t *handles, size_t count, uint64_t *out);
HAWSE_API void hawse_state_read_markets(hawse_state *, hawse_state_market *);
/* Of all underlyings. */
HAWSE_API void hawse_state_read_feeds(hawse_state *, hawse_state_feed *);
/* What accounts below zero owe. */
HAWSE_API int hawse_state_shortfall(hawse_state *, hawse_i128 *);
/* Resting orders in the order of their tree; how many. */
HAWSE_API size_t hawse_state_resting(hawse_state *, hawse_state_order *out, size_t room);
/* Siblings of an account's leaf (32 bytes each, up to 32) as of the last root; how many. */
HAWSE_API size_t hawse_state_proof(hawse_state *, uint32_t account, uint8_t *out);

/* Whole records of a journal at `data`, up to `most`, whose heads and links fit; the first behind `chain`. How many
   they are. The scratch has `size` bytes and 256 more for each record that may be. */
HAWSE_API size_t hawse_state_links(const uint8_t *data, size_t size, const uint8_t *chain, hawse_state_record *out,
                                   size_t most, uint8_t *scratch);
/* Carries out slots. Returns how many; *why is OK if that
   is all. UNFIT and TOO_MUCH: nothing has changed behind them, and hawse_state_open may say more, also where others
   may sign for an account. After anything else machine and engine are of no further use. */
HAWSE_API size_t hawse_state_together(hawse_state *, const hawse_state_engine *, const hawse_state_plain *, size_t count,
                                      hawse_state_ran *, hawse_state_rooms *, int *why);
/* hashStruct, 32 bytes each, of canonical messages whose first rows have these places; `kinds` are 256. */
HAWSE_API void hawse_state_structs(const hawse_state_kind *kinds, const hawse_state_member *members, const void *rows,
                                   const uint32_t *places, size_t count, uint8_t *out);

#ifdef __cplusplus
}
#endif
#endif
