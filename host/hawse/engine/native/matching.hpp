// The matching rules, natively: what every form of the software engine carries out.
//
// `Out` is the class that inherits this. It is told
//   report(kind, reason, instrument, handle, maker, price, quantity, seq)   each record, in order
//   resting(hawse_resting)                                                  each answer to DUMP
//   ended(handle)                                                           that an order is no more, at once
// `Gated`: LIMIT is taken, and commands are judged by the limits; without, nothing of a gate is left in the code.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "gate.hpp"
#include "hawse_wire.h"
#include "ladder.hpp"
#include "wire.hpp"

namespace hawse {

namespace rules {

constexpr uint8_t MAKER_DONE = 1 << 5;
constexpr uint8_t RESTING_FLAGS = 1 | 3 << 3;
static_assert(HAWSE_LEAST_WINDOW >= 64, "a word of the bitmap is of one window");

inline unsigned side_of(uint8_t flags) { return flags & 1; }
inline unsigned time_in_force(uint8_t flags) { return flags >> 1 & 3; }
inline unsigned self_trade(uint8_t flags) { return flags >> 3 & 3; }
inline unsigned sequence_class(uint8_t flags) { return flags >> 5; }
inline uint8_t with_side(unsigned kind, unsigned side) { return uint8_t(kind | side << 4); }
inline constexpr unsigned bit(unsigned value) { return 1u << value; }

inline bool defined(uint8_t flags) {
    return (self_trade(flags) != 3) & (sequence_class(flags) <= HAWSE_SEQUENCE_CLASS_OPERATOR);
}

// For each opcode, the set of states in which it is allowed.
inline unsigned allowed(uint8_t opcode) {
    switch (opcode) {
    case HAWSE_OPCODE_NEW:
    case HAWSE_OPCODE_REPLACE:
        return bit(HAWSE_INSTRUMENT_STATE_OPEN);
    case HAWSE_OPCODE_CANCEL:
    case HAWSE_OPCODE_REDUCE:
    case HAWSE_OPCODE_MASS_CANCEL:
        return bit(HAWSE_INSTRUMENT_STATE_OPEN) | bit(HAWSE_INSTRUMENT_STATE_CANCEL_ONLY);
    case HAWSE_OPCODE_LOAD:
        return bit(HAWSE_INSTRUMENT_STATE_LOADING);
    default:
        return ~0u;
    }
}

} // namespace rules

template <class Out, bool Gated = false> class Matching {
  public:
    Matching(const Geometry &geometry, bool no_band)
        : geometry_(geometry), no_band_(no_band), gate_(Gated ? new Gate(geometry) : nullptr), levels_{Levels(geometry.pool), Levels(geometry.pool)},
          books_(geometry.instruments) {
        clear();
    }

    void clear() {
        for (auto &levels : levels_)
            levels.clear();
        books_ = std::vector<Book>(geometry_.instruments);
        orders_ = Zeroed<Order>(geometry_.orders);
        orders_.touch(0, std::min(geometry_.orders, USUAL_ORDERS));
        resting_ = Zeroed<uint64_t>((geometry_.orders + 63) / 64);
        resting_count_ = handles_ = 0;
        if constexpr (Gated)
            gate_->clear();
    }

    // Any command but FENCE, CLOSE and HELLO.
    void apply(const hawse_command &c) {
        judge(c);
        switch (c.opcode) {
        case HAWSE_OPCODE_NEW:
            return arrive(c);
        case HAWSE_OPCODE_CANCEL:
            return cancel(c);
        case HAWSE_OPCODE_REPLACE:
            return replace(c);
        default:
            return carry_out(c);
        }
    }

    // A gate judges what brings or replaces an order, first.
    HAWSE_INLINE void judge([[maybe_unused]] const hawse_command &c) {
        if constexpr (Gated)
            judgement_ = gate_->judge(c);
    }

    HAWSE_INLINE void arrive(const hawse_command &c) {
        if (__builtin_expect(!fits_new(c), 0))
            return reject(c, check(c));
        Taker taker{c.handle, c.tag, c.quantity, c.price, c.instrument, c.flags, c.seq};
        Book &book = books_[c.instrument];
        const unsigned side = rules::side_of(c.flags);
        out().report(rules::with_side(HAWSE_KIND_ACK, side), 0, c.instrument, c.handle, 0, c.price, c.quantity, c.seq);
        const unsigned time_in_force = rules::time_in_force(c.flags);
        uint8_t reason = HAWSE_REASON_IOC;
        if (time_in_force <= HAWSE_TIME_IN_FORCE_IOC) {
            match(book, taker);
            if (time_in_force == HAWSE_TIME_IN_FORCE_GTC)
                return rest(book, taker);
        } else if (time_in_force == HAWSE_TIME_IN_FORCE_FOK) {
            if (can_fill(book, taker))
                match(book, taker);
            reason = HAWSE_REASON_FOK;
        } else { // post-only
            if (book.ladders[1 - side].best() > key_of(1 - side, c.price))
                return rest(book, taker);
            reason = HAWSE_REASON_POST_ONLY;
        }
        if (taker.quantity) {
            give_back(c.tag, c.instrument, side, taker.quantity, true, true);
            out().report(rules::with_side(HAWSE_KIND_CANCELLED, side), reason, c.instrument, c.handle, 0, c.price,
                         taker.quantity, c.seq);
        }
        out().ended(c.handle);
    }

    HAWSE_INLINE void cancel(const hawse_command &c) {
        if (__builtin_expect(!fits_change(c), 0))
            return reject(c, check(c));
        unlink(c.handle);
        const Order &order = orders_[c.handle];
        give_back(order, order.quantity, true, true);
        out().report(rules::with_side(HAWSE_KIND_CANCELLED, rules::side_of(order.flags)), HAWSE_REASON_COMMAND,
                     order.instrument, c.handle, 0, order.price, order.quantity, c.seq);
        out().ended(c.handle);
    }

    HAWSE_INLINE void replace(const hawse_command &c) {
        if (__builtin_expect(!fits_replace(c), 0))
            return reject(c, check(c));
        unlink(c.handle);
        const Order &order = orders_[c.handle];
        give_back(order, order.quantity, false, true);
        Taker taker{c.handle, order.tag, c.quantity, c.price, order.instrument, order.flags, c.seq};
        Book &book = books_[order.instrument];
        out().report(rules::with_side(HAWSE_KIND_REPLACED, rules::side_of(taker.flags)), 0, taker.instrument,
                     taker.handle, 0, taker.price, taker.quantity, c.seq);
        match(book, taker);
        rest(book, taker);
    }

    const Geometry &geometry() const { return geometry_; }
    bool no_band() const { return no_band_; }

    // What a FENCE or CLOSE means for the gate.
    void fence_gate() {
        if constexpr (Gated)
            gate_->fence();
    }

    uint32_t resting_count() const { return resting_count_; }

    // Best price of a side of an instrument in `price`; false if nothing rests there.
    bool best(uint32_t instrument, unsigned side, int32_t &price) {
        const uint64_t key = books_[instrument].ladders[side].best();
        price = int32_t(key_of(side, 0) ^ uint32_t(key)); // a key is its price with some bits turned round
        return key != NO_KEY;
    }

    // Sum of what rests at a price.
    uint64_t depth(uint32_t instrument, unsigned side, int32_t price) {
        Ladder &ladder = books_[instrument].ladders[side];
        uint64_t sum = 0;
        if (ladder.holds(key_of(side, price)))
            for (uint32_t at = ladder[key_of(side, price)].head; at != NONE; at = orders_[at].next)
                sum += orders_[at].quantity;
        return sum;
    }

    void prefetch(uint32_t handle) const {
        if (handle < geometry_.orders)
            __builtin_prefetch(&orders_[handle]);
    }

  protected:
    // For `reason`, else for what the gate says.
    __attribute__((noinline)) void reject(const hawse_command &c, uint8_t reason) {
        if constexpr (Gated) {
            if (!reason)
                reason = judgement_.reason;
            if (judgement_.drew)
                gate_->refused(c);
        }
        out().report(rules::with_side(HAWSE_KIND_REJECTED, rules::side_of(c.flags)), reason, c.instrument, c.handle, 0,
                     c.price, 0, c.seq);
        const bool brought = c.opcode == HAWSE_OPCODE_NEW || c.opcode == HAWSE_OPCODE_LOAD;
        if (brought && c.handle < geometry_.orders && !orders_[c.handle].resting)
            out().ended(c.handle);
    }

  private:
    struct alignas(32) Order {
        uint32_t previous, next;
        uint32_t quantity; // what remains
        int32_t price;
        uint32_t tag;
        uint16_t instrument;
        uint8_t flags; // side and self-trade mode, as in a command
        bool resting;
    };

    // The window: levels from `first` on in the pool, of prices from `base` on.
    struct Book {
        uint32_t first = 0, count = 0;
        int32_t base = 0;
        uint8_t state = HAWSE_INSTRUMENT_STATE_CLOSED;
        uint64_t prices = 0; // from base on, round the end of 32 bits
        Ladder ladders[2]; // by side

        bool inside(int32_t price) const { return uint32_t(price) - uint32_t(base) < prices; }
    };

    // An order that arrives: what its matching needs, in registers.
    struct Taker {
        uint32_t handle, tag, quantity;
        int32_t price;
        uint16_t instrument;
        uint8_t flags;
        uint64_t seq;
    };

    Out &out() { return static_cast<Out &>(*this); }

    // Whether check() finds nothing, asked all at once.
    HAWSE_INLINE bool fits_new(const hawse_command &c) const {
        if ((Gated && judgement_.reason) || c.instrument >= geometry_.instruments || c.handle >= geometry_.orders)
            return false;
        const Book &book = books_[c.instrument];
        return rules::defined(c.flags) & !(c.tag >> geometry_.tag_bits) & (book.state == HAWSE_INSTRUMENT_STATE_OPEN) &
               !orders_[c.handle].resting & (c.quantity != 0) & book.inside(c.price);
    }

    HAWSE_INLINE bool fits_change(const hawse_command &c) const {
        if (c.instrument >= geometry_.instruments || c.handle >= geometry_.orders)
            return false;
        const Order &order = orders_[c.handle];
        return rules::defined(c.flags) & !(c.tag >> geometry_.tag_bits) &
               ((rules::allowed(HAWSE_OPCODE_CANCEL) >> books_[c.instrument].state & 1) != 0) & order.resting &
               (order.instrument == c.instrument);
    }

    HAWSE_INLINE bool fits_replace(const hawse_command &c) const {
        if (!fits_change(c))
            return false;
        const Book &book = books_[c.instrument];
        return !(Gated && judgement_.reason) & (book.state == HAWSE_INSTRUMENT_STATE_OPEN) & names_owner(c) & (c.quantity != 0) &
               book.inside(c.price);
    }

    // Whether a REPLACE draws from whom the order is, and with a gate, on its side.
    HAWSE_INLINE bool names_owner(const hawse_command &c) const {
        const Order &order = orders_[c.handle];
        return (c.tag == order.tag) & (!Gated | (rules::side_of(c.flags) == rules::side_of(order.flags)));
    }

    HAWSE_INLINE void give_back([[maybe_unused]] uint32_t tag, [[maybe_unused]] uint32_t instrument,
                                [[maybe_unused]] unsigned side, [[maybe_unused]] uint64_t quantity,
                                [[maybe_unused]] bool ended, [[maybe_unused]] bool credit) {
        if constexpr (Gated)
            gate_->give_back(tag, instrument, side, quantity, ended, credit);
    }

    HAWSE_INLINE void give_back(const Order &order, uint64_t quantity, bool ended, bool credit) {
        give_back(order.tag, order.instrument, rules::side_of(order.flags), quantity, ended, credit);
    }

    uint8_t check(const hawse_command &c);
    bool grants(const hawse_command &c) const;
    void carry_out(const hawse_command &c);
    void mass_cancel(const hawse_command &c);
    void set_state(const hawse_command &c);
    void dump(uint16_t instrument);
    __attribute__((noinline)) void match_crossed(Ladder &makers, uint64_t limit, Taker &taker);
    bool can_fill(Book &book, const Taker &taker);

    HAWSE_INLINE void match(Book &book, Taker &taker) {
        const unsigned other = 1 - rules::side_of(taker.flags);
        const uint64_t limit = key_of(other, taker.price);
        if (book.ladders[other].best() <= limit)
            match_crossed(book.ladders[other], limit, taker);
    }

    // Rest what remains of an order, if anything, at the tail of its level.
    HAWSE_INLINE void rest(Book &book, const Taker &taker) {
        if (!taker.quantity)
            return out().ended(taker.handle);
        const unsigned side = rules::side_of(taker.flags);
        const uint32_t last = book.ladders[side].append(key_of(side, taker.price), taker.handle);
        if (last != NONE)
            orders_[last].next = taker.handle;
        orders_[taker.handle] = {last,      NONE,
                                 taker.quantity, taker.price,
                                 taker.tag, taker.instrument,
                                 uint8_t(taker.flags & rules::RESTING_FLAGS), true};
        resting_[taker.handle >> 6] |= uint64_t(1) << (taker.handle & 63);
        ++resting_count_;
        if (taker.handle >= handles_)
            handles_ = taker.handle + 1;
    }

    HAWSE_INLINE void unlink(uint32_t handle) {
        Order &order = orders_[handle];
        const unsigned side = rules::side_of(order.flags);
        Ladder &ladder = books_[order.instrument].ladders[side];
        const uint32_t key = key_of(side, order.price);
        if (order.previous == NONE && order.next == NONE) {
            ladder.vacate(key);
        } else {
            (order.previous == NONE ? ladder[key].head : orders_[order.previous].next) = order.next;
            (order.next == NONE ? ladder[key].tail : orders_[order.next].previous) = order.previous;
        }
        order.resting = false;
        --resting_count_;
        resting_[handle >> 6] &= ~(uint64_t(1) << (handle & 63));
    }

    Geometry geometry_;
    bool no_band_;
    std::unique_ptr<Gate> gate_; // if there is one
    Gate::Judgement judgement_;  // of the command at work
    Levels levels_[2]; // by side, a better price first: asks from the pool's first level on, bids from its last one back
    std::vector<Book> books_;
    Zeroed<Order> orders_;
    Zeroed<uint64_t> resting_; // by handle
    uint32_t resting_count_ = 0;
    uint32_t handles_ = 0;     // none of those from here on ever rested
};

// The first reason to reject a command, in the order of the rules; zero if there is none.
template <class Out, bool Gated> uint8_t Matching<Out, Gated>::check(const hawse_command &c) {
    const bool limits = Gated && c.opcode == HAWSE_OPCODE_LIMIT;
    if (c.opcode == 0 || (c.opcode >= HAWSE_OPCODE_RECENTRE && !limits) || rules::self_trade(c.flags) == 3 ||
        (c.opcode == HAWSE_OPCODE_STATE && c.quantity > HAWSE_INSTRUMENT_STATE_LOADING))
        return HAWSE_REASON_OPCODE;
    if (rules::sequence_class(c.flags) > HAWSE_SEQUENCE_CLASS_OPERATOR)
        return HAWSE_REASON_CLASS;
    if (c.tag >> geometry_.tag_bits)
        return HAWSE_REASON_TAG;
    if (c.instrument >= geometry_.instruments)
        return c.opcode == HAWSE_OPCODE_MASS_CANCEL && c.instrument == HAWSE_ALL_INSTRUMENTS ? 0
                                                                                              : HAWSE_REASON_INSTRUMENT;
    Book &book = books_[c.instrument];
    if (!(rules::allowed(c.opcode) & rules::bit(book.state)))
        return HAWSE_REASON_STATE;
    const Order *resting = nullptr;
    switch (c.opcode) {
    case HAWSE_OPCODE_NEW:
    case HAWSE_OPCODE_LOAD:
        if (c.handle >= geometry_.orders)
            return HAWSE_REASON_HANDLE;
        if (orders_[c.handle].resting)
            return HAWSE_REASON_DUPLICATE;
        break;
    case HAWSE_OPCODE_CANCEL:
    case HAWSE_OPCODE_REPLACE:
    case HAWSE_OPCODE_REDUCE:
        if (c.handle >= geometry_.orders)
            return c.handle == HAWSE_NULL_HANDLE ? HAWSE_REASON_NOT_RESTING : HAWSE_REASON_HANDLE;
        resting = &orders_[c.handle];
        if (!resting->resting || resting->instrument != c.instrument)
            return HAWSE_REASON_NOT_RESTING;
        if (c.opcode == HAWSE_OPCODE_CANCEL)
            return 0;
        if (c.opcode == HAWSE_OPCODE_REPLACE && !names_owner(c))
            return HAWSE_REASON_OWNER;
        break;
    case HAWSE_OPCODE_STATE:
        return c.quantity != HAWSE_INSTRUMENT_STATE_LOADING || grants(c) ? 0 : HAWSE_REASON_WINDOW;
    case HAWSE_OPCODE_LIMIT:
        if (c.handle == HAWSE_LIMIT_RATE && book.state != HAWSE_INSTRUMENT_STATE_LOADING)
            return HAWSE_REASON_STATE;
        return Gate::check_limit(c);
    default:
        return 0;
    }
    if (!c.quantity)
        return HAWSE_REASON_QUANTITY;
    if (c.opcode == HAWSE_OPCODE_REDUCE)
        return c.quantity >= resting->quantity ? HAWSE_REASON_QUANTITY : 0;
    if (!book.inside(c.price))
        return HAWSE_REASON_PRICE;
    const unsigned other = 1 - rules::side_of(c.flags);
    if (c.opcode == HAWSE_OPCODE_LOAD && book.ladders[other].holds(key_of(other, c.price)))
        return HAWSE_REASON_PRICE;
    return 0;
}

// Whether the instrument may have the window that STATE(loading) names, or no band.
template <class Out, bool Gated> bool Matching<Out, Gated>::grants(const hawse_command &c) const {
    const uint64_t first = c.handle, count = c.token, end = first + count;
    if (no_band_ && !count)
        return true;
    if (count < HAWSE_LEAST_WINDOW || (count & (count - 1)) || (first & (count - 1)) || end > geometry_.pool ||
        c.price > (int64_t(1) << 31) - int64_t(count))
        return false;
    for (uint32_t i = 0; i < geometry_.instruments; ++i)
        if (i != c.instrument && first < books_[i].first + books_[i].count && books_[i].first < end)
            return false;
    return true;
}

template <class Out, bool Gated> void Matching<Out, Gated>::carry_out(const hawse_command &c) {
    if (const uint8_t reason = check(c))
        return reject(c, reason);
    switch (c.opcode) {
    case HAWSE_OPCODE_REDUCE: {
        Order &order = orders_[c.handle];
        give_back(order, order.quantity - c.quantity, false, true);
        order.quantity = c.quantity;
        return out().report(rules::with_side(HAWSE_KIND_REPLACED, rules::side_of(order.flags)), 0, order.instrument,
                            c.handle, 0, order.price, order.quantity, c.seq);
    }
    case HAWSE_OPCODE_MASS_CANCEL:
        return mass_cancel(c);
    case HAWSE_OPCODE_STATE:
        return set_state(c);
    case HAWSE_OPCODE_LOAD:
        return rest(books_[c.instrument],
                    Taker{c.handle, c.tag, c.quantity, c.price, c.instrument, c.flags, c.seq});
    case HAWSE_OPCODE_DUMP:
        return dump(c.instrument);
    case HAWSE_OPCODE_LIMIT:
        if constexpr (Gated)
            gate_->limit(c);
        return out().report(HAWSE_KIND_ACK, 0, c.instrument, c.handle, c.tag, int32_t(c.quantity), c.token, c.seq);
    }
}

template <class Out, bool Gated> void Matching<Out, Gated>::match_crossed(Ladder &makers, uint64_t limit, Taker &taker) {
    const unsigned side = rules::side_of(taker.flags), mode = rules::self_trade(taker.flags);
    while (taker.quantity && makers.best() <= limit) {
        const uint32_t handle = makers[uint32_t(makers.best())].head;
        Order &maker = orders_[handle];
        if (taker.tag && maker.tag == taker.tag) {
            if (mode != HAWSE_SELF_TRADE_CANCEL_NEWEST) {
                unlink(handle);
                give_back(maker, maker.quantity, true, true);
                out().report(rules::with_side(HAWSE_KIND_CANCELLED, 1 - side), HAWSE_REASON_SELF, taker.instrument,
                             handle, 0, maker.price, maker.quantity, taker.seq);
                out().ended(handle);
            }
            if (mode != HAWSE_SELF_TRADE_CANCEL_OLDEST) {
                give_back(taker.tag, taker.instrument, side, taker.quantity, true, true);
                out().report(rules::with_side(HAWSE_KIND_CANCELLED, side), HAWSE_REASON_SELF, taker.instrument,
                             taker.handle, 0, taker.price, taker.quantity, taker.seq);
                taker.quantity = 0;
            }
            continue;
        }
        const uint32_t quantity = std::min(taker.quantity, maker.quantity);
        taker.quantity -= quantity;
        maker.quantity -= quantity;
        const bool done = !maker.quantity;
        if (done)
            unlink(handle);
        give_back(maker, quantity, done, false);
        give_back(taker.tag, taker.instrument, side, quantity, !taker.quantity, false);
        out().report(uint8_t(rules::with_side(HAWSE_KIND_TRADE, side) | (done ? rules::MAKER_DONE : 0)), 0,
                     taker.instrument, taker.handle, handle, maker.price, quantity, taker.seq);
        if (done)
            out().ended(handle);
    }
}

// Whether a fill-or-kill could trade all of its quantity within its limit.
template <class Out, bool Gated> bool Matching<Out, Gated>::can_fill(Book &book, const Taker &taker) {
    const unsigned other = 1 - rules::side_of(taker.flags);
    Ladder &makers = book.ladders[other];
    const uint64_t limit = key_of(other, taker.price);
    uint64_t missing = taker.quantity;
    for (uint64_t key = makers.best(); key <= limit; key = makers.after(uint32_t(key)))
        for (uint32_t handle = makers[uint32_t(key)].head; handle != NONE; handle = orders_[handle].next) {
            const Order &maker = orders_[handle];
            if (taker.tag && maker.tag == taker.tag) {
                if (rules::self_trade(taker.flags) == HAWSE_SELF_TRADE_CANCEL_OLDEST)
                    continue;
                return false;
            }
            if (maker.quantity >= missing)
                return true;
            missing -= maker.quantity;
        }
    return false;
}

template <class Out, bool Gated> void Matching<Out, Gated>::mass_cancel(const hawse_command &c) {
    uint32_t count = 0;
    for (uint32_t i = 0; i << 6 < handles_; ++i)
        for (uint64_t word = resting_[i]; word; word &= word - 1) {
            const uint32_t handle = i << 6 | uint32_t(__builtin_ctzll(word));
            const Order &order = orders_[handle];
            if ((c.tag && order.tag != c.tag) ||
                (c.instrument != HAWSE_ALL_INSTRUMENTS && order.instrument != c.instrument) ||
                !(rules::allowed(c.opcode) & rules::bit(books_[order.instrument].state)))
                continue;
            unlink(handle);
            give_back(order, order.quantity, true, true);
            out().report(rules::with_side(HAWSE_KIND_CANCELLED, rules::side_of(order.flags)), HAWSE_REASON_MASS,
                         order.instrument, handle, 0, order.price, order.quantity, c.seq);
            out().ended(handle);
            ++count;
        }
    out().report(HAWSE_KIND_ACK, 0, c.instrument, 0, 0, 0, count, c.seq);
}

template <class Out, bool Gated> void Matching<Out, Gated>::set_state(const hawse_command &c) {
    Book &book = books_[c.instrument];
    book.state = uint8_t(c.quantity);
    if (book.state == HAWSE_INSTRUMENT_STATE_LOADING) {
        for (Ladder &ladder : book.ladders)
            while (!ladder.empty()) {
                const uint32_t handle = ladder[uint32_t(ladder.best())].head;
                unlink(handle);
                give_back(orders_[handle], orders_[handle].quantity, true, false);
                out().ended(handle);
            }
        const bool band = c.token != 0;
        book.first = band ? c.handle : 0;
        book.count = c.token;
        book.base = band ? c.price : 0;
        book.prices = band ? c.token : NO_KEY;
        const int32_t last = int32_t(uint32_t(c.price) + (c.token - 1));
        if (band) {
            book.ladders[HAWSE_SIDE_BUY].take(levels_[HAWSE_SIDE_BUY], geometry_.pool - book.first - book.count,
                                              book.count, key_of(HAWSE_SIDE_BUY, last));
            book.ladders[HAWSE_SIDE_SELL].take(levels_[HAWSE_SIDE_SELL], book.first, book.count,
                                               key_of(HAWSE_SIDE_SELL, c.price));
        } else {
            for (Ladder &ladder : book.ladders)
                ladder.take_any();
        }
    }
    out().report(HAWSE_KIND_ACK, 0, c.instrument, book.first, book.count, book.base, c.quantity, c.seq);
}

template <class Out, bool Gated> void Matching<Out, Gated>::dump(uint16_t instrument) {
    for (unsigned side : {HAWSE_SIDE_BUY, HAWSE_SIDE_SELL}) {
        Ladder &ladder = books_[instrument].ladders[side];
        for (uint64_t key = ladder.best(); key != NO_KEY; key = ladder.after(uint32_t(key)))
            for (uint32_t handle = ladder[uint32_t(key)].head; handle != NONE; handle = orders_[handle].next) {
                const Order &order = orders_[handle];
                hawse_resting resting{};
                resting.kind = HAWSE_KIND_RESTING;
                resting.flags = order.flags;
                resting.instrument = instrument;
                resting.handle = handle;
                resting.tag = order.tag;
                resting.price = order.price;
                resting.quantity = order.quantity;
                out().resting(resting);
            }
    }
}

} // namespace hawse
