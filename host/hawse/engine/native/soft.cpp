#include "soft.hpp"

#include <algorithm>
#include <cstring>

// What this is made of: hawse.engine.native.build says it to a library that it builds.
#ifndef HAWSE_BUILD_LOW
#define HAWSE_BUILD_LOW 0
#define HAWSE_BUILD_HIGH 0
#endif

namespace hawse {
namespace {

unsigned lowest(uint64_t word) { return unsigned(__builtin_ctzll(word)); }
uint64_t above(uint32_t bit) { return bit == 63 ? 0 : ~uint64_t(0) << (bit + 1); }

unsigned side_of(uint8_t flags) { return flags & 1; }
unsigned time_in_force(uint8_t flags) { return flags >> 1 & 3; }
unsigned self_trade(uint8_t flags) { return flags >> 3 & 3; }
unsigned sequence_class(uint8_t flags) { return flags >> 5; }
uint8_t with_side(unsigned kind, unsigned side) { return uint8_t(kind | side << 4); }

constexpr uint8_t MAKER_DONE = 1 << 5;
constexpr uint8_t RESTING_FLAGS = 1 | 3 << 3;
static_assert(HAWSE_LEAST_WINDOW >= 64, "a word of the bitmap is of one window");
constexpr size_t PREFETCH = 8;

constexpr unsigned bit(unsigned value) { return 1u << value; }

// For each opcode, the set of states in which it is allowed.
unsigned allowed(uint8_t opcode) {
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

} // namespace

Ladder::Ladder(uint32_t levels)
    : queues_(new Level[levels]), words_(levels / 64), summary_((levels / 64 + 63) / 64) {}

void Ladder::clear() {
    std::fill(words_.begin(), words_.end(), 0);
    std::fill(summary_.begin(), summary_.end(), 0);
    top_ = 0;
}

void Ladder::mark(uint32_t level) {
    words_[level >> 6] |= uint64_t(1) << (level & 63);
    summary_[level >> 12] |= uint64_t(1) << (level >> 6 & 63);
    top_ |= uint64_t(1) << (level >> 12);
}

void Ladder::unmark(uint32_t level) {
    if (!(words_[level >> 6] &= ~(uint64_t(1) << (level & 63))))
        if (!(summary_[level >> 12] &= ~(uint64_t(1) << (level >> 6 & 63))))
            top_ &= ~(uint64_t(1) << (level >> 12));
}

uint32_t Ladder::next(uint32_t level) const {
    uint32_t at = level >> 6;
    if (uint64_t word = words_[at] & above(level & 63))
        return at << 6 | lowest(word);
    uint32_t high = at >> 6;
    uint64_t summary = summary_[high] & above(at & 63);
    if (!summary) {
        const uint64_t top = top_ & above(high);
        if (!top)
            return NONE;
        high = lowest(top);
        summary = summary_[high];
    }
    at = high << 6 | lowest(summary);
    return at << 6 | lowest(words_[at]);
}

SoftEngine::SoftEngine(const Geometry &geometry)
    : geometry_(geometry), ladders_{Ladder(geometry.pool), Ladder(geometry.pool)}, books_(geometry.instruments),
      orders_(geometry.orders), resting_(geometry.orders / 64) {
    reset(0);
}

void SoftEngine::reset(uint32_t epoch) {
    for (auto &ladder : ladders_)
        ladder.clear();
    std::fill(books_.begin(), books_.end(), Book{});
    std::fill(orders_.begin(), orders_.end(), Order{});
    std::fill(resting_.begin(), resting_.end(), 0);
    log_.clear();
    out_.clear();
    epoch_ = epoch;
    commands_ = last_seq_ = 0;
}

const std::vector<Beat> &SoftEngine::exchange(const hawse_command *commands, size_t count) {
    out_.clear();
    out_.reserve(2 * count + 64);
    for (size_t i = 0; i < count; ++i) {
        if (i + PREFETCH < count)
            __builtin_prefetch(&orders_[commands[i + PREFETCH].handle & (geometry_.orders - 1)]);
        apply(commands[i]);
        last_seq_ = commands[i].seq;
    }
    return out_;
}

void SoftEngine::apply(const hawse_command &command) {
    switch (command.opcode) {
    case HAWSE_OPCODE_FENCE:
        fence(command);
        break;
    case HAWSE_OPCODE_CLOSE: {
        fence(command);
        hawse_batch batch{};
        batch.kind = HAWSE_KIND_BATCH;
        batch.token = command.token;
        batch.leaves = log_.leaves();
        batch.records = log_.records();
        batch.epoch = epoch_;
        push(batch);
        push(log_.root());
        log_.clear();
        commands_ = 0;
        return;
    }
    case HAWSE_OPCODE_HELLO:
        hello();
        break;
    default:
        if (const uint8_t reason = check(command))
            report(with_side(HAWSE_KIND_REJECTED, side_of(command.flags)), reason, command.instrument, command.handle, 0,
                   command.price, 0, uint32_t(command.seq));
        else
            carry_out(command);
    }
    ++commands_;
}

// The first reason to reject a command, in the order of the rules; zero if there is none.
uint8_t SoftEngine::check(const hawse_command &c) const {
    if (c.opcode == 0 || c.opcode >= HAWSE_OPCODE_RECENTRE || self_trade(c.flags) == 3 ||
        (c.opcode == HAWSE_OPCODE_STATE && c.quantity > HAWSE_INSTRUMENT_STATE_LOADING))
        return HAWSE_REASON_OPCODE;
    if (sequence_class(c.flags) > HAWSE_SEQUENCE_CLASS_OPERATOR)
        return HAWSE_REASON_CLASS;
    if (c.tag >> geometry_.tag_bits)
        return HAWSE_REASON_TAG;
    if (c.instrument >= geometry_.instruments)
        return c.opcode == HAWSE_OPCODE_MASS_CANCEL && c.instrument == HAWSE_ALL_INSTRUMENTS ? 0
                                                                                              : HAWSE_REASON_INSTRUMENT;
    const Book &book = books_[c.instrument];
    if (!(allowed(c.opcode) & bit(book.state)))
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
        if (c.opcode == HAWSE_OPCODE_REPLACE && c.tag != resting->tag)
            return HAWSE_REASON_OWNER;
        break;
    case HAWSE_OPCODE_STATE:
        return c.quantity != HAWSE_INSTRUMENT_STATE_LOADING || grants(c) ? 0 : HAWSE_REASON_WINDOW;
    default:
        return 0;
    }
    if (!c.quantity)
        return HAWSE_REASON_QUANTITY;
    if (c.opcode == HAWSE_OPCODE_REDUCE)
        return c.quantity >= resting->quantity ? HAWSE_REASON_QUANTITY : 0;
    if (uint32_t(c.price) - uint32_t(book.base) >= book.count) // a band ends within 32 bits
        return HAWSE_REASON_PRICE;
    const unsigned other = 1 - side_of(c.flags);
    if (c.opcode == HAWSE_OPCODE_LOAD && ladders_[other].occupied(level_of(book, other, c.price)))
        return HAWSE_REASON_PRICE;
    return 0;
}

// Whether the instrument may have the window that STATE(loading) names.
bool SoftEngine::grants(const hawse_command &c) const {
    const uint64_t first = c.handle, count = c.token, end = first + count;
    if (count < HAWSE_LEAST_WINDOW || (count & (count - 1)) || (first & (count - 1)) || end > geometry_.pool ||
        c.price > (int64_t(1) << 31) - int64_t(count))
        return false;
    for (uint32_t i = 0; i < geometry_.instruments; ++i)
        if (i != c.instrument && first < books_[i].first + books_[i].count && books_[i].first < end)
            return false;
    return true;
}

void SoftEngine::carry_out(const hawse_command &c) {
    const uint32_t seq = uint32_t(c.seq);
    switch (c.opcode) {
    case HAWSE_OPCODE_NEW:
        return arrive(c);
    case HAWSE_OPCODE_CANCEL: {
        unlink(c.handle);
        const Order &order = orders_[c.handle];
        return report(with_side(HAWSE_KIND_CANCELLED, side_of(order.flags)), HAWSE_REASON_COMMAND, order.instrument,
                      c.handle, 0, order.price, order.quantity, seq);
    }
    case HAWSE_OPCODE_REPLACE: {
        unlink(c.handle);
        const Order &order = orders_[c.handle];
        Taker taker{c.handle, order.tag, c.quantity, c.price, order.instrument, order.flags, seq};
        Book &book = books_[order.instrument];
        report(with_side(HAWSE_KIND_REPLACED, side_of(taker.flags)), 0, taker.instrument, taker.handle, 0, taker.price,
               taker.quantity, seq);
        match(book, taker);
        return rest(book, taker);
    }
    case HAWSE_OPCODE_REDUCE: {
        Order &order = orders_[c.handle];
        order.quantity = c.quantity;
        return report(with_side(HAWSE_KIND_REPLACED, side_of(order.flags)), 0, order.instrument, c.handle, 0,
                      order.price, order.quantity, seq);
    }
    case HAWSE_OPCODE_MASS_CANCEL:
        return mass_cancel(c);
    case HAWSE_OPCODE_STATE:
        return set_state(c);
    case HAWSE_OPCODE_LOAD:
        return rest(books_[c.instrument],
                    Taker{c.handle, c.tag, c.quantity, c.price, c.instrument, c.flags, seq});
    case HAWSE_OPCODE_DUMP:
        return dump(c.instrument);
    }
}

void SoftEngine::arrive(const hawse_command &c) {
    Taker taker{c.handle, c.tag, c.quantity, c.price, c.instrument, c.flags, uint32_t(c.seq)};
    Book &book = books_[c.instrument];
    const unsigned side = side_of(c.flags);
    report(with_side(HAWSE_KIND_ACK, side), 0, c.instrument, c.handle, 0, c.price, c.quantity, taker.seq);
    uint8_t reason = 0;
    switch (time_in_force(c.flags)) {
    case HAWSE_TIME_IN_FORCE_GTC:
        match(book, taker);
        break;
    case HAWSE_TIME_IN_FORCE_IOC:
        match(book, taker);
        reason = HAWSE_REASON_IOC;
        break;
    case HAWSE_TIME_IN_FORCE_FOK:
        if (can_fill(book, taker))
            match(book, taker);
        reason = HAWSE_REASON_FOK;
        break;
    case HAWSE_TIME_IN_FORCE_POST_ONLY:
        if (book.best[1 - side] <= level_of(book, 1 - side, c.price))
            reason = HAWSE_REASON_POST_ONLY;
        break;
    }
    if (!reason)
        rest(book, taker);
    else if (taker.quantity)
        report(with_side(HAWSE_KIND_CANCELLED, side), reason, c.instrument, c.handle, 0, c.price, taker.quantity,
               taker.seq);
}

void SoftEngine::match(Book &book, Taker &taker) {
    const unsigned side = side_of(taker.flags), mode = self_trade(taker.flags);
    Ladder &ladder = ladders_[1 - side];
    const uint32_t limit = level_of(book, 1 - side, taker.price), &best = book.best[1 - side];
    while (taker.quantity && best <= limit) {
        const uint32_t handle = ladder[best].head;
        Order &maker = orders_[handle];
        if (taker.tag && maker.tag == taker.tag) {
            if (mode != HAWSE_SELF_TRADE_CANCEL_NEWEST) {
                unlink(handle);
                report(with_side(HAWSE_KIND_CANCELLED, 1 - side), HAWSE_REASON_SELF, taker.instrument, handle, 0,
                       maker.price, maker.quantity, taker.seq);
            }
            if (mode != HAWSE_SELF_TRADE_CANCEL_OLDEST) {
                report(with_side(HAWSE_KIND_CANCELLED, side), HAWSE_REASON_SELF, taker.instrument, taker.handle, 0,
                       taker.price, taker.quantity, taker.seq);
                taker.quantity = 0;
            }
            continue;
        }
        const uint32_t quantity = std::min(taker.quantity, maker.quantity);
        taker.quantity -= quantity;
        maker.quantity -= quantity;
        uint8_t kind = with_side(HAWSE_KIND_TRADE, side);
        if (!maker.quantity) {
            unlink(handle);
            kind |= MAKER_DONE;
        }
        report(kind, 0, taker.instrument, taker.handle, handle, maker.price, quantity, taker.seq);
    }
}

// Whether a fill-or-kill could trade all of its quantity within its limit.
bool SoftEngine::can_fill(Book &book, const Taker &taker) {
    const unsigned side = side_of(taker.flags);
    Ladder &ladder = ladders_[1 - side];
    const uint32_t limit = level_of(book, 1 - side, taker.price), end = book.end[1 - side];
    uint64_t missing = taker.quantity;
    for (uint32_t level = book.best[1 - side]; level <= limit; level = ladder.after(level, end))
        for (uint32_t handle = ladder[level].head; handle != NONE; handle = orders_[handle].next) {
            const Order &maker = orders_[handle];
            if (taker.tag && maker.tag == taker.tag) {
                if (self_trade(taker.flags) == HAWSE_SELF_TRADE_CANCEL_OLDEST)
                    continue;
                return false;
            }
            if (maker.quantity >= missing)
                return true;
            missing -= maker.quantity;
        }
    return false;
}

// The level of `price` in the ladder of `side`; the price is within the band.
uint32_t SoftEngine::level_of(const Book &book, unsigned side, int32_t price) const {
    const uint32_t level = uint32_t(price) + book.offset;
    return side == HAWSE_SIDE_SELL ? level : geometry_.pool - 1 - level;
}

// Rest what remains of an order, if anything, at the tail of its level.
void SoftEngine::rest(Book &book, const Taker &taker) {
    if (!taker.quantity)
        return;
    const unsigned side = side_of(taker.flags);
    Ladder &ladder = ladders_[side];
    const uint32_t level = level_of(book, side, taker.price);
    uint32_t previous = NONE;
    if (ladder.occupied(level)) {
        previous = ladder[level].tail;
        orders_[previous].next = taker.handle;
        ladder[level].tail = taker.handle;
    } else {
        ladder[level] = {taker.handle, taker.handle};
        ladder.mark(level);
        book.best[side] = std::min(book.best[side], level);
    }
    orders_[taker.handle] = {previous,    NONE,      level,            taker.quantity,
                             taker.price, taker.tag, taker.instrument, uint8_t(taker.flags & RESTING_FLAGS),
                             true};
    resting_[taker.handle >> 6] |= uint64_t(1) << (taker.handle & 63);
}

void SoftEngine::unlink(uint32_t handle) {
    Order &order = orders_[handle];
    const unsigned side = side_of(order.flags);
    Ladder &ladder = ladders_[side];
    Ladder::Level &level = ladder[order.level];
    if (order.previous == NONE && order.next == NONE) {
        ladder.unmark(order.level);
        Book &book = books_[order.instrument];
        if (order.level == book.best[side])
            book.best[side] = ladder.after(order.level, book.end[side]);
    } else {
        (order.previous == NONE ? level.head : orders_[order.previous].next) = order.next;
        (order.next == NONE ? level.tail : orders_[order.next].previous) = order.previous;
    }
    order.resting = false;
    resting_[handle >> 6] &= ~(uint64_t(1) << (handle & 63));
}

void SoftEngine::mass_cancel(const hawse_command &c) {
    uint32_t count = 0;
    for (size_t i = 0; i < resting_.size(); ++i)
        for (uint64_t word = resting_[i]; word; word &= word - 1) {
            const uint32_t handle = uint32_t(i << 6 | lowest(word));
            const Order &order = orders_[handle];
            if ((c.tag && order.tag != c.tag) ||
                (c.instrument != HAWSE_ALL_INSTRUMENTS && order.instrument != c.instrument) ||
                !(allowed(c.opcode) & bit(books_[order.instrument].state)))
                continue;
            unlink(handle);
            report(with_side(HAWSE_KIND_CANCELLED, side_of(order.flags)), HAWSE_REASON_MASS, order.instrument, handle, 0,
                   order.price, order.quantity, uint32_t(c.seq));
            ++count;
        }
    report(HAWSE_KIND_ACK, 0, c.instrument, 0, 0, 0, count, uint32_t(c.seq));
}

void SoftEngine::set_state(const hawse_command &c) {
    Book &book = books_[c.instrument];
    book.state = uint8_t(c.quantity);
    if (book.state == HAWSE_INSTRUMENT_STATE_LOADING) {
        for (unsigned side : {HAWSE_SIDE_BUY, HAWSE_SIDE_SELL})
            while (book.best[side] != NONE)
                unlink(ladders_[side][book.best[side]].head);
        book.first = c.handle;
        book.count = c.token;
        book.base = c.price;
        book.offset = book.first - uint32_t(book.base);
        book.end[HAWSE_SIDE_BUY] = geometry_.pool - book.first;
        book.end[HAWSE_SIDE_SELL] = book.first + book.count;
    }
    report(HAWSE_KIND_ACK, 0, c.instrument, book.first, book.count, book.base, c.quantity, uint32_t(c.seq));
}

void SoftEngine::dump(uint16_t instrument) {
    const Book &book = books_[instrument];
    for (unsigned side : {HAWSE_SIDE_BUY, HAWSE_SIDE_SELL}) {
        Ladder &ladder = ladders_[side];
        for (uint32_t level = book.best[side]; level != NONE; level = ladder.after(level, book.end[side]))
            for (uint32_t handle = ladder[level].head; handle != NONE; handle = orders_[handle].next) {
                const Order &order = orders_[handle];
                hawse_resting resting{};
                resting.kind = HAWSE_KIND_RESTING;
                resting.flags = order.flags;
                resting.instrument = instrument;
                resting.handle = handle;
                resting.tag = order.tag;
                resting.price = order.price;
                resting.quantity = order.quantity;
                push(resting);
            }
    }
}

template <class T> void SoftEngine::push(const T &report) {
    static_assert(sizeof(T) == sizeof(Beat), "a report is one beat");
    Beat beat;
    std::memcpy(&beat, &report, sizeof beat);
    out_.push_back(beat);
}

inline void SoftEngine::report(uint8_t kind, uint8_t reason, uint16_t instrument, uint32_t handle, uint32_t maker,
                               int32_t price, uint32_t quantity, uint32_t seq) {
    const hawse_report record{kind, reason, instrument, handle, maker, price, quantity, seq, 0, 0};
    log_.append(&record);
    push(record);
}

void SoftEngine::fence(const hawse_command &c) {
    const Hash digest = log_.fence(epoch_);
    hawse_fence fence{};
    fence.kind = HAWSE_KIND_FENCE;
    fence.token = c.token;
    fence.commands = commands_;
    fence.records = log_.records();
    fence.epoch = epoch_;
    push(fence);
    push(digest);
}

void SoftEngine::hello() {
    hawse_hello hello{};
    hello.kind = HAWSE_KIND_HELLO;
    hello.version = HAWSE_WIRE_VERSION;
    hello.instruments = uint16_t(geometry_.instruments);
    hello.orders = geometry_.orders;
    hello.pool = geometry_.pool;
    hello.tag_bits = uint8_t(geometry_.tag_bits);
    hello.least_window = uint8_t(lowest(HAWSE_LEAST_WINDOW));
    hello.epoch = epoch_;
    hello.last_seq = last_seq_;
    push(hello);
    hawse_build build{};
    build.build_low = HAWSE_BUILD_LOW;
    build.build_high = HAWSE_BUILD_HIGH;
    push(build);
}

} // namespace hawse
