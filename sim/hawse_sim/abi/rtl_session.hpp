// The Verilated Core behind the C interface, with the driver in front of it.
#pragma once
#include <algorithm>
#include <vector>

#include "driver.hpp"
#include "rtl_port.hpp"
#include "session.hpp"

namespace hawse {

class Session {
  public:
    static constexpr const char *NAME = "rtl";

    Session(uint64_t nonce, const abi_transport &transport, void *sink)
        : transport_(transport, sink), losses_(NAME), port_(uint32_t(nonce)), driver_(GEOMETRY) {
        hawse_order step{};
        step.opcode = HAWSE_OPCODE_STATE;
        step.quantity = HAWSE_INSTRUMENT_STATE_LOADING; // with the whole pool as its window, of prices from 0
        step.token = GEOMETRY.pool;
        deliver(step, 0);
        step.quantity = HAWSE_INSTRUMENT_STATE_OPEN;
        deliver(step, 0);
        fence(true);
        port_.begin_count();
        fences_ = commands_ = 0;
    }

    void on_new(const abi_new_order &message) {
        hawse_order order{};
        order.opcode = HAWSE_OPCODE_NEW;
        order.flags = uint8_t((message.side & 1) | (message.ioc ? HAWSE_TIME_IN_FORCE_IOC << 1 : 0));
        order.order_id = message.order_id;
        enter(order, message.price_ticks, message.quantity, message.sequence_number);
    }

    void on_cancel(const abi_cancel &message) {
        hawse_order order{};
        order.opcode = HAWSE_OPCODE_CANCEL;
        order.order_id = message.order_id;
        ++messages_;
        deliver(order, message.sequence_number);
    }

    void on_modify(const abi_modify &message) {
        hawse_order order{};
        order.opcode = HAWSE_OPCODE_REPLACE;
        order.order_id = message.order_id;
        enter(order, message.new_price_ticks, message.new_quantity, message.sequence_number);
    }

    void flush() {
        if (open_)
            fence(true);
        transport_.flush();
    }

    bool best(unsigned side, int32_t &price) {
        for (const hawse_resting &order : book())
            if ((order.flags & 1) == side) {
                price = order.price;
                return true;
            }
        return false;
    }

    uint64_t depth(unsigned side, int64_t price) {
        uint64_t sum = 0;
        for (const hawse_resting &order : book())
            if ((order.flags & 1) == side && order.price == price)
                sum += order.quantity;
        return sum;
    }

    void statistics(std::FILE *file) const {
        std::fprintf(file, "{\n  \"engine\": \"%s\",\n  \"messages\": %" PRIu64 ",\n", NAME, messages_);
        std::fprintf(file, "  \"commands\": %" PRIu64 ",\n  \"fences\": %" PRIu64 ",\n", commands_, fences_);
        std::fprintf(file, "  \"refused\": %" PRIu64 ",\n  \"reports\": %" PRIu64 ",\n", refused_, transport_.pushed);
        losses_.statistics(file);
        port_.statistics(file, messages_);
        std::fprintf(file, "  \"peak_resting\": %zu\n}\n", peak_);
    }

  private:
    // As hawse_sim.abi.GEOMETRY: the largest that a Core can have.
    static constexpr Geometry GEOMETRY{1, 1 << 18, 1 << 16, 12};
    // Messages from fence to fence. Each is waited for, which costs some hundred cycles.
    static constexpr size_t BURST = 16384;

    // A message of the burst, by the sequence number that its command carries.
    struct Origin {
        uint64_t sequence_number;
        uint8_t opcode;
        bool beyond; // its price is beyond 32 bits
    };

    // What no command can carry is told to the engine without a quantity, for which it is rejected in its turn.
    void enter(hawse_order &order, int64_t price, uint32_t quantity, uint64_t sequence_number) {
        ++messages_;
        const bool beyond = price != int32_t(price);
        order.price = beyond ? 0 : int32_t(price);
        order.quantity = beyond ? 0 : quantity;
        deliver(order, sequence_number, beyond);
    }

    void deliver(hawse_order &order, uint64_t sequence_number, bool beyond = false) {
        asked_ = false;
        if (open_ && origins_.size() >= BURST)
            fence(false);
        open(order);
        if (!driver_.offer(order)) {
            fence(false);
            open(order);
            driver_.add(order);
        }
        origins_.push_back({sequence_number, order.opcode, beyond});
        if (driver_.refused().size() > told_) { // a NEW
            ++refused_;
            losses_.count(driver_.refused()[told_++].reason == Refusal::STORE_FULL ? Losses::STORE_FULL
                                                                                   : Losses::DUPLICATE_ID,
                          sequence_number);
        }
        send();
    }

    // Begin a burst with this order, unless one has begun.
    void open(hawse_order &order) {
        order.seq = seq_ + origins_.size();
        if (open_)
            return;
        driver_.begin(&order, 1);
        open_ = true;
        sent_ = told_ = 0;
        unasked_ = driver_.commands().empty() ? 0 : 2; // ACKs of the STATEs that moved the band
    }

    void send() {
        const auto &commands = driver_.commands();
        const size_t count = commands.size() - sent_;
        if (!count)
            return;
        const hawse_command *first = commands.data() + sent_;
        sent_ += count;
        commands_ += count;
        port_.send(first, count, [this](const Beat *beats, size_t n) { take(beats, n); });
    }

    // End the burst: what it ended is forgotten, and its handles are free.
    void fence(bool flush) {
        hawse_order order{};
        order.opcode = HAWSE_OPCODE_FENCE;
        order.seq = seq_ + origins_.size();
        order.token = uint32_t(++fences_);
        driver_.add(order);
        send();
        port_.wait(
            flush, [this](const Beat *beats, size_t n) { take(beats, n); }, [this] { return driver_.done(); });
        seq_ += origins_.size() + 1;
        origins_.clear();
        open_ = false;
    }

    // What rests at the engine, bids first, then asks, each best price first: asked of it by DUMP, once after a message.
    const std::vector<hawse_resting> &book() {
        if (asked_)
            return book_;
        book_.clear();
        hawse_order order{};
        order.opcode = HAWSE_OPCODE_DUMP;
        deliver(order, 0);
        fence(true);
        asked_ = true;
        return book_;
    }

    void take(const Beat *beats, size_t count) {
        driver_.absorb(beats, count);
        for (const hawse_event &event : driver_.events())
            told(event);
        book_.insert(book_.end(), driver_.dumped().begin(), driver_.dumped().end());
        peak_ = std::max(peak_, driver_.resting_count());
    }

    void told(const hawse_event &event) {
        if (unasked_) {
            --unasked_;
            return;
        }
        const Origin &origin = origins_[uint32_t(event.seq - uint32_t(seq_))];
        if (origin.opcode == HAWSE_OPCODE_STATE)
            return;
        abi_report report;
        if (to_report(event, origin.opcode, origin.sequence_number, report))
            transport_.push(report);
        else
            losses_.count(origin.beyond                         ? Losses::BEYOND_32_BITS
                          : event.reason == HAWSE_REASON_PRICE ? Losses::BEYOND_BAND
                                                                : Losses::NO_QUANTITY,
                          origin.sequence_number);
    }

    Transport transport_;
    Losses losses_;
    Port port_;
    Driver driver_;
    bool open_ = false, asked_ = false; // a burst is; book_ is of now
    size_t sent_ = 0, told_ = 0, unasked_ = 0;
    uint64_t seq_ = 1; // of the burst's first order
    std::vector<Origin> origins_;
    std::vector<hawse_resting> book_;
    uint64_t messages_ = 0, commands_ = 0, fences_ = 0, refused_ = 0;
    size_t peak_ = 0;
};

} // namespace hawse
