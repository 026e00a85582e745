#include "soft.hpp"

#include <cstring>

// What this is made of: hawse.engine.native.build says it to a library that it builds.
#ifndef HAWSE_BUILD_LOW
#define HAWSE_BUILD_LOW 0
#define HAWSE_BUILD_HIGH 0
#endif

namespace hawse {
namespace {

constexpr size_t PREFETCH = 8;

} // namespace

// A bit for each Limit, the instrument's behind the tag's.
constexpr uint16_t LIMITS = (1 << (HAWSE_LIMIT_REVOKE + 1 + HAWSE_LIMIT_COLLAR - HAWSE_LIMIT_RATE + 1)) - 1;

SoftEngine::SoftEngine(const Geometry &geometry, bool no_band, bool gated) : Matching(geometry, no_band, gated) {
    reset(0);
}

void SoftEngine::reset(uint32_t epoch) {
    clear();
    closing_.clear(epoch);
    out_.clear();
    last_seq_ = 0;
}

const std::vector<Beat> &SoftEngine::exchange(const hawse_command *commands, size_t count) {
    out_.clear();
    out_.reserve(2 * count + 64);
    for (size_t i = 0; i < count; ++i) {
        if (i + PREFETCH < count)
            prefetch(commands[i + PREFETCH].handle);
        apply_any(commands[i]);
        last_seq_ = commands[i].seq;
    }
    return out_;
}

void SoftEngine::apply_any(const hawse_command &command) {
    switch (command.opcode) {
    case HAWSE_OPCODE_FENCE:
    case HAWSE_OPCODE_CLOSE: {
        fence_gate();
        const Hash digest = closing_.digest();
        push(closing_.fence(command.token));
        push(digest);
        if (command.opcode == HAWSE_OPCODE_CLOSE) {
            Hash root;
            push(closing_.batch(command.token, root));
            push(root);
            return;
        }
        break;
    }
    case HAWSE_OPCODE_HELLO:
        hello();
        break;
    default:
        apply(command);
    }
    ++closing_.commands;
}

template <class T> void SoftEngine::push(const T &report) {
    static_assert(sizeof(T) == sizeof(Beat), "a report is one beat");
    Beat beat;
    std::memcpy(&beat, &report, sizeof beat);
    out_.push_back(beat);
}

inline void SoftEngine::report(uint8_t kind, uint8_t reason, uint16_t instrument, uint32_t handle, uint32_t maker,
                               int32_t price, uint32_t quantity, uint64_t seq) {
    const hawse_report record{kind, reason, instrument, handle, maker, price, quantity, uint32_t(seq), 0, 0};
    closing_.log.append(&record);
    push(record);
}

void SoftEngine::hello() {
    hawse_hello hello{};
    hello.kind = HAWSE_KIND_HELLO;
    hello.version = HAWSE_WIRE_VERSION;
    hello.instruments = uint16_t(geometry().instruments);
    hello.orders = geometry().orders;
    hello.pool = geometry().pool;
    hello.tag_bits = uint8_t(geometry().tag_bits);
    hello.least_window = uint8_t(__builtin_ctz(HAWSE_LEAST_WINDOW));
    hello.limits = gated() ? LIMITS : 0;
    hello.epoch = closing_.epoch();
    hello.last_seq = last_seq_;
    push(hello);
    hawse_build build{};
    build.build_low = HAWSE_BUILD_LOW;
    build.build_high = HAWSE_BUILD_HIGH;
    build.features = (no_band() ? HAWSE_FEATURE_NO_BAND : 0) | (gated() ? HAWSE_FEATURE_GATE : 0);
    push(build);
}

} // namespace hawse
