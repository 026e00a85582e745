// What the generated header of the wire leaves to C++.
#pragma once
#include <cstdint>

#include "hawse_wire.h"

// The common cases, one after another without a call between them.
#define HAWSE_INLINE inline __attribute__((always_inline))

namespace hawse {

// Memory of so many orders is at hand from the beginning; that of more is taken as they come.
constexpr uint32_t USUAL_ORDERS = 1 << 16;

// As hawse.wire.Geometry, which checks the sizes.
struct Geometry {
    uint32_t instruments, pool, orders, tag_bits;
};

// 32 bytes of whatever kind of report, or of hash.
struct alignas(8) Beat {
    uint8_t bytes[HAWSE_BEAT_BYTES];
};

} // namespace hawse
