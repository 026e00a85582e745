// Driver and software engine in one: orders with the user's ids in, reports with them out, without commands and beats
// between. Handles and reports are those of a Driver in front of a SoftEngine; it moves no band.
//
// `Sink` is told
//   event(hawse_event, seq)   each report; seq is the order's own, of 64 bits
//   resting(hawse_resting)    each answer to DUMP
// and says by `Sink::LOGGED` whether there is a report log.
#pragma once
#include <cstdint>
#include <cstring>

#include "burst.hpp"
#include "handles.hpp"
#include "soft.hpp"

namespace hawse {

template <class Sink> class Fused : public Matching<Fused<Sink>> {
    using Rules = Matching<Fused<Sink>>;

  public:
    Fused(const Geometry &geometry, bool no_band, Sink &sink)
        : Rules(geometry, no_band), handles_(geometry.orders), sink_(sink) {}

    void reset(uint32_t epoch) {
        Rules::clear();
        handles_.clear();
        closing_.clear(epoch);
    }

    // NEW: all of `c` but its handle is filled in.
    HAWSE_INLINE Refusal arrive(hawse_command &c, uint64_t order_id) {
        bool known;
        c.handle = handles_.take_lowest(order_id, known);
        if (c.handle == Handles::NONE)
            return known ? Refusal::DUPLICATE_ORDER_ID : Refusal::STORE_FULL;
        order_id_ = order_id;
        ++closing_.commands;
        Rules::arrive(c);
        return Refusal::NONE;
    }

    HAWSE_INLINE void cancel(hawse_command &c, uint64_t order_id) {
        name(c, order_id);
        Rules::cancel(c);
    }

    HAWSE_INLINE void replace(hawse_command &c, uint64_t order_id) {
        name(c, order_id);
        Rules::replace(c);
    }

    // Any order but FENCE, CLOSE and HELLO; `first` of its burst.
    Refusal add(const hawse_order &order, bool first) {
        hawse_command c;
        std::memcpy(&c, &order, sizeof c); // an order begins as a command does
        switch (order.opcode) {
        case HAWSE_OPCODE_NEW:
            return arrive(c, order.order_id);
        case HAWSE_OPCODE_CANCEL:
        case HAWSE_OPCODE_REPLACE:
        case HAWSE_OPCODE_REDUCE:
            name(c, order.order_id);
            break;
        case HAWSE_OPCODE_LOAD:
            if (handles_.find(order.order_id) != Handles::NONE)
                return Refusal::DUPLICATE_ORDER_ID;
            if (c.handle < this->geometry().orders) {
                if (handles_.known(c.handle))
                    return Refusal::HANDLE_IN_USE;
                handles_.take(c.handle, order.order_id);
            }
            order_id_ = order.order_id;
            ++closing_.commands;
            break;
        case HAWSE_OPCODE_RECENTRE:
            return first ? Refusal::RECENTRE_INSTRUMENT : Refusal::RECENTRE_NOT_FIRST;
        default:
            if (c.opcode != HAWSE_OPCODE_STATE && c.opcode != HAWSE_OPCODE_LIMIT)
                c.handle = 0;
            order_id_ = 0;
            ++closing_.commands;
        }
        Rules::apply(c);
        return Refusal::NONE;
    }

    // The end of a burst: what ended in it is forgotten, and its handles are free.
    void fence() {
        handles_.fence();
        ++closing_.commands;
    }

    uint32_t longest_bucket() const { return handles_.longest_bucket(); }

    Closing &closing() { return closing_; }

  private:
    friend class Matching<Fused<Sink>>;

    // The handle of an order by its id: null if it is not known.
    HAWSE_INLINE void name(hawse_command &c, uint64_t order_id) {
        static_assert(Handles::NONE == HAWSE_NULL_HANDLE, "what find() says is what the command says");
        c.handle = handles_.find(order_id);
        order_id_ = order_id;
        ++closing_.commands;
    }

    HAWSE_INLINE void report(uint8_t kind, uint8_t reason, uint16_t instrument, uint32_t handle, uint32_t maker, int32_t price,
                uint32_t quantity, uint64_t seq) {
        hawse_event event;
        event.kind = kind;
        event.reason = reason;
        event.instrument = instrument;
        event.handle = handle;
        event.maker = maker;
        event.price = price;
        event.quantity = quantity;
        event.seq = uint32_t(seq);
        event.accepted = event.left = 0;
        event.order_id = (kind & 0x0F) == HAWSE_KIND_CANCELLED ? handles_.id(handle) : order_id_;
        event.maker_id = (kind & 0x0F) == HAWSE_KIND_TRADE ? handles_.id(maker) : 0;
        if (Sink::LOGGED)
            closing_.log.append(&event);
        sink_.event(event, seq);
    }
    void resting(const hawse_resting &report) { sink_.resting(report); }
    void ended(uint32_t handle) { handles_.end(handle); }

    Handles handles_;
    Closing closing_;
    Sink &sink_;
    uint64_t order_id_ = 0; // of the order being carried out
};

} // namespace hawse
