// The software engine behind the C interface: driver and engine in one, without a band.
#pragma once
#include <algorithm>

#include "fused.hpp"
#include "session.hpp"

namespace hawse {

class Session {
  public:
    static constexpr const char *NAME = "soft";

    Session(uint64_t nonce, const abi_transport &transport, void *sink)
        : transport_(transport, sink), losses_(NAME), engine_(GEOMETRY, true, *this) {
        engine_.reset(uint32_t(nonce));
        opcode_ = HAWSE_OPCODE_STATE;
        hawse_order step{};
        step.opcode = HAWSE_OPCODE_STATE;
        for (const uint32_t state : {HAWSE_INSTRUMENT_STATE_LOADING, HAWSE_INSTRUMENT_STATE_OPEN}) {
            step.quantity = state;
            engine_.add(step, false);
        }
        engine_.fence();
    }

    void on_new(const abi_new_order &message) {
        hawse_command c{};
        c.opcode = HAWSE_OPCODE_NEW;
        c.flags = uint8_t((message.side & 1) | (message.ioc ? HAWSE_TIME_IN_FORCE_IOC << 1 : 0));
        price(c, message.price_ticks, message.quantity);
        begin(c, message.sequence_number);
        Refusal refusal = engine_.arrive(c, message.order_id);
        if (__builtin_expect(refusal != Refusal::NONE && burst_ > 1, 0)) {
            fence(); // its id may be free by then, or a handle
            ++burst_;
            refusal = engine_.arrive(c, message.order_id);
        }
        if (__builtin_expect(refusal != Refusal::NONE, 0)) {
            ++refused_;
            losses_.count(refusal == Refusal::STORE_FULL ? Losses::STORE_FULL : Losses::DUPLICATE_ID,
                          message.sequence_number);
        }
        peak_ = std::max(peak_, engine_.resting_count());
    }

    void on_cancel(const abi_cancel &message) {
        hawse_command c{};
        c.opcode = HAWSE_OPCODE_CANCEL;
        begin(c, message.sequence_number);
        engine_.cancel(c, message.order_id);
    }

    void on_modify(const abi_modify &message) {
        hawse_command c{};
        c.opcode = HAWSE_OPCODE_REPLACE;
        price(c, message.new_price_ticks, message.new_quantity);
        begin(c, message.sequence_number);
        engine_.replace(c, message.order_id);
    }

    void flush() { transport_.flush(); }

    bool best(unsigned side, int32_t &price) { return engine_.best(0, side, price); }
    uint64_t depth(unsigned side, int64_t price) {
        return price == int32_t(price) ? engine_.depth(0, side, int32_t(price)) : 0;
    }

    void statistics(std::FILE *file) const {
        std::fprintf(file, "{\n  \"engine\": \"%s\",\n  \"messages\": %" PRIu64 ",\n", NAME, messages_);
        std::fprintf(file, "  \"commands\": %" PRIu64 ",\n  \"fences\": %" PRIu64 ",\n", messages_ - refused_ + fences_,
                     fences_);
        std::fprintf(file, "  \"refused\": %" PRIu64 ",\n  \"reports\": %" PRIu64 ",\n", refused_, transport_.pushed);
        losses_.statistics(file);
        std::fprintf(file, "  \"peak_resting\": %" PRIu32 ",\n  \"longest_bucket\": %" PRIu32 "\n}\n", peak_,
                     engine_.longest_bucket());
    }

    // What the engine says.
    static constexpr bool LOGGED = false; // nobody asks for a digest
    void event(const hawse_event &event, uint64_t sequence_number) {
        if (opcode_ == HAWSE_OPCODE_STATE)
            return;
        abi_report report;
        if (to_report(event, opcode_, sequence_number, report))
            transport_.push(report);
        else
            losses_.count(beyond_ ? Losses::BEYOND_32_BITS : Losses::NO_QUANTITY, sequence_number);
    }
    void resting(const hawse_resting &) {}

  private:
    // No level of the pool is used. Only those of the orders that came take memory, 56 bytes each.
    static constexpr Geometry GEOMETRY{1, 1024, 1 << 24, 12};
    // Messages from fence to fence, which costs nothing: fewer handles are in use, which caches like.
    static constexpr uint32_t BURST = 256;

    // What no command can carry is told to the engine without a quantity, for which it is rejected in its turn.
    void price(hawse_command &c, int64_t price, uint32_t quantity) {
        beyond_ = price != int32_t(price);
        c.price = beyond_ ? 0 : int32_t(price);
        c.quantity = beyond_ ? 0 : quantity;
    }

    void begin(hawse_command &c, uint64_t sequence_number) {
        c.seq = sequence_number;
        opcode_ = c.opcode;
        ++messages_;
        if (++burst_ > BURST) {
            fence();
            ++burst_;
        }
    }

    void fence() {
        engine_.fence();
        ++fences_;
        burst_ = 0;
    }

    Transport transport_;
    Losses losses_;
    Fused<Session> engine_;
    uint8_t opcode_ = 0;  // of the message at work
    bool beyond_ = false; // its price is beyond 32 bits
    uint32_t burst_ = 0;  // messages since the last fence
    uint64_t messages_ = 0, fences_ = 0, refused_ = 0;
    uint32_t peak_ = 0;
};

} // namespace hawse
