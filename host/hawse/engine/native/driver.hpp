// The driver around an engine: user order ids become handles, RECENTRE becomes commands, reports become events, and a
// mirror of the resting orders is kept.
//
// One burst at a time: prepare() turns orders into commands; absorb() takes the beats that answer them, in any
// portions, until done(). Or begin(), and add() order by order, with absorb() in between. Any failure leaves the
// driver of no use until reset().
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "buffer.hpp"
#include "burst.hpp"
#include "handles.hpp"
#include "wire.hpp"

namespace hawse {

// The engine's reports do not answer the commands, or the driver was used out of turn.
struct DriverError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A resting order, as the driver knows it.
struct MirrorOrder {
    hawse_resting resting;
    uint64_t order_id;
};

struct InstrumentMirror {
    uint32_t first = 0, count = 0; // the window: levels in the pool
    int32_t base = 0;              // price of the first of them
    uint32_t state = HAWSE_INSTRUMENT_STATE_CLOSED;
    uint32_t no_band = 0; // any price has its level; first, count and base are 0

    bool inside(int32_t price) const { return uint64_t(int64_t(price) - base) < count; }
};

class Driver {
  public:
    explicit Driver(const Geometry &geometry);

    // Forget all orders: to be called when the engine is reset.
    void reset();

    // Whether a burst may begin by moving the band to an order outside it; at first it may.
    void set_recentring(bool on) { recentring_ = on; }

    // A whole burst; the last order must be FENCE or CLOSE, no other may be, and none HELLO.
    void prepare(const hawse_order *orders, size_t count);

    // Begin a burst of which these are the first orders, or all; they are yet to be added.
    void begin(const hawse_order *orders, size_t count);
    // The next order of a burst that has begun, which FENCE or CLOSE ends; no HELLO.
    void add(const hawse_order &order);
    // The same, unless the order might fare better as the first of a new burst: its id may be free by then, or a
    // handle, or the band may move to it. Then nothing is done, and false the answer.
    bool offer(const hawse_order &order);

    // Commands of the burst, and the orders of it for which there is none.
    const Buffer<hawse_command> &commands() const { return commands_; }
    const std::vector<Refused> &refused() const { return refused_; }

    // Take the next beats of the answer. Events and RESTINGs are those of this call.
    void absorb(const Beat *beats, size_t count);
    bool done() const { return stage_ == Stage::IDLE; }
    const Buffer<hawse_event> &events() const { return events_; }
    const std::vector<hawse_resting> &dumped() const { return dumped_; }
    // Of the last burst that is done.
    const hawse_fence &fence() const { return fence_; }
    const Beat &digest() const { return digest_; }
    // The same, if it ended in CLOSE.
    bool closed() const { return closing_; }
    const hawse_batch &batch() const { return batch_; }
    const Beat &root() const { return root_; }

    // Resting orders by instrument, bids before asks, best price first, then time.
    std::vector<MirrorOrder> resting() const;
    const InstrumentMirror &instrument(uint32_t i) const { return instruments_.at(i); }
    size_t resting_count() const { return resting_count_; }

  private:
    struct Order {
        uint64_t rank; // order of arrival at its price
        uint32_t tag, quantity;
        int32_t price;
        uint16_t instrument;
        uint8_t flags; // side and self-trade mode
        bool resting;
    };

    // What the next beat may be.
    enum class Stage { IDLE, REPORTS, DIGEST, BATCH, ROOT };

    bool place(const hawse_order &order, bool insist);
    void place_other(const hawse_order &order);
    void recentre(const hawse_order &order);
    void move_band(uint32_t instrument, int32_t base, uint64_t seq);
    void follow(const hawse_order *orders, size_t count);
    bool outside(const hawse_order &order) const;
    std::vector<uint32_t> by_priority(int instrument) const;
    void send(const hawse_order &order, uint32_t handle, uint64_t order_id);
    void refuse(Refusal reason) { refused_.push_back({added_, reason}); }

    void record(const hawse_report &report);
    void acknowledged(const hawse_report &report, const hawse_command &command);
    void replaced(const hawse_report &report, const hawse_command &command);
    void other_beat(const Beat &beat);
    void fenced(const Beat &beat);
    const hawse_command &answered(const hawse_report &report);
    void pass_silent(const hawse_report *report);
    void rest(const hawse_command &command);
    void end(uint32_t handle);
    void sweep(uint16_t instrument);
    void fill(uint32_t handle, uint32_t quantity);
    Order &order_at(uint32_t handle);
    void finish();

    Geometry geometry_;
    Handles handles_;
    std::vector<Order> orders_; // by handle
    std::vector<InstrumentMirror> instruments_, sent_; // as acknowledged; as the commands of the burst will have it
    uint64_t rank_ = 0;
    uint64_t records_ = 0; // since the log began
    size_t resting_count_ = 0;
    bool recentring_ = true;

    Buffer<hawse_command> commands_;
    Buffer<uint64_t> order_ids_; // of commands_
    std::vector<Refused> refused_;
    uint32_t added_ = 0; // orders of the burst
    bool complete_ = false; // its FENCE or CLOSE is among them
    size_t next_ = 0; // first command without an answer

    std::vector<uint32_t> swept_; // handles that STATE(loading) emptied

    Stage stage_ = Stage::IDLE;
    bool closing_ = false;
    Buffer<hawse_event> events_;
    std::vector<hawse_resting> dumped_;
    hawse_fence fence_{};
    hawse_batch batch_{};
    Beat digest_{}, root_{};
};

} // namespace hawse
