// Messages become orders of the driver, and its events reports; behind it is the engine of port.hpp.
#include "abi.h"

#include <cinttypes>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <sched.h>
#include <vector>

#include "driver.hpp"
#ifdef HAWSE_ABI_RTL
#include "rtl_port.hpp"
#else
#include "soft_port.hpp"
#endif

static_assert(sizeof(abi_new_order) == 32 && sizeof(abi_cancel) == 16 && sizeof(abi_modify) == 32, "as published");
static_assert(sizeof(abi_msg) == 40 && sizeof(abi_report) == 64, "as published");

namespace hawse {
namespace {

constexpr Geometry GEOMETRY{1, 65536, 65536, 12};

class Session {
  public:
    Session(uint64_t nonce, const abi_transport &transport, void *sink)
        : port_(GEOMETRY, uint32_t(nonce)), driver_(GEOMETRY), transport_(transport), sink_(sink) {
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
        settle();
        if (transport_.flush)
            transport_.flush(sink_);
    }

    bool best(unsigned side, int32_t &price) {
        settle();
        return driver_.best(0, side, price);
    }

    uint64_t depth(unsigned side, int64_t price) {
        settle();
        return driver_.depth(0, side, price);
    }

    void statistics(std::FILE *file) const {
        std::fprintf(file, "{\n  \"engine\": \"%s\",\n  \"messages\": %" PRIu64 ",\n", Port::NAME, messages_);
        std::fprintf(file, "  \"commands\": %" PRIu64 ",\n  \"fences\": %" PRIu64 ",\n", commands_, fences_);
        const uint64_t refused = refused_ + (open_ ? driver_.refused().size() : 0);
        std::fprintf(file, "  \"refused\": %" PRIu64 ",\n  \"reports\": %" PRIu64 ",\n", refused, reports_);
        port_.statistics(file, messages_);
        std::fprintf(file, "  \"peak_resting\": %zu\n}\n", peak_);
    }

  private:
    // A message of the burst, by the sequence number that its command carries.
    struct Origin {
        uint64_t sequence_number;
        uint8_t opcode;
    };

    // What no command can carry is told to the engine without a quantity, for which it is rejected in its turn.
    void enter(hawse_order &order, int64_t price, uint32_t quantity, uint64_t sequence_number) {
        ++messages_;
        if (price == int32_t(price)) {
            order.price = int32_t(price);
            order.quantity = quantity;
        }
        deliver(order, sequence_number);
    }

    void deliver(hawse_order &order, uint64_t sequence_number) {
        if (open_ && (origins_.size() >= Port::BURST || driver_.wants_fence(order)))
            fence(false);
        order.seq = seq_ + origins_.size();
        if (!open_) {
            driver_.begin(&order, 1);
            open_ = true;
            sent_ = 0;
            unasked_ = driver_.commands().empty() ? 0 : 2; // ACKs of the STATEs that moved the band
        }
        origins_.push_back({sequence_number, order.opcode});
        driver_.add(order);
        send();
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
        if (!driver_.done())
            throw DriverError("a fence was not answered");
        seq_ += origins_.size() + 1;
        refused_ += driver_.refused().size();
        origins_.clear();
        open_ = false;
    }

    // Every report of every message has come.
    void settle() {
        if (open_ && !Port::IMMEDIATE)
            fence(true);
    }

    void take(const Beat *beats, size_t count) {
        driver_.absorb(beats, count);
        for (const hawse_event &event : driver_.events())
            report(event);
        peak_ = std::max(peak_, driver_.resting_count());
    }

    void report(const hawse_event &event) {
        if (unasked_) {
            --unasked_;
            return;
        }
        const Origin &origin = origins_[uint32_t(event.seq - uint32_t(seq_))];
        if (origin.opcode == HAWSE_OPCODE_STATE)
            return;
        abi_report report{};
        report.sequence_number = origin.sequence_number;
        report.order_id = event.order_id;
        const unsigned kind = event.kind & 0x0F;
        if (kind == HAWSE_KIND_REJECTED) {
            if (origin.opcode == HAWSE_OPCODE_NEW)
                return;
            report.type = origin.opcode == HAWSE_OPCODE_CANCEL ? ABI_CANCEL_REJECT : ABI_MODIFY_REJECT;
        } else {
            report.type = kind == HAWSE_KIND_ACK         ? ABI_ORDER_ACK
                          : kind == HAWSE_KIND_TRADE     ? ABI_TRADE
                          : kind == HAWSE_KIND_CANCELLED ? ABI_CANCEL_ACK
                                                         : ABI_MODIFY_ACK;
            report.side = event.kind >> 4 & 1;
            report.price_ticks = event.price;
            report.quantity = event.quantity;
        }
        if (kind == HAWSE_KIND_TRADE) {
            report.maker_order_id = event.maker_id;
            report.taker_order_id = event.order_id;
        }
        ++reports_;
        while (!transport_.push(sink_, &report))
            sched_yield();
    }

    Port port_;
    Driver driver_;
    const abi_transport transport_;
    void *const sink_;
    bool open_ = false;
    size_t sent_ = 0, unasked_ = 0;
    uint64_t seq_ = 1; // of the burst's first order
    std::vector<Origin> origins_;
    uint64_t messages_ = 0, commands_ = 0, fences_ = 0, refused_ = 0, reports_ = 0;
    size_t peak_ = 0;
};

std::unique_ptr<Session> session;

// Exceptions must not pass into C. A session that failed is over: what it would say is worth nothing.
template <class Body> void guarded(Body body) {
    if (!session)
        return;
    try {
        body(*session);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "hawse: %s: %s\n", Port::NAME, error.what());
        session.reset();
    }
}

} // namespace
} // namespace hawse

using namespace hawse;

int engine_init(uint64_t nonce, const abi_transport *transport, void *sink) {
    session.reset();
    try {
        session = std::make_unique<Session>(nonce, *transport, sink);
        return 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "hawse: %s: %s\n", Port::NAME, error.what());
        return -1;
    }
}

void engine_shutdown(void) {
    guarded([](Session &it) {
        it.flush();
        const char *name = std::getenv("HAWSE_ABI_STATS");
        if (!name || !*name)
            return;
        if (std::FILE *file = std::fopen(name, "w")) {
            it.statistics(file);
            std::fclose(file);
        } else {
            std::perror(name);
        }
    });
    session.reset();
}

void engine_flush(void) {
    guarded([](Session &it) { it.flush(); });
}

void engine_on_new_order(const abi_new_order *message) {
    guarded([=](Session &it) { it.on_new(*message); });
}

void engine_on_cancel(const abi_cancel *message) {
    guarded([=](Session &it) { it.on_cancel(*message); });
}

void engine_on_modify(const abi_modify *message) {
    guarded([=](Session &it) { it.on_modify(*message); });
}

void engine_on_batch(const abi_msg *messages, uint32_t n) {
    guarded([=](Session &it) {
        for (uint32_t i = 0; i < n; ++i)
            switch (messages[i].type) {
            case ABI_NEW:
                it.on_new(messages[i].body.new_order);
                break;
            case ABI_CANCEL:
                it.on_cancel(messages[i].body.cancel);
                break;
            case ABI_MODIFY:
                it.on_modify(messages[i].body.modify);
                break;
            }
    });
}

int64_t engine_query_best_bid(void) {
    int64_t best = INT64_MIN;
    guarded([&](Session &it) {
        if (int32_t price; it.best(HAWSE_SIDE_BUY, price))
            best = price;
    });
    return best;
}

int64_t engine_query_best_ask(void) {
    int64_t best = INT64_MAX;
    guarded([&](Session &it) {
        if (int32_t price; it.best(HAWSE_SIDE_SELL, price))
            best = price;
    });
    return best;
}

uint64_t engine_query_depth_at(int64_t price, uint8_t side) {
    uint64_t depth = 0;
    guarded([&](Session &it) { depth = it.depth(side & 1, price); });
    return depth;
}
