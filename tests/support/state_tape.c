/* Plays a tape of slots and reports to the native state, on whatever machine this runs, and prints what comes out.
 * support.tape writes the tape: numbers of 64 bits, little-endian, and arrays as the C interface takes them. In C, so
 * that no runtime of C++ is needed. */
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *config;
static size_t config_size;
static hawse_state_capacity capacity;
static hawse_state *state;
static void *memory;

static uint64_t number(void) {
    uint8_t bytes[8];
    if (fread(bytes, 1, 8, stdin) != 8)
        exit(feof(stdin) ? 0 : 1);
    uint64_t value = 0;
    for (int n = 8; n--;)
        value = value << 8 | bytes[n];
    return value;
}

static void *array(size_t size) {
    void *out = malloc(size + 1);
    if (!out || fread(out, 1, size, stdin) != size)
        exit(2);
    return out;
}

static void say(const char *what, const uint8_t *hash) {
    printf("%s ", what);
    for (int n = 0; n < 32; ++n)
        printf("%02x", hash[n]);
    printf("\n");
}

/* FNV-1a: nobody chooses these bytes. */
static void sum(const char *what, const void *data, size_t size) {
    const uint8_t *bytes = data;
    uint64_t value = 0xcbf29ce484222325;
    for (size_t n = 0; n < size; ++n)
        value = (value ^ bytes[n]) * 0x100000001b3;
    printf("%s %016llx\n", what, (unsigned long long)value);
}

static void check(int result) {
    if (result == HAWSE_STATE_OK)
        return;
    printf("error %d\n", result);
    exit(3);
}

static void make(void) {
    const uint64_t seed[2] = {1, 2};
    const size_t size = hawse_state_size(config, config_size, &capacity);
    memory = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    memset(memory, 0, size);
    state = hawse_state_new(memory, size, config, config_size, &capacity, seed);
    if (!state)
        exit(5);
}

static void open_slot(void) {
    hawse_state_slot slot = {0};
    hawse_state_made made;
    slot.number = number(), slot.time = number(), slot.closes = number();
    slot.closing = (uint32_t)number();
    slot.observation_count = number(), slot.operation_count = number(), slot.deposit_count = number(), slot.request_count = number();
    slot.row_count = number(), slot.message_count = number(), slot.authorised = number();
    slot.observations = array(slot.observation_count * sizeof(hawse_state_observation));
    hawse_state_operation *operations = array(slot.operation_count * sizeof(hawse_state_operation));
    slot.operations = operations;
    slot.deposits = array(slot.deposit_count * sizeof(hawse_state_deposit));
    slot.requests = array(slot.request_count * sizeof(hawse_state_request));
    slot.rows = array(slot.row_count * 128);
    slot.is_signed = array(slot.message_count);
    slot.signers = array(slot.message_count * 20);
    slot.structs = array(slot.message_count * 32);
    for (uint64_t n = 0; n < slot.operation_count; ++n)
        operations[n].body = array(operations[n].size);
    array(1); /* behind the bodies */
    check(hawse_state_open(state, &slot, &made));
    sum("orders", made.orders, made.order_count * sizeof(hawse_order));
}

static void clear_slot(void) {
    const uint64_t count = number();
    const hawse_event *events = array(count * sizeof(hawse_event));
    hawse_state_made made;
    hawse_state_counters counters;
    check(hawse_state_clear(state, events, count, &made));
    hawse_state_count(state, &counters);
    say("digest", counters.digest);
}

static void seal(void) {
    hawse_state_batch batch;
    check(hawse_state_seal(state, &batch));
    say("root", batch.state_root), say("root", batch.inputs_root), say("root", batch.outcomes_root);
    say("root", batch.exit_root), say("root", batch.marks_root), say("root", batch.withdrawals_root);
}

/* And go on as the machine that is restored from it. */
static void snapshot(void) {
    const size_t size = (size_t)hawse_state_snapshot(state, NULL, 0);
    uint8_t *data = malloc(size);
    hawse_state_snapshot(state, data, size);
    sum("snapshot", data, size);
    free(memory);
    make();
    check(hawse_state_restore(state, data, size));
    free(data);
}

int main(void) {
    config_size = number();
    config = array(config_size);
    capacity.accounts = number(), capacity.messages = number();
    capacity.inputs = number(), capacity.withdrawals = number();
    make();
    for (;;)
        switch (number()) {
        case 1: open_slot(); break;
        case 2: clear_slot(); break;
        case 3: seal(); break;
        case 4: snapshot(); break;
        default: return 4;
        }
}
