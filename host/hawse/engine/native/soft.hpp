// The software matching engine: price levels with occupancy bitmaps and intrusive queues, all preallocated.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "hawse_wire.h"
#include "reportlog.hpp"
#include "wire.hpp"

namespace hawse {

constexpr uint32_t NONE = 0xFFFFFFFF;

// One side of all books: the pool of price levels, of which each instrument has a window. A level is counted so that a
// better price has a lower one: asks from the pool's first level on, bids from its last one back.
class Ladder {
  public:
    struct Level {
        uint32_t head, tail; // handles; valid only where the bitmap says that the level is occupied
    };

    explicit Ladder(uint32_t levels);
    void clear();

    // The next occupied level behind `level`, NONE if there is none below `end`, where its window ends. Windows share
    // words of the bitmap's upper levels, but none of the lowest.
    uint32_t after(uint32_t level, uint32_t end) const {
        const uint32_t found = next(level);
        return found < end ? found : NONE;
    }
    bool occupied(uint32_t level) const { return words_[level >> 6] >> (level & 63) & 1; }
    void mark(uint32_t level);
    void unmark(uint32_t level);
    Level &operator[](uint32_t level) { return queues_[level]; }

  private:
    uint32_t next(uint32_t level) const;

    std::unique_ptr<Level[]> queues_;
    std::vector<uint64_t> words_, summary_; // bit i of a summary word: word i below it is not zero
    uint64_t top_ = 0;
};

class SoftEngine {
  public:
    explicit SoftEngine(const Geometry &geometry);

    void reset(uint32_t epoch);

    // Whether reports are hashed, from the next reset on. If not, digests and roots are those of an empty log, and
    // everything else is the same.
    void set_hashing(bool on) { log_.set_hashing(on); }

    // Carry out commands; the beats stay valid until the next call.
    const std::vector<Beat> &exchange(const hawse_command *commands, size_t count);

    const Geometry &geometry() const { return geometry_; }

  private:
    struct alignas(32) Order {
        uint32_t previous, next;
        uint32_t level;    // in its ladder
        uint32_t quantity; // what remains
        int32_t price;
        uint32_t tag;
        uint16_t instrument;
        uint8_t flags; // side and self-trade mode, as in a command
        bool resting;
    };

    // The window: levels from `first` on in the pool, of prices from `base` on. Of each side the best occupied level,
    // NONE if there is none, and where the window ends.
    struct alignas(64) Book {
        uint32_t first = 0, count = 0;
        int32_t base = 0;
        uint32_t offset = 0; // from a price to its level, modulo 2^32
        uint8_t state = HAWSE_INSTRUMENT_STATE_CLOSED;
        uint32_t best[2] = {NONE, NONE};
        uint32_t end[2] = {0, 0};
    };

    // An order that arrives: what its matching needs, in registers.
    struct Taker {
        uint32_t handle, tag, quantity;
        int32_t price;
        uint16_t instrument;
        uint8_t flags;
        uint32_t seq;
    };

    void apply(const hawse_command &command);
    uint8_t check(const hawse_command &command) const;
    bool grants(const hawse_command &command) const;
    void carry_out(const hawse_command &command);
    void arrive(const hawse_command &command);
    void match(Book &book, Taker &taker);
    bool can_fill(Book &book, const Taker &taker);
    void rest(Book &book, const Taker &taker);
    void unlink(uint32_t handle);
    void mass_cancel(const hawse_command &command);
    void set_state(const hawse_command &command);
    void dump(uint16_t instrument);
    uint32_t level_of(const Book &book, unsigned side, int32_t price) const;
    void report(uint8_t kind, uint8_t reason, uint16_t instrument, uint32_t handle, uint32_t maker, int32_t price,
                uint32_t quantity, uint32_t seq);
    void fence(const hawse_command &command);
    void hello();
    template <class T> void push(const T &report);

    Geometry geometry_;
    Ladder ladders_[2]; // by side
    std::vector<Book> books_;
    std::vector<Order> orders_;
    std::vector<uint64_t> resting_; // by handle
    ReportLog log_;
    std::vector<Beat> out_;
    uint32_t epoch_ = 0;
    uint64_t commands_ = 0, last_seq_ = 0;
};

} // namespace hawse
