// What the generated header of the wire leaves to C++.
#pragma once
#include <cstdint>

#include "hawse_wire.h"

namespace hawse {

// As hawse.wire.Geometry, which checks the sizes.
struct Geometry {
    uint32_t instruments, pool, orders, tag_bits;
};

// 32 bytes of whatever kind of report, or of hash.
struct alignas(8) Beat {
    uint8_t bytes[HAWSE_BEAT_BYTES];
};

} // namespace hawse
