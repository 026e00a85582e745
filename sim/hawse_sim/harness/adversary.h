// Commands made to find faults in the pipeline. The adversary knows what rests, because it reads the reports, and aims
// at what has just been touched, at the best orders, at the edges of the band, at the last free handle and at the
// neighbours' windows.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

#include "hawse_wire.h"
#include "wire.hpp"

namespace hawse {

// What a flow is mostly made of. Chances are in 1,024.
struct Mix {
    const char* name;
    unsigned weights[12];  // by opcode; the first is that of undefined ones
    unsigned recent;       // a handle or a price touched by one of the last 12 commands
    unsigned best;         // of those that name an order: one at the best level
    unsigned crossing;     // of those that bring one: aimed at the best level of the other side
    unsigned edge;         // a price at an edge of the band
    unsigned hostile;      // an undefined or extreme field
    unsigned fill;         // of all handles that shall be taken
    unsigned reach;        // levels from the middle within which most prices stay; 0: the whole band
};

// Weights: undefined, NEW, CANCEL, REPLACE, REDUCE, MASS_CANCEL, STATE, FENCE, CLOSE, LOAD, DUMP, HELLO.
constexpr Mix MIXES[] = {
    {"everything", {10, 500, 200, 100, 80, 10, 10, 20, 5, 20, 5, 5}, 300, 150, 200, 80, 60, 512, 5},
    {"same order", {1, 400, 300, 200, 150, 1, 1, 2, 1, 0, 1, 1}, 850, 50, 150, 5, 10, 300, 3},
    {"same level", {1, 500, 300, 120, 80, 1, 1, 2, 1, 1, 1, 1}, 350, 350, 100, 5, 5, 400, 1},
    {"sweeps", {1, 700, 80, 80, 20, 2, 1, 2, 1, 0, 1, 1}, 60, 100, 350, 5, 10, 600, 12},
    {"emptying", {1, 500, 400, 80, 20, 1, 1, 2, 1, 0, 1, 1}, 250, 700, 250, 5, 5, 60, 6},
    {"full store", {1, 700, 200, 80, 40, 1, 1, 2, 1, 0, 1, 1}, 200, 200, 60, 10, 10, 1024, 30},
    {"sparse", {1, 500, 300, 150, 30, 1, 2, 2, 1, 2, 1, 1}, 150, 500, 250, 150, 10, 120, 0},
    {"rare", {40, 400, 100, 60, 60, 40, 30, 30, 15, 100, 15, 20}, 250, 100, 150, 60, 150, 400, 5},
    {"windows", {2, 500, 150, 120, 60, 5, 60, 5, 2, 100, 5, 2}, 200, 200, 150, 150, 30, 400, 0},
};

// Whether a report of this kind is followed by a second beat, of any content.
inline bool two_beats(unsigned kind) {
    return kind == HAWSE_KIND_FENCE || kind == HAWSE_KIND_BATCH || kind == HAWSE_KIND_HELLO;
}

class Random {
  public:
    explicit Random(uint64_t seed = 0) : state_(seed * 0x9E3779B97F4A7C15ull + 0x1234567) { (*this)(); }

    uint64_t operator()() {  // splitmix64
        uint64_t z = state_ += 0x9E3779B97F4A7C15ull;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ z >> 27) * 0x94D049BB133111EBull;
        return z ^ z >> 31;
    }
    uint32_t below(uint32_t n) { return uint32_t(((*this)() >> 32) * n >> 32); }
    bool chance(unsigned of_1024) { return below(1024) < of_1024; }
    template <class T, size_t N> T pick(const T (&choices)[N]) { return choices[below(N)]; }

  private:
    uint64_t state_;
};

// How often what was tried; numbers of commands but for `kind` and `reason`, which count reports.
struct Coverage {
    static constexpr unsigned DISTANCES = 12;
    uint64_t opcode[16];         // 0: undefined
    uint64_t kind[16];           // of reports
    uint64_t reason[64];         // of CANCELLED and REJECTED
    uint64_t time_in_force[4];   // of NEWs that were not rejected
    uint64_t self_trade[3];      // by mode: a taker met its own tag
    uint64_t fills[17];          // a command with so many trades, the last: 16 or more
    uint64_t prices[9];          // a command that traded at so many prices, the last: 8 or more
    uint64_t edge[4];            // a price one below the band, the first in it, the last in it, one above
    uint64_t full_store;         // arrived when no handle was free
    uint64_t empty_side;         // arrived when nothing rested on the other side
    // A STATE(loading) of an instrument with resting orders: the window was kept, moved, shrunk, grown; or it was
    // refused for its count, its alignment, the end of the pool, its base, another's window.
    uint64_t window[9];
    // Two accepted commands, so many commands apart (less one), on the same order, at the same level, at a neighbouring
    // level, of the opcodes NEW, CANCEL, REPLACE, REDUCE (less one), the earlier first.
    uint64_t hazard[3][DISTANCES][4][4];
};

class Adversary {
  public:
    static constexpr uint32_t NOBODY = 0xFFFFFFFF;

    Adversary(const Geometry& geometry, const Mix& mix, uint64_t seed)
        : geometry_(geometry), mix_(mix), random_(seed), orders_(geometry.orders), books_(geometry.instruments) {
        for (unsigned weight : mix.weights) all_weights_ += weight;
    }

    hawse_command next() {
        if (opened_ < 2 * geometry_.instruments) return opening();
        hawse_command c{};
        c.opcode = opcode();
        c.token = uint32_t(random_());
        c.seq = random_();
        c.flags = uint8_t(random_.below(2) | random_.pick({0, 0, 0, 0, 0, 1, 1, 2, 2, 3}) << 1 | random_.below(3) << 3);
        if (random_.chance(100)) c.flags |= uint8_t(random_.below(5) << 5);
        c.tag = random_.below(std::min(4u, 1u << geometry_.tag_bits));
        c.instrument = uint16_t(random_.chance(768) ? 0 : random_.below(geometry_.instruments));  // one is hot
        const Recent& recent = recent_[(count_ - 1 - random_.below(12)) % RING];
        const bool near = random_.chance(mix_.recent) && recent.instrument < geometry_.instruments;
        if (near) c.instrument = recent.instrument;
        const uint32_t state = books_[c.instrument].state;
        const bool opens = state != OPEN && random_.chance(200);
        if (state == HAWSE_INSTRUMENT_STATE_LOADING && random_.chance(600)) c.opcode = HAWSE_OPCODE_LOAD;
        if (opens) c.opcode = HAWSE_OPCODE_STATE;
        switch (c.opcode) {
            case HAWSE_OPCODE_CANCEL:
            case HAWSE_OPCODE_REPLACE:
            case HAWSE_OPCODE_REDUCE:
                c.handle = near ? recent.handle : resting(c.instrument);
                if (c.handle < geometry_.orders && orders_[c.handle].live && !random_.chance(8)) {
                    c.instrument = orders_[c.handle].instrument;
                    c.flags = uint8_t((c.flags & ~1) | orders_[c.handle].side);
                    if (!random_.chance(30)) c.tag = orders_[c.handle].tag;
                }
                break;
            default: {
                const bool taken = recent.handle < geometry_.orders && orders_[recent.handle].live;
                c.handle = near && !(taken && random_.chance(768)) ? recent.handle : vacant();
            }
        }
        const Order* order = c.handle < geometry_.orders ? &orders_[c.handle] : nullptr;
        uint32_t maker = NOBODY;
        c.price = near && random_.chance(768) ? int32_t(uint32_t(recent.price) + random_.pick({0, 0, 0, 0, 1, -1}))
                                              : price(c, maker);
        c.quantity = 1 + random_.below(random_.chance(900) ? 8 : 100);
        if (maker != NOBODY && random_.chance(400)) c.quantity = orders_[maker].quantity + random_.below(2);
        if (maker != NOBODY && random_.chance(200)) c.quantity = 10 + random_.below(90);
        if (c.opcode == HAWSE_OPCODE_REDUCE && order && order->live)
            c.quantity = random_.chance(900) ? random_.below(order->quantity + 1) : order->quantity + 1;
        if (c.opcode == HAWSE_OPCODE_MASS_CANCEL && random_.chance(300)) c.instrument = HAWSE_ALL_INSTRUMENTS;
        if (c.opcode == HAWSE_OPCODE_STATE) {
            c.quantity = opens ? OPEN : random_.pick({1, 1, 1, 1, 0, 2, 3, 3});
            window(c);
        }
        if (random_.chance(mix_.hostile)) spoil(c);
        return c;
    }

    // What the engine answered to `c`, the beats of which may follow second beats of digests.
    void heard(const hawse_command& c, const Beat* beats, size_t n, Coverage& coverage) {
        cover(c, beats, n, coverage);
        bool hash = false;
        for (size_t i = 0; i < n; ++i) {
            if (hash) {
                hash = false;
                continue;
            }
            hawse_report report;
            std::memcpy(&report, &beats[i], sizeof report);
            const unsigned kind = report.kind & 15;
            hash = two_beats(kind);
            if (kind == HAWSE_KIND_REJECTED) break;
            if (kind == HAWSE_KIND_ACK && c.opcode == HAWSE_OPCODE_NEW) enter(c);
            if (kind == HAWSE_KIND_REPLACED) {
                orders_[c.handle].price = report.price;
                orders_[c.handle].quantity = report.quantity;
            }
            if (kind == HAWSE_KIND_CANCELLED) leave(report.handle);
            if (kind == HAWSE_KIND_TRADE)
                for (uint32_t handle : {report.handle, report.maker})
                    if (!(orders_[handle].quantity -= report.quantity)) leave(handle);
            if (kind == HAWSE_KIND_ACK && c.opcode == HAWSE_OPCODE_STATE) {
                Book& book = books_[c.instrument];
                book.first = report.handle;
                book.count = report.maker;
                book.base = report.price;
                book.state = uint8_t(report.quantity);
                book.middle = book.count / 2;
                if (book.state == HAWSE_INSTRUMENT_STATE_LOADING)
                    for (uint32_t handle = 0; handle < geometry_.orders; ++handle)
                        if (orders_[handle].instrument == c.instrument) leave(handle);
            }
        }
        if (c.opcode == HAWSE_OPCODE_LOAD && !n) enter(c);
    }

  private:
    static constexpr unsigned RING = 16;
    static constexpr int DRIFT = 64;
    static constexpr uint32_t OPEN = HAWSE_INSTRUMENT_STATE_OPEN;
    static constexpr uint32_t LEAST = HAWSE_LEAST_WINDOW;

    struct Order {
        bool live = false;
        uint8_t side = 0;
        uint16_t instrument = 0;
        uint32_t tag = 0, quantity = 0;
        int32_t price = 0;
    };
    struct Book {
        uint32_t first = 0, count = 0;
        int32_t base = 0;
        uint8_t state = 0;
        uint32_t middle = 0;
    };
    struct Recent {
        uint32_t handle;
        int32_t price;
        uint16_t instrument;
        uint8_t opcode;
        bool accepted;
    };

    // Where an instrument's band moves about: zero, and both ends of what a price can be.
    static int32_t home(unsigned instrument, uint32_t count) {
        switch (instrument % 3) {
            case 1: return int32_t(last_base(count) - DRIFT);
            case 2: return INT32_MIN + DRIFT;
            default: return 0;
        }
    }
    static int64_t last_base(uint32_t count) { return (int64_t(1) << 31) - count; }

    // The window that an instrument begins with: half of what is left of the pool, or equal parts.
    void own_window(hawse_command& c) const {
        const uint32_t pool = geometry_.pool;
        if (geometry_.instruments < 16 && pool >> geometry_.instruments >= LEAST) {
            c.token = pool >> (c.instrument + 1);
            c.handle = pool - (pool >> c.instrument);
            return;
        }
        c.token = pool;
        while (c.token > LEAST && uint64_t(c.token) * geometry_.instruments > pool) c.token /= 2;
        c.handle = c.instrument * c.token;
    }

    // A window and a base for STATE(loading): the present one, another near it in size or place, or one that cannot be.
    void window(hawse_command& c) {
        const Book& book = books_[c.instrument];
        c.handle = book.first;
        c.token = book.count;
        switch (random_.below(14)) {
            case 0:
            case 1:
                if (book.count <= LEAST) break;
                c.token = book.count / 2;
                c.handle += random_.below(2) * c.token;
                break;
            case 2:
            case 3:
                c.token = 2 * book.count;
                c.handle &= ~(c.token - 1);
                break;
            case 4: c.handle = random_.below(geometry_.pool) & ~(book.count - 1); break;
            case 5:
                c.token = LEAST;
                c.handle = random_.below(geometry_.pool) & ~(LEAST - 1);
                break;
            case 6:
                for (c.token = LEAST; c.token < geometry_.pool && random_.below(2);) c.token *= 2;
                c.handle = random_.below(geometry_.pool) & ~(c.token - 1);
                break;
            case 7:
            case 8: own_window(c); break;
            case 9: c.token = random_.pick({0u, 1u, 32u, 63u, 65u, 96u, c.token + 1, 2 * geometry_.pool, 1u << 31}); break;
            case 10: c.handle += random_.pick({1u, 32u, c.token / 2}); break;
            case 11: c.handle = random_.pick({geometry_.pool, 2 * geometry_.pool, 0u - c.token, 1u << 31}); break;
            default: break;
        }
        c.price = int32_t(uint32_t(home(c.instrument, c.token)) + uint32_t(random_.pick({0, 0, -DRIFT, DRIFT - 1, DRIFT, -3})));
        if (c.token > 1 && random_.chance(60)) c.price = random_.pick({int32_t(last_base(c.token) + 1), INT32_MAX});
    }

    hawse_command opening() {
        hawse_command c{};
        c.opcode = HAWSE_OPCODE_STATE;
        c.instrument = uint16_t(opened_ / 2);
        c.quantity = opened_++ % 2 ? OPEN : uint32_t(HAWSE_INSTRUMENT_STATE_LOADING);
        own_window(c);
        c.price = home(c.instrument, c.token);
        return c;
    }

    uint8_t opcode() {
        uint32_t at = random_.below(all_weights_);
        uint8_t opcode = 0;
        while (at >= mix_.weights[opcode]) at -= mix_.weights[opcode++];
        if (!opcode) return random_.pick<uint8_t>({0, 12, 13, 16, 64 + 1, 128 + 1, 255});
        const bool many = live_ * 1024 > uint64_t(mix_.fill) * geometry_.orders;
        if (many && opcode == HAWSE_OPCODE_NEW && random_.chance(400)) return HAWSE_OPCODE_CANCEL;
        if (!many && opcode == HAWSE_OPCODE_CANCEL && random_.chance(500)) return HAWSE_OPCODE_NEW;
        return opcode;
    }

    uint32_t any(uint32_t from, bool live) const {
        for (uint32_t i = 0; i < geometry_.orders; ++i) {
            const uint32_t handle = (from + i) & (geometry_.orders - 1);
            if (orders_[handle].live == live) return handle;
        }
        return from;
    }
    uint32_t vacant() { return any(random_.below(geometry_.orders), false); }
    uint32_t resting(unsigned instrument) {
        if (random_.chance(mix_.best)) {
            const uint32_t handle = best(instrument, random_.below(2));
            if (handle != NOBODY) return handle;
        }
        return any(random_.below(geometry_.orders), true);
    }

    // An order at the best level, any of them.
    uint32_t best(unsigned instrument, unsigned side) {
        const uint32_t from = random_.below(geometry_.orders);
        uint32_t found = NOBODY;
        for (uint32_t i = 0; i < geometry_.orders; ++i) {
            const uint32_t handle = (from + i) & (geometry_.orders - 1);
            const Order& order = orders_[handle];
            if (!order.live || order.side != side || order.instrument != instrument) continue;
            if (found == NOBODY || (side ? order.price < orders_[found].price : order.price > orders_[found].price))
                found = handle;
        }
        return found;
    }

    int32_t price(const hawse_command& c, uint32_t& maker) {
        Book& book = books_[c.instrument];
        const unsigned side = c.flags & 1;
        const uint32_t base = uint32_t(book.base);
        if (random_.chance(mix_.edge))
            return int32_t(base + random_.pick({uint32_t(-1), 0u, 1u, book.count - 2, book.count - 1, book.count}));
        const int32_t towards = side ? -1 : 1;  // the other side
        if (random_.chance(mix_.crossing) && (maker = best(c.instrument, 1 - side)) != NOBODY)
            return int32_t(uint32_t(orders_[maker].price) + uint32_t(towards * random_.pick({0, 0, 0, 1, 2, 5, -1, 40})));
        if (!mix_.reach) return int32_t(base + random_.below(book.count));
        if (random_.chance(16)) book.middle = 8 + random_.below(book.count - 16);
        const int32_t away = int32_t(random_.below(mix_.reach + 1)) - int32_t(random_.chance(mix_.crossing) ? mix_.reach : 0);
        return int32_t(base + book.middle - uint32_t(towards * away) + (side ? 1 : 0));
    }

    void spoil(hawse_command& c) {
        switch (random_.below(8)) {
            case 0: c.flags = uint8_t(random_()); break;
            case 1:
                c.instrument = random_.pick<uint16_t>(
                    {uint16_t(geometry_.instruments), HAWSE_ALL_INSTRUMENTS - 1, HAWSE_ALL_INSTRUMENTS});
                break;
            case 2:
                c.handle = random_.pick({geometry_.orders - 1, geometry_.orders, HAWSE_NULL_HANDLE - 1,
                                         HAWSE_NULL_HANDLE, c.handle + geometry_.orders, c.handle | 1u << 31});
                break;
            case 3: c.tag = random_.pick({(1u << geometry_.tag_bits) - random_.below(2), 1u << 31, random_.below(4)}); break;
            case 4: c.quantity = 0; break;
            case 5: c.quantity = random_.pick({0xFFFFFFFFu, 0x80000000u, 4u}); break;
            case 6: c.price = random_.pick({INT32_MIN, INT32_MAX, 0}); break;
            default: c.opcode = uint8_t(1 + random_.below(11)); break;
        }
    }

    void enter(const hawse_command& c) {
        orders_[c.handle] = {true, uint8_t(c.flags & 1), c.instrument, c.tag, c.quantity, c.price};
        ++live_;
    }
    void leave(uint32_t handle) {
        live_ -= orders_[handle].live;
        orders_[handle].live = false;
    }

    // What a STATE(loading) asks for, as Coverage::window counts it.
    unsigned asked(const hawse_command& c) const {
        const Book& own = books_[c.instrument];
        const uint64_t first = c.handle, count = c.token;
        if (count < LEAST || (count & (count - 1))) return 4;
        if (first & (count - 1)) return 5;
        if (first + count > geometry_.pool) return 6;
        if (c.price > last_base(c.token)) return 7;
        for (const Book& book : books_)
            if (&book != &own && first < book.first + book.count && book.first < first + count) return 8;
        return count < own.count ? 2 : count > own.count ? 3 : first != own.first;
    }

    bool rests(unsigned instrument) const {
        return std::any_of(orders_.begin(), orders_.end(),
                           [=](const Order& order) { return order.live && order.instrument == instrument; });
    }

    void cover(const hawse_command& c, const Beat* beats, size_t n, Coverage& coverage) {
        const bool defined = c.opcode && c.opcode < HAWSE_OPCODE_RECENTRE;
        ++coverage.opcode[defined ? c.opcode : 0];
        bool hash = false, accepted = true;
        unsigned fills = 0, prices = 0;
        int32_t last = 0;
        for (size_t i = 0; i < n; ++i) {
            if (hash) {
                hash = false;
                continue;
            }
            hawse_report report;
            std::memcpy(&report, &beats[i], sizeof report);
            const unsigned kind = report.kind & 15;
            ++coverage.kind[kind];
            hash = two_beats(kind);
            if (kind == HAWSE_KIND_CANCELLED || kind == HAWSE_KIND_REJECTED) ++coverage.reason[report.reason & 63];
            if (kind == HAWSE_KIND_REJECTED) accepted = false;
            if (kind == HAWSE_KIND_CANCELLED && report.reason == HAWSE_REASON_SELF) ++coverage.self_trade[c.flags >> 3 & 3];
            if (kind == HAWSE_KIND_TRADE) {
                prices += !fills++ || report.price != last;
                last = report.price;
            }
            const bool judged = kind == HAWSE_KIND_ACK || report.reason == HAWSE_REASON_WINDOW;
            if (c.opcode == HAWSE_OPCODE_STATE && c.quantity == HAWSE_INSTRUMENT_STATE_LOADING && judged && rests(c.instrument))
                ++coverage.window[asked(c)];
        }
        const bool moves = c.opcode >= HAWSE_OPCODE_NEW && c.opcode <= HAWSE_OPCODE_REDUCE;
        const bool arrives = c.opcode == HAWSE_OPCODE_NEW || c.opcode == HAWSE_OPCODE_REPLACE;
        int32_t price = c.price;
        if (accepted && (c.opcode == HAWSE_OPCODE_CANCEL || c.opcode == HAWSE_OPCODE_REDUCE))
            price = orders_[c.handle].price;
        if (arrives) {
            if (c.instrument < geometry_.instruments) {
                const Book& book = books_[c.instrument];
                const int64_t level = int64_t(c.price) - book.base;
                const int64_t edges[] = {-1, 0, int64_t(book.count) - 1, book.count};
                for (unsigned i = 0; i < 4; ++i) coverage.edge[i] += level == edges[i];
            }
            coverage.full_store += live_ == geometry_.orders;
        }
        if (accepted && arrives) {
            ++coverage.fills[std::min(fills, 16u)];
            ++coverage.prices[std::min(prices, 8u)];
            if (c.opcode == HAWSE_OPCODE_NEW) ++coverage.time_in_force[c.flags >> 1 & 3];
            coverage.empty_side += best(c.instrument, 1 - (c.flags & 1)) == NOBODY;
        }
        if (accepted && moves)
            for (unsigned d = 1; d <= std::min<uint64_t>(Coverage::DISTANCES, count_); ++d) {
                const Recent& r = recent_[(count_ - d) % RING];
                if (!r.accepted || r.instrument != c.instrument) continue;
                const int64_t apart = int64_t(price) - r.price;
                const unsigned before = r.opcode - 1, now = c.opcode - 1;
                coverage.hazard[0][d - 1][before][now] += r.handle == c.handle;
                coverage.hazard[1][d - 1][before][now] += apart == 0;
                coverage.hazard[2][d - 1][before][now] += apart == 1 || apart == -1;
            }
        recent_[count_++ % RING] = {c.handle, price, c.instrument, c.opcode, accepted && moves};
    }

    Geometry geometry_;
    Mix mix_;
    Random random_;
    std::vector<Order> orders_;
    std::vector<Book> books_;
    Recent recent_[RING] = {};
    uint64_t count_ = 0, live_ = 0;
    unsigned all_weights_ = 0, opened_ = 0;
};

}  // namespace hawse
