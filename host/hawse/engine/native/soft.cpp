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

template <bool Gated> Soft<Gated>::Soft(const Geometry &geometry, bool no_band) : Rules(geometry, no_band) { reset(0); }

template <bool Gated> void Soft<Gated>::reset(uint32_t epoch) {
    Rules::clear();
    closing_.clear(epoch);
    out_.clear();
    last_seq_ = 0;
}

template <bool Gated>
const std::vector<Beat> &Soft<Gated>::exchange(const hawse_command *commands, size_t count) {
    out_.clear();
    out_.reserve(2 * count + 64);
    for (size_t i = 0; i < count; ++i) {
        if (i + PREFETCH < count)
            Rules::prefetch(commands[i + PREFETCH].handle);
        apply_any(commands[i]);
        last_seq_ = commands[i].seq;
    }
    return out_;
}

template <bool Gated> void Soft<Gated>::apply_any(const hawse_command &command) {
    switch (command.opcode) {
    case HAWSE_OPCODE_FENCE:
    case HAWSE_OPCODE_CLOSE: {
        Rules::fence_gate();
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
        Rules::apply(command);
    }
    ++closing_.commands;
}

template <bool Gated> template <class T> void Soft<Gated>::push(const T &report) {
    static_assert(sizeof(T) == sizeof(Beat), "a report is one beat");
    Beat beat;
    std::memcpy(&beat, &report, sizeof beat);
    out_.push_back(beat);
}

template <bool Gated>
inline void Soft<Gated>::report(uint8_t kind, uint8_t reason, uint16_t instrument, uint32_t handle, uint32_t maker,
                                int32_t price, uint32_t quantity, uint64_t seq) {
    const hawse_report record{kind, reason, instrument, handle, maker, price, quantity, uint32_t(seq), 0, 0};
    closing_.log.append(&record);
    push(record);
}

template <bool Gated> void Soft<Gated>::hello() {
    const Geometry &geometry = Rules::geometry();
    hawse_hello hello{};
    hello.kind = HAWSE_KIND_HELLO;
    hello.version = HAWSE_WIRE_VERSION;
    hello.instruments = uint16_t(geometry.instruments);
    hello.orders = geometry.orders;
    hello.pool = geometry.pool;
    hello.tag_bits = uint8_t(geometry.tag_bits);
    hello.least_window = uint8_t(__builtin_ctz(HAWSE_LEAST_WINDOW));
    hello.limits = Gated ? LIMITS : 0;
    hello.epoch = closing_.epoch();
    hello.last_seq = last_seq_;
    push(hello);
    hawse_build build{};
    build.build_low = HAWSE_BUILD_LOW;
    build.build_high = HAWSE_BUILD_HIGH;
    build.features = (Rules::no_band() ? HAWSE_FEATURE_NO_BAND : 0) | (Gated ? HAWSE_FEATURE_GATE : 0);
    push(build);
}

template class Soft<false>;
template class Soft<true>;

} // namespace hawse
