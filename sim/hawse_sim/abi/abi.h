/* The C interface by which a public benchmark drives matching engines. Little-endian, naturally aligned. */
#ifndef HAWSE_ABI_H
#define HAWSE_ABI_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#define HAWSE_ABI __attribute__((visibility("default")))

enum { ABI_NEW = 0, ABI_CANCEL = 1, ABI_MODIFY = 2 };
enum {
    ABI_ORDER_ACK = 0,
    ABI_TRADE = 1,
    ABI_CANCEL_ACK = 2,
    ABI_MODIFY_ACK = 3,
    ABI_CANCEL_REJECT = 4,
    ABI_MODIFY_REJECT = 5
};

typedef struct {
    uint64_t order_id, sequence_number;
    int64_t price_ticks;
    uint32_t quantity;
    uint8_t side; /* 0 buy, 1 sell */
    uint8_t ioc;
    uint8_t pad[2];
} abi_new_order;

typedef struct {
    uint64_t order_id, sequence_number;
} abi_cancel;

typedef struct {
    uint64_t order_id, sequence_number;
    int64_t new_price_ticks;
    uint32_t new_quantity;
    uint8_t side;
    uint8_t pad[3];
} abi_modify;

typedef struct {
    uint8_t type;
    uint8_t pad[7];
    union {
        abi_new_order new_order;
        abi_cancel cancel;
        abi_modify modify;
    } body;
} abi_msg;

/* Fields without meaning for a type are 0. */
typedef struct {
    uint8_t type, side, pad0[6];
    uint64_t sequence_number; /* of the message that caused it */
    uint64_t order_id;        /* TRADE: the taker's */
    int64_t price_ticks;      /* TRADE: the maker's */
    uint32_t quantity, pad1;
    uint64_t maker_order_id, taker_order_id, pad2;
} abi_report;

typedef struct {
    void *(*create)(uint32_t capacity);
    int (*push)(void *sink, const abi_report *); /* 1; 0 if full: to be tried again */
    uint32_t (*drain)(void *sink, abi_report *, uint32_t);
    void (*flush)(void *sink);
    void (*destroy)(void *sink);
} abi_transport;

/* 0, or -1 and a line on standard error. A second call begins anew. */
HAWSE_ABI int engine_init(uint64_t nonce, const abi_transport *, void *sink);
/* Writes statistics as JSON to the file that HAWSE_ABI_STATS names. */
HAWSE_ABI void engine_shutdown(void);
/* Returns when every report of every delivered message has been pushed. */
HAWSE_ABI void engine_flush(void);
HAWSE_ABI void engine_on_new_order(const abi_new_order *);
HAWSE_ABI void engine_on_cancel(const abi_cancel *);
HAWSE_ABI void engine_on_modify(const abi_modify *);
HAWSE_ABI void engine_on_batch(const abi_msg *, uint32_t n);
/* INT64_MIN, INT64_MAX if there is none. Each reflects every message delivered before. */
HAWSE_ABI int64_t engine_query_best_bid(void);
HAWSE_ABI int64_t engine_query_best_ask(void);
/* Sum of what rests there. */
HAWSE_ABI uint64_t engine_query_depth_at(int64_t price, uint8_t side);

#ifdef __cplusplus
}
#endif
#endif
