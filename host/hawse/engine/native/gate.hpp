// The gate, natively: hawse.engine.gate says what it does and why. Nothing is allocated after the start.
#pragma once
#include <cstdint>
#include <vector>

#include "hawse_wire.h"
#include "wire.hpp"

namespace hawse {

class Gate {
  public:
    // What a command comes to: the first limit that it breaks, or zero; and whether it drew.
    struct Judgement {
        uint8_t reason = 0;
        bool drew = false;
    };

    explicit Gate(const Geometry &geometry) : geometry_(geometry) { clear(); }

    void clear() {
        tags_.assign(size_t(1) << geometry_.tag_bits, Tag{});
        instruments_.assign(geometry_.instruments, Instrument{});
        touched_.clear();
        touched_.reserve(tags_.size());
    }

    static uint64_t value_of(const hawse_command &c) { return uint64_t(c.token) << 32 | c.quantity; }

    // Whether a LIMIT says something that is defined.
    static uint8_t check_limit(const hawse_command &c) {
        const uint64_t value = value_of(c);
        bool fits = true;
        switch (c.handle) {
        case HAWSE_LIMIT_CLEAR:
        case HAWSE_LIMIT_ORDER_SIZE:
        case HAWSE_LIMIT_OPEN_ORDERS:
        case HAWSE_LIMIT_OPEN_BUY:
        case HAWSE_LIMIT_OPEN_SELL:
        case HAWSE_LIMIT_COMMANDS:
        case HAWSE_LIMIT_COLLAR:
            break;
        case HAWSE_LIMIT_KILL:
            fits = value <= 1;
            break;
        case HAWSE_LIMIT_GRANT:
            fits = value < BEYOND || value == UNLIMITED;
            break;
        case HAWSE_LIMIT_REVOKE:
            fits = value < BEYOND;
            break;
        case HAWSE_LIMIT_RATE:
            fits = value >> 32 == 0;
            break;
        default:
            return HAWSE_REASON_WHAT;
        }
        return fits ? 0 : HAWSE_REASON_QUANTITY;
    }

    Judgement judge(const hawse_command &c) {
        const bool loads = c.opcode == HAWSE_OPCODE_LOAD, replaces = c.opcode == HAWSE_OPCODE_REPLACE;
        if ((c.opcode != HAWSE_OPCODE_NEW && !replaces && !loads) || c.tag >> geometry_.tag_bits ||
            c.instrument >= geometry_.instruments)
            return {};
        Tag &tag = touch(c.tag);
        const unsigned side = c.flags & 1;
        const uint64_t orders = !replaces, commands = !loads;
        const uint64_t credit = loads ? 0 : uint64_t(c.quantity) * instruments_[c.instrument].rate;
        if (!loads)
            if (const uint8_t reason = breach(c, tag, orders, credit))
                return {reason, false};
        tag.orders.drawn += orders;
        tag.open[side].drawn += c.quantity;
        tag.commands.drawn += commands;
        tag.credit.drawn += credit;
        return {0, true};
    }

    // At the next FENCE these lots are open no more; with `credit`, what they drew of it comes back, too.
    void give_back(uint32_t tag, uint32_t instrument, unsigned side, uint64_t quantity, bool ended, bool credit) {
        Tag &its = touch(tag);
        its.open[side].back += quantity;
        its.orders.back += ended;
        if (credit)
            its.credit.back += quantity * instruments_[instrument].rate;
    }

    // The book refuses what drew.
    void refused(const hawse_command &c) {
        give_back(c.tag, c.instrument, c.flags & 1, c.quantity, c.opcode != HAWSE_OPCODE_REPLACE,
                  c.opcode != HAWSE_OPCODE_LOAD);
    }

    void fence() {
        for (const uint32_t at : touched_) {
            Tag &tag = tags_[at];
            tag.touched = false;
            tag.commands.drawn = 0;
            for (Room *room : {&tag.orders, &tag.open[0], &tag.open[1], &tag.credit}) {
                room->drawn -= room->back;
                room->back = 0;
            }
        }
        touched_.clear();
    }

    // Carry out a LIMIT that passed its checks.
    void limit(const hawse_command &c) {
        const uint64_t value = value_of(c);
        Tag &tag = tags_[c.tag];
        Instrument &instrument = instruments_[c.instrument];
        switch (c.handle) {
        case HAWSE_LIMIT_CLEAR:
            tag.killed = false;
            tag.order_size = UNLIMITED;
            for (Room *room : {&tag.orders, &tag.open[0], &tag.open[1], &tag.commands, &tag.credit})
                room->set(UNLIMITED);
            tag.credit.limit = tag.credit.drawn;
            return;
        case HAWSE_LIMIT_ORDER_SIZE:
            tag.order_size = value;
            return;
        case HAWSE_LIMIT_OPEN_ORDERS:
            return tag.orders.set(value);
        case HAWSE_LIMIT_OPEN_BUY:
            return tag.open[HAWSE_SIDE_BUY].set(value);
        case HAWSE_LIMIT_OPEN_SELL:
            return tag.open[HAWSE_SIDE_SELL].set(value);
        case HAWSE_LIMIT_COMMANDS:
            return tag.commands.set(value);
        case HAWSE_LIMIT_KILL:
            tag.killed = value != 0;
            return;
        case HAWSE_LIMIT_GRANT:
            tag.credit.limited = value != UNLIMITED;
            if (tag.credit.limited)
                tag.credit.limit += value;
            return;
        case HAWSE_LIMIT_REVOKE:
            tag.credit.limited = true;
            tag.credit.limit -= value;
            return;
        case HAWSE_LIMIT_RATE:
            instrument.rate = c.quantity;
            return;
        case HAWSE_LIMIT_COLLAR:
            instrument.collared = value != UNLIMITED;
            instrument.low = int32_t(c.quantity);
            instrument.high = int32_t(c.token);
            return;
        }
    }

  private:
    static constexpr uint64_t UNLIMITED = ~uint64_t(0), BEYOND = uint64_t(1) << 63;

    // A limit and what is drawn of it, modulo 2**64, counted whether limited or not.
    struct Room {
        uint64_t limit = 0, drawn = 0, back = 0;
        bool limited = false;

        bool lacks(uint64_t amount) const {
            const uint64_t left = limit - drawn; // signed
            return limited && amount && (left >= BEYOND || amount > left);
        }
        void set(uint64_t value) {
            limited = value < BEYOND;
            limit = limited ? value : 0;
        }
    };

    struct Tag {
        uint64_t order_size = UNLIMITED;
        Room orders, open[2], commands, credit;
        bool killed = false, touched = false;
    };

    struct Instrument {
        uint32_t rate = 0;
        int32_t low = 0, high = 0;
        bool collared = false;
    };

    Tag &touch(uint32_t at) {
        Tag &tag = tags_[at];
        if (!tag.touched)
            touched_.push_back(at);
        tag.touched = true;
        return tag;
    }

    uint8_t breach(const hawse_command &c, const Tag &tag, uint64_t orders, uint64_t credit) const {
        const Instrument &instrument = instruments_[c.instrument];
        const unsigned side = c.flags & 1;
        if (tag.killed)
            return HAWSE_REASON_KILLED;
        if (tag.commands.lacks(1))
            return HAWSE_REASON_COMMANDS;
        if (c.quantity > tag.order_size)
            return HAWSE_REASON_ORDER_SIZE;
        if (tag.orders.lacks(orders))
            return HAWSE_REASON_OPEN_ORDERS;
        if (tag.open[side].lacks(c.quantity))
            return side == HAWSE_SIDE_BUY ? HAWSE_REASON_OPEN_BUY : HAWSE_REASON_OPEN_SELL;
        if (tag.credit.lacks(credit))
            return HAWSE_REASON_CREDIT;
        if (instrument.collared && (c.price < instrument.low || c.price > instrument.high))
            return HAWSE_REASON_COLLAR;
        return 0;
    }

    const Geometry geometry_;
    std::vector<Tag> tags_;
    std::vector<Instrument> instruments_;
    std::vector<uint32_t> touched_; // since the last FENCE, each once
};

} // namespace hawse
