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

Driver::IdMap::IdMap(uint32_t orders) : slots(size_t(4) * orders, NO_HANDLE), shift(64) {
    for (size_t size = slots.size(); size > 1; size >>= 1)
        --shift;
}

size_t Driver::IdMap::home(uint64_t id) const {
    id ^= id >> 32; // ids that differ only in high bits must not share a slot
    return size_t(id * 0x9E3779B97F4A7C15u >> shift);
}

Driver::Driver(const Geometry &geometry)
    : geometry_(geometry), orders_(geometry.orders), instruments_(geometry.instruments), ids_(geometry.orders),
      free_(geometry.orders / 64), free_summary_((geometry.orders / 64 + 63) / 64) {
    reset();
}

void Driver::reset() {
    std::fill(orders_.begin(), orders_.end(), Order{});
    std::fill(instruments_.begin(), instruments_.end(), InstrumentMirror{});
    sent_ = instruments_;
    std::fill(ids_.slots.begin(), ids_.slots.end(), NO_HANDLE);
    std::fill(free_.begin(), free_.end(), ~uint64_t(0));
    std::fill(free_summary_.begin(), free_summary_.end(), 0);
    for (size_t i = 0; i < free_.size(); ++i)
        free_summary_[i >> 6] |= uint64_t(1) << (i & 63);
    commands_.clear();
    order_ids_.clear();
    refused_.clear();
    ended_.clear();
    events_.clear();
    dumped_.clear();
    stage_ = Stage::IDLE;
    closing_ = false;
    complete_ = false;
    rank_ = records_ = 0;
    resting_count_ = 0;
    added_ = used_ = 0;
    next_ = 0;
}

uint32_t Driver::find(uint64_t order_id) const {
    const size_t mask = ids_.slots.size() - 1;
    for (size_t i = ids_.home(order_id);; i = (i + 1) & mask) {
        const uint32_t handle = ids_.slots[i];
        if (handle == NO_HANDLE || orders_[handle].order_id == order_id)
            return handle;
    }
}

// Take `handle` for an order of an unknown id.
void Driver::learn(uint32_t handle, uint64_t order_id) {
    orders_[handle] = Order{};
    orders_[handle].order_id = order_id;
    orders_[handle].known = true;
    used_ = std::max(used_, handle + 1);
    const size_t mask = ids_.slots.size() - 1;
    size_t i = ids_.home(order_id);
    while (ids_.slots[i] != NO_HANDLE)
        i = (i + 1) & mask;
    ids_.slots[i] = handle;
    if (!(free_[handle >> 6] &= ~(uint64_t(1) << (handle & 63))))
        free_summary_[handle >> 12] &= ~(uint64_t(1) << (handle >> 6 & 63));
}

// Give `handle` back, and close the gap that its id leaves in the map.
void Driver::forget(uint32_t handle) {
    const size_t mask = ids_.slots.size() - 1;
    size_t gap = ids_.home(orders_[handle].order_id);
    while (ids_.slots[gap] != handle)
        gap = (gap + 1) & mask;
    for (size_t i = (gap + 1) & mask; ids_.slots[i] != NO_HANDLE; i = (i + 1) & mask) {
        const size_t home = ids_.home(orders_[ids_.slots[i]].order_id);
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            ids_.slots[gap] = ids_.slots[i];
            gap = i;
        }
    }
    ids_.slots[gap] = NO_HANDLE;
    orders_[handle].known = false;
    free_[handle >> 6] |= uint64_t(1) << (handle & 63);
    free_summary_[handle >> 12] |= uint64_t(1) << (handle >> 6 & 63);
}

uint32_t Driver::lowest_free() const {
    for (size_t i = 0; i < free_summary_.size(); ++i)
        if (free_summary_[i]) {
            const size_t word = i << 6 | size_t(__builtin_ctzll(free_summary_[i]));
            return uint32_t(word << 6 | size_t(__builtin_ctzll(free_[word])));
        }
    return NO_HANDLE;
}

void Driver::prepare(const hawse_order *orders, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        const bool ends = orders[i].opcode == HAWSE_OPCODE_FENCE || orders[i].opcode == HAWSE_OPCODE_CLOSE;
        if (ends != (i + 1 == count) || orders[i].opcode == HAWSE_OPCODE_HELLO)
            throw std::invalid_argument("order " + std::to_string(i) +
                                        ": a burst ends with its only FENCE or CLOSE, and holds no HELLO");
    }
    if (!count)
        throw std::invalid_argument("orders: none; a burst ends with FENCE or CLOSE");
    begin(orders, count);
    for (size_t i = 0; i < count; ++i)
        add(orders[i]);
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

void Driver::add(const hawse_order &order) {
    if (stage_ != Stage::REPORTS || complete_)
        throw DriverError("an order outside of a burst");
    const uint32_t index = added_++;
    switch (order.opcode) {
    case HAWSE_OPCODE_NEW: {
        const uint32_t handle = lowest_free();
        if (find(order.order_id) != NO_HANDLE) {
            refuse(index, Refusal::DUPLICATE_ORDER_ID);
        } else if (handle == NO_HANDLE) {
            refuse(index, Refusal::STORE_FULL);
        } else {
            learn(handle, order.order_id);
            send(order, handle, order.order_id);
        }
        break;
    }
    case HAWSE_OPCODE_LOAD:
        if (find(order.order_id) != NO_HANDLE) {
            refuse(index, Refusal::DUPLICATE_ORDER_ID);
        } else if (order.handle < geometry_.orders && orders_[order.handle].known) {
            refuse(index, Refusal::HANDLE_IN_USE);
        } else {
            if (order.handle < geometry_.orders)
                learn(order.handle, order.order_id);
            send(order, order.handle, order.order_id); // out of range: the engine rejects it
        }
        break;
    case HAWSE_OPCODE_CANCEL:
    case HAWSE_OPCODE_REPLACE:
    case HAWSE_OPCODE_REDUCE:
        send(order, find(order.order_id), order.order_id);
        break;
    case HAWSE_OPCODE_RECENTRE:
        recentre(order, index);
        break;
    case HAWSE_OPCODE_STATE:
        if (order.instrument < geometry_.instruments) {
            InstrumentMirror &sent = sent_[order.instrument];
            sent.state = order.quantity;
            if (order.quantity == HAWSE_INSTRUMENT_STATE_LOADING)
                sent = {order.handle, order.token, order.price, order.quantity};
        }
        send(order, order.handle, 0); // the window's first level
        break;
    default:
        send(order, 0, 0);
    }
    if (order.opcode == HAWSE_OPCODE_FENCE || order.opcode == HAWSE_OPCODE_CLOSE) {
        complete_ = true;
        closing_ = order.opcode == HAWSE_OPCODE_CLOSE;
    }
}

void Driver::send(const hawse_order &order, uint32_t handle, uint64_t order_id) {
    hawse_command command;
    std::memcpy(&command, &order, sizeof command); // an order begins as a command does
    command.handle = handle;
    commands_.push_back(command);
    order_ids_.push_back(order_id);
}

void Driver::recentre(const hawse_order &order, uint32_t index) {
    if (index)
        return refuse(index, Refusal::RECENTRE_NOT_FIRST);
    if (order.instrument >= geometry_.instruments || !instruments_[order.instrument].count)
        return refuse(index, Refusal::RECENTRE_INSTRUMENT);
    const InstrumentMirror moved{0, instruments_[order.instrument].count, order.price};
    if (order.price > last_base(moved.count))
        return refuse(index, Refusal::RECENTRE_BAND);
    for (uint32_t handle = 0; handle < used_; ++handle) {
        const Order &resting = orders_[handle];
        if (resting.resting && resting.instrument == order.instrument && !moved.inside(resting.price))
            return refuse(index, Refusal::RECENTRE_BAND);
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
        send(load, handle, resting.order_id);
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
    const uint32_t handle = find(order.order_id);
    return handle != NO_HANDLE && orders_[handle].instrument == order.instrument && orders_[handle].tag == order.tag;
}

// Move the band of each instrument to the first order outside it, if that order, the resting ones and those ahead
// of it in the burst fit one band. A burst that moves or fills the band itself is left alone.
void Driver::follow(const hawse_order *orders, size_t count) {
    std::vector<bool> settled; // by instrument; empty until an order is outside
    for (size_t i = 0; i < count; ++i) {
        const hawse_order &order = orders[i];
        const uint32_t instrument = order.instrument;
        if (!outside(order) || (order.opcode == HAWSE_OPCODE_REPLACE && !orders_[find(order.order_id)].resting))
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
        for (uint32_t handle = 0; handle < used_; ++handle)
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

bool Driver::wants_fence(const hawse_order &order) const {
    if (stage_ != Stage::REPORTS || !added_)
        return false;
    if (order.opcode == HAWSE_OPCODE_NEW && (find(order.order_id) != NO_HANDLE || lowest_free() == NO_HANDLE))
        return true;
    return recentring_ && outside(order);
}

void Driver::absorb(const Beat *beats, size_t count) {
    events_.clear();
    dumped_.clear();
    for (size_t i = 0; i < count; ++i) {
        const Beat &beat = beats[i];
        switch (stage_) {
        case Stage::IDLE:
            throw DriverError("a beat of kind " + std::to_string(kind_of(beat)) + " that answers nothing");
        case Stage::REPORTS:
            switch (kind_of(beat)) {
            case HAWSE_KIND_RESTING:
                dumped_.push_back(as<hawse_resting>(beat));
                break;
            case HAWSE_KIND_FENCE: {
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
                break;
            }
            default:
                record(as<hawse_report>(beat));
            }
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
}

void Driver::finish() {
    for (const uint32_t handle : ended_)
        if (orders_[handle].known && !orders_[handle].resting)
            forget(handle);
    ended_.clear();
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

// The command that `report` is the first, or only, answer to.
size_t Driver::answered(const hawse_report &report, bool consume) {
    pass_silent(&report);
    if (next_ == commands_.size() || commands_[next_].seq % (uint64_t(1) << 32) != report.seq)
        fail("no command for a report", report);
    const size_t index = next_;
    next_ += consume;
    return index;
}

Driver::Order &Driver::order_at(uint32_t handle) {
    if (handle >= geometry_.orders || !orders_[handle].resting)
        throw DriverError("a report of handle " + std::to_string(handle) + ", where no order is");
    return orders_[handle];
}

// The order of a NEW that was acknowledged, or of a LOAD, takes its place.
void Driver::rest(const hawse_command &command) {
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

void Driver::end(uint32_t handle) {
    orders_[handle].resting = false;
    --resting_count_;
    ended_.push_back(handle);
}

void Driver::fill(uint32_t handle, uint32_t quantity) {
    Order &order = order_at(handle);
    if (quantity > order.quantity)
        throw DriverError("handle " + std::to_string(handle) + " traded more than it had");
    order.quantity -= quantity;
    if (!order.quantity)
        end(handle);
}

void Driver::record(const hawse_report &report) {
    hawse_event event{};
    std::memcpy(&event, &report, sizeof report);
    switch (report.kind & 0x0F) {
    case HAWSE_KIND_ACK: {
        const size_t index = answered(report, true);
        const hawse_command &command = commands_[index];
        event.order_id = order_ids_[index];
        if (command.opcode == HAWSE_OPCODE_NEW) {
            rest(command);
        } else if (command.opcode == HAWSE_OPCODE_STATE && command.instrument < geometry_.instruments) {
            instruments_[command.instrument] = {report.handle, report.maker, report.price, command.quantity};
            if (command.quantity == HAWSE_INSTRUMENT_STATE_LOADING)
                for (uint32_t handle = 0; handle < used_; ++handle)
                    if (orders_[handle].resting && orders_[handle].instrument == command.instrument)
                        end(handle);
        } else if (command.opcode != HAWSE_OPCODE_MASS_CANCEL) {
            fail("command " + std::to_string(index) + " is not answered by an ACK", report);
        }
        break;
    }
    case HAWSE_KIND_REJECTED: {
        const size_t index = answered(report, true);
        const hawse_command &command = commands_[index];
        event.order_id = order_ids_[index];
        const bool brought = command.opcode == HAWSE_OPCODE_NEW || command.opcode == HAWSE_OPCODE_LOAD;
        if (brought && command.handle < geometry_.orders && !orders_[command.handle].resting)
            ended_.push_back(command.handle);
        break;
    }
    case HAWSE_KIND_REPLACED: {
        const size_t index = answered(report, true);
        const hawse_command &command = commands_[index];
        Order &order = order_at(report.handle);
        event.order_id = order.order_id;
        if (command.handle != report.handle)
            fail("command " + std::to_string(index) + " is of another order", report);
        if (command.opcode == HAWSE_OPCODE_REPLACE) {
            order.rank = rank_++;
            order.price = command.price;
        } else if (command.opcode != HAWSE_OPCODE_REDUCE) {
            fail("command " + std::to_string(index) + " replaces nothing", report);
        }
        order.quantity = command.quantity;
        break;
    }
    case HAWSE_KIND_CANCELLED: {
        event.order_id = order_at(report.handle).order_id;
        uint8_t opcode = 0;
        if (report.reason == HAWSE_REASON_COMMAND)
            opcode = HAWSE_OPCODE_CANCEL;
        else if (report.reason == HAWSE_REASON_MASS)
            opcode = HAWSE_OPCODE_MASS_CANCEL; // its ACK is to come
        if (opcode && commands_[answered(report, opcode == HAWSE_OPCODE_CANCEL)].opcode != opcode)
            fail("no command that cancels this order", report);
        end(report.handle);
        break;
    }
    case HAWSE_KIND_TRADE:
        event.order_id = order_at(report.handle).order_id;
        event.maker_id = order_at(report.maker).order_id;
        if (!next_ || commands_[next_ - 1].handle != report.handle)
            fail("no command of this taker", report);
        fill(report.handle, report.quantity);
        fill(report.maker, report.quantity);
        break;
    default:
        fail("unexpected kind", report);
    }
    events_.push_back(event);
    ++records_;
}

std::vector<uint32_t> Driver::by_priority(int instrument) const {
    std::vector<uint32_t> handles;
    for (uint32_t handle = 0; handle < used_; ++handle)
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

bool Driver::best(uint32_t instrument, unsigned side, int32_t &price) const {
    bool found = false;
    for (uint32_t handle = 0; handle < used_; ++handle) {
        const Order &order = orders_[handle];
        if (!order.resting || order.instrument != instrument || (order.flags & 1) != side)
            continue;
        if (!found || (side == HAWSE_SIDE_BUY ? order.price > price : order.price < price))
            price = order.price;
        found = true;
    }
    return found;
}

uint64_t Driver::depth(uint32_t instrument, unsigned side, int64_t price) const {
    uint64_t sum = 0;
    for (uint32_t handle = 0; handle < used_; ++handle) {
        const Order &order = orders_[handle];
        if (order.resting && order.instrument == instrument && (order.flags & 1) == side && order.price == price)
            sum += order.quantity;
    }
    return sum;
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
        mirror.order_id = order.order_id;
        out.push_back(mirror);
    }
    return out;
}

} // namespace hawse
