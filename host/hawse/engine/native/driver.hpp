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

#include "wire.hpp"

namespace hawse {

// The engine's reports do not answer the commands, or the driver was used out of turn.
struct DriverError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Why the driver sends nothing of an order. As hawse.engine.DriverRefusal.
enum class Refusal : uint32_t {
    DUPLICATE_ORDER_ID = 1, // NEW, LOAD: an order of this id is alive, or ended since the last fence
    STORE_FULL = 2,         // NEW: no free handle
    HANDLE_IN_USE = 3,      // LOAD: an order is alive at the handle, or ended there since the last fence
    RECENTRE_NOT_FIRST = 4, // RECENTRE: not the first of its burst
    RECENTRE_INSTRUMENT = 5, // RECENTRE: no such instrument, or it has no window
    RECENTRE_BAND = 6, // RECENTRE: a resting order would fall outside the new band, or that ends beyond 32 bits
};

struct Refused {
    uint32_t index; // in the burst
    Refusal reason;
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
    // Whether an order might fare better as the first of a new burst: its id may be free by then, or a handle, or
    // the band may move to it.
    bool wants_fence(const hawse_order &order) const;

    // Commands of the burst, and the orders of it for which there is none.
    const std::vector<hawse_command> &commands() const { return commands_; }
    const std::vector<Refused> &refused() const { return refused_; }

    // Take the next beats of the answer. Events and RESTINGs are those of this call.
    void absorb(const Beat *beats, size_t count);
    bool done() const { return stage_ == Stage::IDLE; }
    const std::vector<hawse_event> &events() const { return events_; }
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
    // Best price of a side of an instrument in `price`; false if nothing rests there.
    bool best(uint32_t instrument, unsigned side, int32_t &price) const;
    // Sum of what rests at a price.
    uint64_t depth(uint32_t instrument, unsigned side, int64_t price) const;

  private:
    struct Order {
        uint64_t order_id;
        uint64_t rank; // order of arrival at its price
        uint32_t tag, quantity;
        int32_t price;
        uint16_t instrument;
        uint8_t flags; // side and self-trade mode
        bool known;    // the handle is not free
        bool resting;
    };

    // What the next beat may be.
    enum class Stage { IDLE, REPORTS, DIGEST, BATCH, ROOT };

    // Open-addressed map from order id to handle, four slots a handle.
    struct IdMap {
        explicit IdMap(uint32_t orders);
        size_t home(uint64_t id) const;
        std::vector<uint32_t> slots; // NONE: free
        unsigned shift;
    };

    uint32_t find(uint64_t order_id) const;
    void learn(uint32_t handle, uint64_t order_id);
    void forget(uint32_t handle);
    uint32_t lowest_free() const;
    void recentre(const hawse_order &order, uint32_t index);
    void move_band(uint32_t instrument, int32_t base, uint64_t seq);
    void follow(const hawse_order *orders, size_t count);
    bool outside(const hawse_order &order) const;
    std::vector<uint32_t> by_priority(int instrument) const;
    void send(const hawse_order &order, uint32_t handle, uint64_t order_id);
    void refuse(uint32_t index, Refusal reason) { refused_.push_back({index, reason}); }

    void record(const hawse_report &report);
    size_t answered(const hawse_report &report, bool consume);
    void pass_silent(const hawse_report *report);
    void rest(const hawse_command &command);
    void end(uint32_t handle);
    void fill(uint32_t handle, uint32_t quantity);
    Order &order_at(uint32_t handle);
    void finish();

    Geometry geometry_;
    std::vector<Order> orders_; // by handle
    std::vector<InstrumentMirror> instruments_, sent_; // as acknowledged; as the commands of the burst will have it
    IdMap ids_;
    std::vector<uint64_t> free_, free_summary_; // by handle; bit i of the summary: word i has a free handle
    uint64_t rank_ = 0;
    uint64_t records_ = 0; // since the log began
    size_t resting_count_ = 0;
    uint32_t used_ = 0; // handles from here on were never used
    bool recentring_ = true;

    std::vector<hawse_command> commands_;
    std::vector<uint64_t> order_ids_; // of commands_
    std::vector<Refused> refused_;
    uint32_t added_ = 0; // orders of the burst
    bool complete_ = false; // its FENCE or CLOSE is among them
    size_t next_ = 0; // first command without an answer
    std::vector<uint32_t> ended_; // handles that may become free at the fence

    Stage stage_ = Stage::IDLE;
    bool closing_ = false;
    std::vector<hawse_event> events_;
    std::vector<hawse_resting> dumped_;
    hawse_fence fence_{};
    hawse_batch batch_{};
    Beat digest_{}, root_{};
};

} // namespace hawse
