// Drives the Verilated Core in bulk: a burst of commands in, all beats through the last answer out.
#include <algorithm>
#include <deque>
#include <vector>

#include "hawse_wire.h"
#include "model.h"

namespace {

struct Beat {
    uint8_t bytes[HAWSE_BEAT_BYTES];
};

struct Core {
    Model model;
    Stalls idle, block;
    uint64_t patience;
    std::vector<Beat> beats;
    uint64_t busy_cycles = 0, held_cycles = 0, full_cycles = 0, commands = 0;
    uint64_t record_level = 0, beat_level = 0, fence_cycles = 0, log_cycles = 0;  // the largest of all
    std::deque<uint64_t> asked;  // cycles in which FENCEs and CLOSEs came that have no answer yet
    // The book counts cycles from another one than we: known from the first command since a reset that has a record.
    bool asked_first = false, timed = false;
    uint32_t first_seq = 0;
    uint64_t first_cycle = 0, origin = 0;  // `origin` is the cycle that the book counts from

    // Answers of the burst still to come; each is two beats, the second of any content.
    int64_t fences = 0, batches = 0, hellos = 0;
    bool second = false;

    // A reset follows.
    void begin(uint32_t epoch) {
        model.top.commands___05Fvalid = 0;
        model.top.beats___05Fready = 0;
        model.top.epoch = epoch;
        model.top.reset = 0;
        fences = batches = hellos = 0;
        second = false;
        asked.clear();
        asked_first = timed = false;
    }

    bool done() const { return fences <= 0 && batches <= 0 && hellos <= 0 && !second; }

    void ask(const hawse_command& command) {
        switch (command.opcode) {
            case HAWSE_OPCODE_FENCE:
            case HAWSE_OPCODE_CLOSE: asked.push_back(model.cycles); break;
            case HAWSE_OPCODE_HELLO:
            case HAWSE_OPCODE_DUMP: break;
            default:
                if (!asked_first) first_seq = uint32_t(command.seq), first_cycle = model.cycles;
                asked_first = true;
        }
    }

    void count(const Beat& beat) {
        if (second) {
            second = false;
            return;
        }
        switch (beat.bytes[0] & 0x0F) {
            case HAWSE_KIND_FENCE:
                --fences, second = true;
                fence_cycles = std::max(fence_cycles, model.cycles - asked.front());
                asked.pop_front();
                break;
            case HAWSE_KIND_BATCH: --batches, second = true; break;
            case HAWSE_KIND_HELLO: --hellos, second = true; break;
            case HAWSE_KIND_RESTING: break;
            default: time(beat); break;
        }
    }

    void time(const Beat& beat) {
        hawse_report report;
        std::memcpy(&report, &beat, sizeof report);
        if (!timed && asked_first && report.seq == first_seq) {
            origin = first_cycle - report.accepted;
            timed = true;
        }
        if (timed) log_cycles = std::max<uint64_t>(log_cycles, uint32_t(model.cycles - origin) - report.left);
    }
};

}  // namespace

struct Counters {
    uint64_t cycles, busy_cycles, held_cycles, full_cycles, commands, record_level, beat_level, fence_cycles, log_cycles,
        origin;
    uint8_t timed;
};

HAWSE_EXPORT void hawse_core_scramble(uint32_t seed) { scramble = seed; }

HAWSE_EXPORT void* hawse_core_new(const char* trace, uint64_t from, uint64_t to, uint64_t stall,
                                  uint64_t seed, uint64_t patience) {
    return new Core{{trace, from, to}, {stall, seed}, {stall, seed ^ 0x9E3779B97F4A7C15ull}, patience, {}};
}

HAWSE_EXPORT void hawse_core_free(void* handle) { delete static_cast<Core*>(handle); }

HAWSE_EXPORT void hawse_core_reset(void* handle, uint32_t epoch) {
    Core& core = *static_cast<Core*>(handle);
    core.begin(epoch);
    core.model.reset();
}

// Number of beats, which stay at `*beats` until the next call; -1 if nothing moved for `patience` cycles.
HAWSE_EXPORT int64_t hawse_core_exchange(void* handle, const hawse_command* commands, uint64_t n,
                                         const uint8_t** beats) {
    Core& core = *static_cast<Core*>(handle);
    Model& model = core.model;
    Vmodel& top = model.top;
    core.beats.clear();
    for (uint64_t i = 0; i < n; ++i) {
        core.fences += commands[i].opcode == HAWSE_OPCODE_FENCE || commands[i].opcode == HAWSE_OPCODE_CLOSE;
        core.batches += commands[i].opcode == HAWSE_OPCODE_CLOSE;
        core.hellos += commands[i].opcode == HAWSE_OPCODE_HELLO;
    }
    uint64_t at = 0, stuck = 0;
    bool offering = false;
    while (at < n || !core.done()) {
        if (!offering && at < n && !core.idle()) {
            offering = true;
            std::memcpy(&top.commands___05Fpayload, &commands[at], sizeof(hawse_command));
        }
        top.commands___05Fvalid = offering;
        top.beats___05Fready = !core.block();
        model.settle();
        ++stuck;
        if (offering && top.commands___05Fready) {
            offering = false;
            core.ask(commands[at]);
            ++at;
            stuck = 0;
        }
        if (top.beats___05Fvalid && top.beats___05Fready) {
            Beat& beat = core.beats.emplace_back();
            std::memcpy(&beat, &top.beats___05Fpayload, sizeof beat);
            core.count(beat);
            stuck = 0;
        }
        core.busy_cycles += top.busy;
        core.held_cycles += top.held;
        core.full_cycles += top.full;
        core.record_level = std::max<uint64_t>(core.record_level, top.record_level);
        core.beat_level = std::max<uint64_t>(core.beat_level, top.beat_level);
        model.rise();
        if (stuck > core.patience) return -1;
    }
    top.commands___05Fvalid = 0;
    core.commands += n;
    model.flush();
    *beats = reinterpret_cast<const uint8_t*>(core.beats.data());
    return static_cast<int64_t>(core.beats.size());
}

// Offer commands for so many cycles and forget what comes of them: it ends in the middle of something. Then reset.
HAWSE_EXPORT void hawse_core_interrupt(void* handle, const hawse_command* commands, uint64_t n, uint64_t cycles) {
    Core& core = *static_cast<Core*>(handle);
    Vmodel& top = core.model.top;
    uint64_t at = 0;
    for (uint64_t i = 0; i < cycles; ++i) {
        top.commands___05Fvalid = at < n;
        if (at < n) std::memcpy(&top.commands___05Fpayload, &commands[at], sizeof(hawse_command));
        top.beats___05Fready = !core.block();
        core.model.settle();
        at += at < n && top.commands___05Fready;
        core.model.rise();
    }
    top.commands___05Fvalid = 0;
}

// Reset by the core's own input, as the link does it.
HAWSE_EXPORT void hawse_core_reset_input(void* handle, uint32_t epoch, uint64_t cycles) {
    Core& core = *static_cast<Core*>(handle);
    core.begin(epoch);
    core.model.top.reset = 1;
    for (uint64_t i = 0; i < cycles; ++i) {
        core.model.settle();
        core.model.rise();
    }
    core.model.top.reset = 0;
}

// Clock without commands, with no beat taken.
HAWSE_EXPORT void hawse_core_idle(void* handle, uint64_t cycles) {
    Core& core = *static_cast<Core*>(handle);
    core.model.top.commands___05Fvalid = 0;
    core.model.top.beats___05Fready = 0;
    for (uint64_t i = 0; i < cycles; ++i) {
        core.model.settle();
        core.busy_cycles += core.model.top.busy;
        core.model.rise();
    }
}

HAWSE_EXPORT void hawse_core_counters(void* handle, Counters* out) {
    const Core& core = *static_cast<Core*>(handle);
    *out = {core.model.cycles, core.busy_cycles, core.held_cycles, core.full_cycles,
            core.commands, core.record_level, core.beat_level, core.fence_cycles, core.log_cycles, core.origin, core.timed};
}
