// What both engines behind the C interface have: the way of a report to the transport, and counts.
#pragma once
#include <cinttypes>
#include <cstdio>
#include <sched.h>

#include "abi.h"
#include "hawse_wire.h"

namespace hawse {

class Transport {
  public:
    Transport(const abi_transport &transport, void *sink) : transport_(transport), sink_(sink) {}

    void push(const abi_report &report) {
        ++pushed;
        while (!transport_.push(sink_, &report))
            sched_yield();
    }

    void flush() {
        if (transport_.flush)
            transport_.flush(sink_);
    }

    uint64_t pushed = 0;

  private:
    const abi_transport transport_;
    void *const sink_;
};

// Tells what an event is to the interface, to which `opcode` brought the message; false if nothing.
inline bool to_report(const hawse_event &event, uint8_t opcode, uint64_t sequence_number, abi_report &report) {
    const unsigned kind = event.kind & 0x0F;
    report = abi_report{};
    report.sequence_number = sequence_number;
    report.order_id = event.order_id;
    if (kind == HAWSE_KIND_REJECTED) {
        report.type = opcode == HAWSE_OPCODE_CANCEL ? ABI_CANCEL_REJECT : ABI_MODIFY_REJECT;
        return opcode != HAWSE_OPCODE_NEW;
    }
    report.type = kind == HAWSE_KIND_ACK         ? ABI_ORDER_ACK
                  : kind == HAWSE_KIND_TRADE     ? ABI_TRADE
                  : kind == HAWSE_KIND_CANCELLED ? ABI_CANCEL_ACK
                                                 : ABI_MODIFY_ACK;
    report.side = event.kind >> 4 & 1;
    report.price_ticks = event.price;
    report.quantity = event.quantity;
    if (kind == HAWSE_KIND_TRADE) {
        report.maker_order_id = event.maker_id;
        report.taker_order_id = event.order_id;
    }
    return true;
}

// New orders of which the interface has no report, because no engine has taken them. They are counted, and the first
// that there was no room for is told on standard error.
class Losses {
  public:
    enum Kind { DUPLICATE_ID, NO_QUANTITY, BEYOND_32_BITS, STORE_FULL, BEYOND_BAND, KINDS };

    explicit Losses(const char *engine) : engine_(engine) {}

    void count(Kind kind, uint64_t sequence_number) {
        if (!counts_[kind]++ && kind >= BEYOND_32_BITS)
            std::fprintf(stderr, "hawse: %s: the new order of sequence number %" PRIu64 " is refused: %s; more are only counted\n",
                         engine_, sequence_number, WHY[kind - BEYOND_32_BITS]);
    }

    void statistics(std::FILE *file) const {
        static constexpr const char *NAMES[KINDS] = {"duplicate_id", "no_quantity", "beyond_32_bits", "store_full",
                                                     "beyond_band"};
        std::fprintf(file, "  \"lost\": {");
        for (unsigned kind = 0; kind < KINDS; ++kind)
            std::fprintf(file, "%s\"%s\": %" PRIu64, kind ? ", " : "", NAMES[kind], counts_[kind]);
        std::fprintf(file, "},\n");
    }

  private:
    static constexpr const char *WHY[] = {"its price is beyond 32 bits", "no handle is free",
                                          "its price fits no band with what rests"};
    const char *const engine_;
    uint64_t counts_[KINDS] = {};
};

} // namespace hawse
