// The Verilated Core, or the Book alone, beside the native software engine on adversarial flow, beat for beat.
#include "adversary.h"
#include "model.h"
#include "soft.hpp"

namespace {

using hawse::Adversary;
using hawse::Beat;

#ifdef HAWSE_BOOK
constexpr bool LOG = false;
#else
constexpr bool LOG = true;
#endif

enum Content : uint32_t { RECORD, FENCE, BATCH, HELLO, RESTING, HASH, BUILD };

struct Expected {
    Beat beat;
    Content content;
    uint32_t command;
};

Content content_of(const Beat& beat) {
    switch (beat.bytes[0] & 15) {
        case HAWSE_KIND_FENCE: return FENCE;
        case HAWSE_KIND_BATCH: return BATCH;
        case HAWSE_KIND_HELLO: return HELLO;
        case HAWSE_KIND_RESTING: return RESTING;
        default: return RECORD;
    }
}

// Bytes in which the gateware's beat must agree with the software's.
size_t compared(Content content) {
    if (content == RECORD) return HAWSE_RECORD_BYTES;
    // The book leaves the figures of the log to the log.
    if (!LOG && content == FENCE) return 16;
    if (!LOG && content == BATCH) return 8;
    return HAWSE_BEAT_BYTES;
}

bool same(const Expected& expected, Beat got) {
    if (expected.content == HELLO) std::memset(got.bytes + 20, 0, 4);  // busy cycles
    return !std::memcmp(expected.beat.bytes, got.bytes, compared(expected.content));
}

constexpr unsigned LAST = 48;

}  // namespace

struct Setup {
    hawse::Geometry geometry;
    uint64_t seed, commands, mix, idle, block, patience, fault;
};

enum Result : uint64_t { SAME, DIFFERENT, STALLED, SURPLUS, SIDEBAND };

struct Outcome {
    uint64_t result, commands, beats, records, cycles, busy, held, fingerprint;
    // Where the first fault showed, if one did, and the last commands offered before.
    uint64_t at_command, at_cycle, at_clock, last_count;
    Beat expected, got;
    hawse_command last[LAST];
    hawse::Coverage coverage;
};

HAWSE_EXPORT const char* hawse_differential_mix(uint64_t index) {
    return index < std::size(hawse::MIXES) ? hawse::MIXES[index].name : nullptr;
}

HAWSE_EXPORT void* hawse_differential_new(const char* trace, uint64_t from, uint64_t to) {
    return new Model{trace, from, to};
}

HAWSE_EXPORT void hawse_differential_free(void* handle) { delete static_cast<Model*>(handle); }

// One session from a reset to a last FENCE; ends at the first difference. Counts are those of this session, but for
// `at_clock`: cycles of the model, as waveforms count them.
HAWSE_EXPORT void hawse_differential_run(void* handle, const Setup* setup, Outcome* outcome) {
    Model& model = *static_cast<Model*>(handle);
    Vmodel& top = model.top;
    Outcome& out = *outcome;
    out = {};
    Stalls idle{setup->idle, setup->seed}, block{setup->block, setup->seed ^ 0x9E3779B97F4A7C15ull};
    hawse::Soft<false> soft{setup->geometry, false};
    const uint32_t epoch = uint32_t(setup->seed);
    soft.set_hashing(LOG);
    soft.reset(epoch);
    Adversary adversary{setup->geometry, hawse::MIXES[setup->mix], setup->seed};
    std::vector<Expected> expected;
    std::vector<uint32_t> accepted(setup->commands);
    size_t head = 0;
    top.commands___05Fvalid = 0;
    top.beats___05Fready = 0;
    top.epoch = epoch;
#ifdef HAWSE_FAULTS
    top.fault = uint32_t(setup->fault);
#endif
    model.reset();
    const uint64_t begun = model.cycles;
    uint64_t offered = 0, stuck = 0, since = 0, quiet = 0;
    uint32_t offset = 0;
    bool offering = false, waiting = false, timed = false;

    const auto offer = [&] {
        hawse_command command = adversary.next();
        if (offered + 1 == setup->commands) command.opcode = HAWSE_OPCODE_FENCE;
        const auto& beats = soft.exchange(&command, 1);
        adversary.heard(command, beats.data(), beats.size(), out.coverage);
        Content second = RECORD;  // of the beat to come; RECORD: it is a first one
        for (const Beat& beat : beats) {
            const Content content = second == RECORD ? content_of(beat) : second;
            const bool hashed = content == FENCE || content == BATCH;
            second = hashed ? HASH : content == HELLO ? BUILD : RECORD;
            if (LOG || content != HASH) expected.push_back({beat, content, uint32_t(offered)});
        }
        std::memcpy(&top.commands___05Fpayload, &command, sizeof command);
        out.last[offered++ % LAST] = command;
        offering = true;
    };

    while (quiet < 64) {
        if (!offering && offered < setup->commands && !idle()) offer();
        top.commands___05Fvalid = offering;
        top.beats___05Fready = !block();
        model.settle();
        const uint64_t now = model.cycles - begun;
        ++stuck;
        if (offering && top.commands___05Fready) {
            accepted[offered - 1] = uint32_t(now);
            offering = false;
            stuck = 0;
        }
        if (top.beats___05Fvalid && !waiting) {
            waiting = true;
            since = now;
        }
        if (top.beats___05Fvalid && top.beats___05Fready) {
            waiting = false;
            stuck = 0;
            Beat got;
            std::memcpy(&got, &top.beats___05Fpayload, sizeof got);
            for (uint64_t word : {0, 8, 16, 24}) {
                uint64_t value;
                std::memcpy(&value, got.bytes + word, sizeof value);
                out.fingerprint = (out.fingerprint ^ value) * 0x9E3779B97F4A7C15ull + now;
            }
            out.got = got;
            if (head == expected.size()) {
                out.result = SURPLUS;
            } else {
                const Expected& wanted = expected[head++];
                out.expected = wanted.beat;
                out.at_command = wanted.command;
                ++out.beats;
                if (!same(wanted, got)) {
                    out.result = DIFFERENT;
                } else if (wanted.content == RECORD) {
                    ++out.records;
                    hawse_report report;
                    std::memcpy(&report, &got, sizeof report);
                    if (!timed) offset = report.accepted - accepted[wanted.command];
                    timed = true;
                    const uint32_t entry = report.accepted - offset, left = report.left - offset;
                    // The book stamps a report when it offers it; the log behind it passes it on later.
                    if (entry != accepted[wanted.command] || (LOG ? left - entry > now - entry : left != uint32_t(since)))
                        out.result = SIDEBAND;
                }
            }
        }
        out.busy += top.busy;
#ifndef HAWSE_BOOK
        out.held += top.held;
#endif
        if (stuck > setup->patience) out.result = STALLED;
        // When all is answered, nothing more may come, and the book must find its rest.
        const bool over = offered == setup->commands && !offering && head == expected.size();
        quiet = over ? quiet + 1 : 0;
        if (quiet == 64 && top.busy) out.result = SURPLUS;
        if (out.result != SAME) {
            out.at_cycle = now;
            out.at_clock = model.cycles;
            model.rise();
            break;
        }
        model.rise();
    }
    out.commands = offered;
    out.cycles = model.cycles - begun;
    out.last_count = std::min<uint64_t>(offered, LAST);
    std::rotate(out.last, out.last + (offered >= LAST ? offered % LAST : 0), out.last + LAST);
    model.flush();
}
