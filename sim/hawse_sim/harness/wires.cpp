// Drives the netlist of a board at the two wires of its UART; everything else of the board runs by itself.
#include <vector>

#include "Vmodel.h"
#include "verilated.h"

#define HAWSE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

struct Wires {
    VerilatedContext context;
    Vmodel top{&context, "top"};
    const unsigned bit;  // clock cycles
    uint64_t cycles = 0;
    unsigned sending = 0, sent_at = 0;  // bits left of the byte on the way to the board, and cycles left of this one
    unsigned word = 0, hearing = 0, heard_at = 0, heard = 0;

    explicit Wires(unsigned bit) : bit{bit} { top.rx = 1; }
};

}  // namespace

HAWSE_EXPORT void* hawse_wires_new(uint32_t bit, uint8_t button) {
    auto* wires = new Wires{bit};
    wires->top.button = button;
    return wires;
}

HAWSE_EXPORT void hawse_wires_free(void* handle) { delete static_cast<Wires*>(handle); }

// A button that is up is 1, as it is pulled.
HAWSE_EXPORT void hawse_wires_button(void* handle, uint8_t level) { static_cast<Wires*>(handle)->top.button = level; }

HAWSE_EXPORT uint64_t hawse_wires_cycles(void* handle) { return static_cast<Wires*>(handle)->cycles; }

// Clock for `limit` cycles, longer until all `n` bytes are on the wire; returns how many bytes came back, at most
// `capacity`. A byte without a stop bit is returned as -1.
HAWSE_EXPORT int64_t hawse_wires_run(void* handle, const uint8_t* in, uint64_t n, uint8_t* out, uint64_t capacity,
                                     uint64_t limit) {
    Wires& w = *static_cast<Wires*>(handle);
    uint64_t taken = 0, given = 0;
    for (uint64_t cycle = 0; cycle < limit || taken < n || w.sending; ++cycle) {
        if (!w.sending && taken < n) {
            w.word = 1u << 9 | in[taken++] << 1;
            w.sending = 10;
            w.sent_at = w.bit;
        }
        w.top.rx = w.sending ? w.word & 1 : 1;
        if (w.sending && !--w.sent_at) {
            w.word >>= 1;
            --w.sending;
            w.sent_at = w.bit;
        }
        w.top.clock = 0;
        w.top.eval();
        const bool level = w.top.tx;
        w.top.clock = 1;
        w.top.eval();
        ++w.cycles;
        if (!w.hearing && !level) {
            w.hearing = 10;
            w.heard_at = w.bit / 2;
        } else if (w.hearing && !--w.heard_at) {
            w.heard = w.heard >> 1 | level << 9;
            w.heard_at = w.bit;
            if (!--w.hearing) {
                if (!(w.heard & 1 << 9)) return -1;
                if (given < capacity) out[given++] = uint8_t(w.heard >> 1);
            }
        }
    }
    return int64_t(given);
}
