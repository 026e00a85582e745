#include "driver.hpp"

#include <algorithm>
#include <cstring>

namespace hawse {
namespace {

constexpr uint32_t NO_HANDLE = HAWSE_NULL_HANDLE;
constexpr uint8_t RESTING_FLAGS = 1 | 3 << 3;

// The last base of a band of `count` prices that ends within 32 bits.
int32_t last_base(uint32_t count) { return int32_t((int64_t(1) << 31) - count); }

unsigned kind_of(const Beat &beat) { return beat.bytes[0] & 0x0F; }

template <class T> T as(const Beat &beat) {
    static_assert(sizeof(T) == sizeof(Beat), "a report is one beat");
    T report;
    std::memcpy(&report, &beat, sizeof report);
    return report;
}

[[noreturn]] void fail(const std::string &what, const hawse_report &r) {
    throw DriverError(what + ": report of kind " + std::to_string(r.kind & 0x0F) + ", reason " +
                      std::to_string(r.reason) + ", handle " + std::to_string(r.handle) + ", seq " +
                      std::to_string(r.seq));
}

} // namespace

Driver::Driver(const Geometry &geometry)
    : geometry_(geometry), handles_(geometry.orders), orders_(geometry.orders), instruments_(geometry.instruments) {
    reset();
}

void Driver::reset() {
    handles_.clear();
    std::fill(orders_.begin(), orders_.end(), Order{});
    std::fill(instruments_.begin(), instruments_.end(), InstrumentMirror{});
    sent_ = instruments_;
    commands_.clear();
    order_ids_.clear();
    refused_.clear();
    swept_.clear();
    events_.clear();
    dumped_.clear();
    stage_ = Stage::IDLE;
    closing_ = false;
    complete_ = false;
    rank_ = records_ = 0;
    resting_count_ = 0;
    added_ = 0;
    next_ = 0;
}

void Driver::prepare(const hawse_order *orders, size_t count) {
    check_burst(orders, count);
    begin(orders, count);
    commands_.reserve_more(count);
    order_ids_.reserve_more(count);
    for (size_t i = 0; i < count; ++i)
        place(orders[i], true);
}

void Driver::begin(const hawse_order *orders, size_t count) {
    if (stage_ != Stage::IDLE)
        throw DriverError("the last burst is not answered; reset the driver and the engine");
    commands_.clear();
    order_ids_.clear();
    refused_.clear();
    events_.clear();
    dumped_.clear();
    next_ = added_ = 0;
    complete_ = false;
    if (recentring_)
        follow(orders, count);
    stage_ = Stage::REPORTS;
}

void Driver::add(const hawse_order &order) { place(order, true); }

bool Driver::offer(const hawse_order &order) {
    const bool insist = !added_;
    return (insist || !recentring_ || !outside(order)) && place(order, insist);
}

// Whether the order was taken, or refused; if not to `insist`, one that a fence might help is neither.
HAWSE_INLINE bool Driver::place(const hawse_order &order, bool insist) {
    if (stage_ != Stage::REPORTS || complete_)
        throw DriverError("an order outside of a burst");
    switch (order.opcode) {
    case HAWSE_OPCODE_NEW: {
        bool known;
        const uint32_t handle = handles_.take_lowest(order.order_id, known);
        if (handle != NO_HANDLE)
            send(order, handle, order.order_id);
        else if (insist)
            refuse(known ? Refusal::DUPLICATE_ORDER_ID : Refusal::STORE_FULL);
        else
            return false;
        break;
    }
    case HAWSE_OPCODE_CANCEL:
    case HAWSE_OPCODE_REPLACE:
    case HAWSE_OPCODE_REDUCE:
        send(order, handles_.find(order.order_id), order.order_id);
        break;
    default:
        place_other(order);
    }
    ++added_;
    return true;
}

// An order that comes seldom.
void Driver::place_other(const hawse_order &order) {
    switch (order.opcode) {
    case HAWSE_OPCODE_LOAD:
        if (handles_.find(order.order_id) != NO_HANDLE)
            return refuse(Refusal::DUPLICATE_ORDER_ID);
        if (order.handle < geometry_.orders) {
            if (handles_.known(order.handle))
                return refuse(Refusal::HANDLE_IN_USE);
            handles_.take(order.handle, order.order_id);
        }
        return send(order, order.handle, order.order_id); // out of range: the engine rejects it
    case HAWSE_OPCODE_RECENTRE:
        return recentre(order);
    case HAWSE_OPCODE_STATE:
        if (order.instrument < geometry_.instruments) {
            InstrumentMirror &sent = sent_[order.instrument];
            sent.state = order.quantity;
            if (order.quantity == HAWSE_INSTRUMENT_STATE_LOADING)
                sent = {order.handle, order.token, order.price, order.quantity, !order.token};
        }
        return send(order, order.handle, 0); // the window's first level
    case HAWSE_OPCODE_LIMIT:
        return send(order, order.handle, 0); // what it sets
    case HAWSE_OPCODE_FENCE:
    case HAWSE_OPCODE_CLOSE:
        complete_ = true;
        closing_ = order.opcode == HAWSE_OPCODE_CLOSE;
    }
    send(order, 0, 0);
}

HAWSE_INLINE void Driver::send(const hawse_order &order, uint32_t handle, uint64_t order_id) {
    commands_.reserve_more(1);
    order_ids_.reserve_more(1);
    hawse_command &command = commands_.add();
    std::memcpy(static_cast<void *>(&command), &order, sizeof command); // an order begins as a command does
    command.handle = handle;
    order_ids_.add() = order_id;
}

void Driver::recentre(const hawse_order &order) {
    if (added_)
        return refuse(Refusal::RECENTRE_NOT_FIRST);
    if (order.instrument >= geometry_.instruments || !instruments_[order.instrument].count)
        return refuse(Refusal::RECENTRE_INSTRUMENT);
    const InstrumentMirror moved{0, instruments_[order.instrument].count, order.price};
    if (order.price > last_base(moved.count))
        return refuse(Refusal::RECENTRE_BAND);
    for (uint32_t handle = 0; handle < handles_.never_used(); ++handle) {
        const Order &resting = orders_[handle];
        if (resting.resting && resting.instrument == order.instrument && !moved.inside(resting.price))
            return refuse(Refusal::RECENTRE_BAND);
    }
    move_band(order.instrument, order.price, order.seq);
}

// Every resting order fits the band at `base`, and the window stays.
void Driver::move_band(uint32_t instrument, int32_t base, uint64_t seq) {
    hawse_order step{};
    step.opcode = HAWSE_OPCODE_STATE;
    step.instrument = uint16_t(instrument);
    step.handle = instruments_[instrument].first;
    step.token = instruments_[instrument].count;
    step.price = base;
    step.quantity = HAWSE_INSTRUMENT_STATE_LOADING;
    step.seq = seq;
    send(step, step.handle, 0);
    for (const uint32_t handle : by_priority(int(instrument))) {
        const Order &resting = orders_[handle];
        hawse_order load{};
        load.opcode = HAWSE_OPCODE_LOAD;
        load.flags = resting.flags;
        load.instrument = resting.instrument;
        load.tag = resting.tag;
        load.price = resting.price;
        load.quantity = resting.quantity;
        load.seq = seq;
        send(load, handle, handles_.id(handle));
    }
    sent_[instrument].base = base;
    step.handle = step.token = 0;
    step.price = 0;
    step.quantity = instruments_[instrument].state;
    if (step.quantity != HAWSE_INSTRUMENT_STATE_LOADING) // else it would be emptied again
        send(step, 0, 0);
}

// Whether an order would enter an open book, but not its band.
bool Driver::outside(const hawse_order &order) const {
    if ((order.opcode != HAWSE_OPCODE_NEW && order.opcode != HAWSE_OPCODE_REPLACE) || !order.quantity ||
        order.instrument >= geometry_.instruments)
        return false;
    const InstrumentMirror &instrument = sent_[order.instrument];
    if (instrument.state != HAWSE_INSTRUMENT_STATE_OPEN || !instrument.count || instrument.inside(order.price))
        return false;
    if (order.opcode == HAWSE_OPCODE_NEW)
        return true;
    const uint32_t handle = handles_.find(order.order_id);
    return handle != NO_HANDLE && orders_[handle].instrument == order.instrument && orders_[handle].tag == order.tag;
}

// Move the band of each instrument to the first order outside it, if that order, the resting ones and those ahead
// of it in the burst fit one band. A burst that moves or fills the band itself is left alone.
void Driver::follow(const hawse_order *orders, size_t count) {
    std::vector<bool> settled; // by instrument; empty until an order is outside
    for (size_t i = 0; i < count; ++i) {
        const hawse_order &order = orders[i];
        const uint32_t instrument = order.instrument;
        if (!outside(order) || (order.opcode == HAWSE_OPCODE_REPLACE && !orders_[handles_.find(order.order_id)].resting))
            continue;
        settled.resize(geometry_.instruments);
        if (settled[instrument])
            continue;
        settled[instrument] = true;
        int64_t low = order.price, high = order.price;
        const auto include = [&](int64_t price) {
            low = std::min(low, price);
            high = std::max(high, price);
        };
        bool free = true;
        for (size_t j = 0; j < i; ++j) {
            if (orders[j].instrument != instrument)
                continue;
            const uint8_t opcode = orders[j].opcode;
            if (opcode == HAWSE_OPCODE_NEW || opcode == HAWSE_OPCODE_REPLACE) {
                if (instruments_[instrument].inside(orders[j].price))
                    include(orders[j].price);
            } else if (opcode == HAWSE_OPCODE_STATE || opcode == HAWSE_OPCODE_LOAD || opcode == HAWSE_OPCODE_RECENTRE)
                free = false;
        }
        for (uint32_t handle = 0; handle < handles_.never_used(); ++handle)
            if (orders_[handle].resting && orders_[handle].instrument == instrument)
                include(orders_[handle].price);
        const uint32_t count = instruments_[instrument].count;
        const int64_t spare = int64_t(count) - 1 - (high - low);
        if (!free || spare < 0)
            continue;
        const int64_t base = std::clamp(low - spare / 2, int64_t(INT32_MIN), int64_t(last_base(count)));
        move_band(instrument, int32_t(base), order.seq);
    }
}

void Driver::absorb(const Beat *beats, size_t count) {
    events_.clear();
    events_.reserve_more(count);
    dumped_.clear();
    for (size_t i = 0; i < count; ++i) {
        if (stage_ == Stage::REPORTS && kind_of(beats[i]) <= HAWSE_KIND_REJECTED)
            record(as<hawse_report>(beats[i]));
        else
            other_beat(beats[i]);
    }
}

// A beat that is no record.
void Driver::other_beat(const Beat &beat) {
    switch (stage_) {
    case Stage::IDLE:
        throw DriverError("a beat of kind " + std::to_string(kind_of(beat)) + " that answers nothing");
    case Stage::REPORTS:
        if (kind_of(beat) == HAWSE_KIND_RESTING)
            dumped_.push_back(as<hawse_resting>(beat));
        else if (kind_of(beat) == HAWSE_KIND_FENCE)
            fenced(beat);
        else
            fail("unexpected kind", as<hawse_report>(beat));
        break;
    case Stage::DIGEST:
        digest_ = beat;
        if (closing_)
            stage_ = Stage::BATCH;
        else
            finish();
        break;
    case Stage::BATCH:
        batch_ = as<hawse_batch>(beat);
        if (kind_of(beat) != HAWSE_KIND_BATCH || batch_.token != commands_.back().token)
            fail("no BATCH of this CLOSE", as<hawse_report>(beat));
        stage_ = Stage::ROOT;
        break;
    case Stage::ROOT:
        root_ = beat;
        records_ = 0;
        finish();
        break;
    }
}

void Driver::fenced(const Beat &beat) {
    const auto report = as<hawse_report>(beat);
    pass_silent(nullptr);
    if (!complete_ || next_ + 1 != commands_.size())
        fail("command " + std::to_string(next_) + " has no answer", report);
    fence_ = as<hawse_fence>(beat);
    if (fence_.token != commands_.back().token)
        fail("the fence has another token than its command", report);
    if (fence_.records != records_)
        throw DriverError("the fence counts " + std::to_string(fence_.records) + " records, but " +
                          std::to_string(records_) + " came");
    stage_ = Stage::DIGEST;
}

void Driver::finish() {
    for (const uint32_t handle : swept_)
        if (!orders_[handle].resting)
            handles_.end(handle);
    swept_.clear();
    handles_.fence();
    sent_ = instruments_;
    stage_ = Stage::IDLE;
}

// Skip the commands that are answered by nothing, up to one that `report` answers.
void Driver::pass_silent(const hawse_report *report) {
    for (; next_ < commands_.size(); ++next_) {
        const hawse_command &command = commands_[next_];
        if (command.opcode != HAWSE_OPCODE_LOAD && command.opcode != HAWSE_OPCODE_DUMP)
            return;
        if (report && (report->kind & 0x0F) == HAWSE_KIND_REJECTED && report->seq == uint32_t(command.seq) &&
            report->handle == command.handle && report->instrument == command.instrument &&
            report->price == command.price)
            return;
        if (command.opcode == HAWSE_OPCODE_LOAD)
            rest(command);
    }
}

// The command that `report` is the first, or only, answer to: next_.
HAWSE_INLINE const hawse_command &Driver::answered(const hawse_report &report) {
    if (next_ < commands_.size() &&
        (commands_[next_].opcode == HAWSE_OPCODE_LOAD || commands_[next_].opcode == HAWSE_OPCODE_DUMP))
        pass_silent(&report);
    if (next_ == commands_.size() || uint32_t(commands_[next_].seq) != report.seq)
        fail("no command for a report", report);
    return commands_[next_];
}

HAWSE_INLINE Driver::Order &Driver::order_at(uint32_t handle) {
    if (handle >= geometry_.orders || !orders_[handle].resting)
        throw DriverError("a report of handle " + std::to_string(handle) + ", where no order is");
    return orders_[handle];
}

// The order of a NEW that was acknowledged, or of a LOAD, takes its place.
HAWSE_INLINE void Driver::rest(const hawse_command &command) {
    if (command.handle >= geometry_.orders)
        throw DriverError("handle " + std::to_string(command.handle) + " is out of range and was accepted");
    Order &order = orders_[command.handle];
    order.rank = rank_++;
    order.tag = command.tag;
    order.quantity = command.quantity;
    order.price = command.price;
    order.instrument = command.instrument;
    order.flags = command.flags & RESTING_FLAGS;
    resting_count_ += !order.resting;
    order.resting = true;
}

HAWSE_INLINE void Driver::end(uint32_t handle) {
    orders_[handle].resting = false;
    --resting_count_;
    handles_.end(handle);
}

// STATE(loading) has removed what rested; what a LOAD brings back in the same burst keeps its handle.
void Driver::sweep(uint16_t instrument) {
    for (uint32_t handle = 0; handle < handles_.never_used(); ++handle)
        if (orders_[handle].resting && orders_[handle].instrument == instrument) {
            orders_[handle].resting = false;
            --resting_count_;
            swept_.push_back(handle);
        }
}

HAWSE_INLINE void Driver::fill(uint32_t handle, uint32_t quantity) {
    Order &order = order_at(handle);
    if (quantity > order.quantity)
        throw DriverError("handle " + std::to_string(handle) + " traded more than it had");
    order.quantity -= quantity;
    if (!order.quantity)
        end(handle);
}

HAWSE_INLINE void Driver::record(const hawse_report &report) {
    hawse_event &event = events_.add();
    std::memcpy(&event, &report, sizeof report);
    event.maker_id = 0;
    ++records_;
    switch (report.kind & 0x0F) {
    case HAWSE_KIND_ACK: {
        const hawse_command &command = answered(report);
        event.order_id = order_ids_[next_++];
        if (command.opcode == HAWSE_OPCODE_NEW)
            rest(command);
        else
            acknowledged(report, command);
        break;
    }
    case HAWSE_KIND_TRADE:
        order_at(report.handle), order_at(report.maker);
        event.order_id = handles_.id(report.handle);
        event.maker_id = handles_.id(report.maker);
        if (!next_ || commands_[next_ - 1].handle != report.handle)
            fail("no command of this taker", report);
        fill(report.handle, report.quantity);
        fill(report.maker, report.quantity);
        break;
    case HAWSE_KIND_CANCELLED:
        order_at(report.handle);
        event.order_id = handles_.id(report.handle);
        if (report.reason == HAWSE_REASON_COMMAND || report.reason == HAWSE_REASON_MASS) {
            const bool mass = report.reason == HAWSE_REASON_MASS; // its ACK is to come
            if (answered(report).opcode != (mass ? HAWSE_OPCODE_MASS_CANCEL : HAWSE_OPCODE_CANCEL))
                fail("no command that cancels this order", report);
            next_ += !mass;
        }
        end(report.handle);
        break;
    case HAWSE_KIND_REPLACED:
        replaced(report, answered(report));
        event.order_id = order_ids_[next_++];
        break;
    default: { // REJECTED: absorb() lets nothing else come here
        const hawse_command &command = answered(report);
        event.order_id = order_ids_[next_++];
        const bool brought = command.opcode == HAWSE_OPCODE_NEW || command.opcode == HAWSE_OPCODE_LOAD;
        if (brought && command.handle < geometry_.orders && !orders_[command.handle].resting)
            handles_.end(command.handle);
    }
    }
}

// The ACK of anything but a NEW.
void Driver::acknowledged(const hawse_report &report, const hawse_command &command) {
    if (command.opcode == HAWSE_OPCODE_STATE && command.instrument < geometry_.instruments) {
        InstrumentMirror &mirror = instruments_[command.instrument];
        const bool loading = command.quantity == HAWSE_INSTRUMENT_STATE_LOADING;
        mirror = {report.handle, report.maker, report.price, command.quantity, loading ? !report.maker : mirror.no_band};
        if (loading)
            sweep(command.instrument);
    } else if (command.opcode != HAWSE_OPCODE_MASS_CANCEL && command.opcode != HAWSE_OPCODE_LIMIT) {
        fail("command " + std::to_string(next_ - 1) + " is not answered by an ACK", report);
    }
}

void Driver::replaced(const hawse_report &report, const hawse_command &command) {
    Order &order = order_at(report.handle);
    if (command.handle != report.handle)
        fail("command " + std::to_string(next_) + " is of another order", report);
    if (command.opcode == HAWSE_OPCODE_REPLACE) {
        order.rank = rank_++;
        order.price = command.price;
    } else if (command.opcode != HAWSE_OPCODE_REDUCE) {
        fail("command " + std::to_string(next_) + " replaces nothing", report);
    }
    order.quantity = command.quantity;
}

std::vector<uint32_t> Driver::by_priority(int instrument) const {
    std::vector<uint32_t> handles;
    for (uint32_t handle = 0; handle < handles_.never_used(); ++handle)
        if (orders_[handle].resting && (instrument < 0 || orders_[handle].instrument == instrument))
            handles.push_back(handle);
    std::sort(handles.begin(), handles.end(), [this](uint32_t left, uint32_t right) {
        const Order &a = orders_[left], &b = orders_[right];
        if (a.instrument != b.instrument)
            return a.instrument < b.instrument;
        if ((a.flags ^ b.flags) & 1)
            return (a.flags & 1) == HAWSE_SIDE_BUY;
        if (a.price != b.price)
            return (a.flags & 1) == HAWSE_SIDE_BUY ? a.price > b.price : a.price < b.price;
        return a.rank < b.rank;
    });
    return handles;
}

std::vector<MirrorOrder> Driver::resting() const {
    std::vector<MirrorOrder> out;
    for (const uint32_t handle : by_priority(-1)) {
        const Order &order = orders_[handle];
        MirrorOrder mirror{};
        mirror.resting.kind = HAWSE_KIND_RESTING;
        mirror.resting.flags = order.flags;
        mirror.resting.instrument = order.instrument;
        mirror.resting.handle = handle;
        mirror.resting.tag = order.tag;
        mirror.resting.price = order.price;
        mirror.resting.quantity = order.quantity;
        mirror.order_id = handles_.id(handle);
        out.push_back(mirror);
    }
    return out;
}

} // namespace hawse
