// Drives the Verilated Appliance at the byte streams just inside its UART.
#include "model.h"

namespace {

// Cycles without a byte after which the bytes so far are handed on: a frame has ended.
constexpr unsigned kPause = 32;
// Cycles that the appliance must be idle before its clock stops: a word between two registers is no rest.
constexpr unsigned kRest = 16;

}  // namespace

struct Slice {
    uint64_t taken, given, cycles;
    uint8_t idle, unacked;
};

HAWSE_EXPORT void hawse_appliance_scramble(uint32_t seed) { scramble = seed; }

HAWSE_EXPORT void* hawse_appliance_new(const char* trace, uint64_t from, uint64_t to) {
    auto* model = new Model{trace, from, to};
    model->top.rx___05Fvalid = 0;
    model->top.tx___05Fready = 0;
    model->reset();
    return model;
}

HAWSE_EXPORT void hawse_appliance_free(void* handle) { delete static_cast<Model*>(handle); }

HAWSE_EXPORT void hawse_appliance_reset(void* handle) {
    auto* model = static_cast<Model*>(handle);
    model->top.rx___05Fvalid = 0;
    model->top.tx___05Fready = 0;
    model->reset();
}

// Clock for at most `limit` cycles, offering `n` bytes and taking at most `capacity`. Ends early when a run
// of bytes to the host is complete, and, unless `keep_on`, when the appliance is idle and all input taken.
HAWSE_EXPORT void hawse_appliance_run(void* handle, const uint8_t* in, uint64_t n, uint8_t* out,
                                      uint64_t capacity, uint64_t limit, uint8_t keep_on, Slice* slice) {
    Model& model = *static_cast<Model*>(handle);
    Vmodel& top = model.top;
    uint64_t taken = 0, given = 0, cycle = 0;
    unsigned silence = 0, rest = 0;
    for (; cycle < limit; ++cycle) {
        top.rx___05Fvalid = taken < n;
        if (taken < n) top.rx___05Fpayload = in[taken];
        top.tx___05Fready = given < capacity;
        model.settle();
        taken += top.rx___05Fvalid && top.rx___05Fready;
        if (top.tx___05Fvalid && top.tx___05Fready) {
            out[given++] = top.tx___05Fpayload;
            silence = 0;
        } else {
            ++silence;
        }
        rest = top.idle && taken == n && !keep_on ? rest + 1 : 0;
        model.rise();
        if (rest > kRest || (given && (silence > kPause || given == capacity))) break;
    }
    top.rx___05Fvalid = 0;
    model.settle();
    *slice = {taken, given, model.cycles, top.idle, top.unacked};
}
