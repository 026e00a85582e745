// What may be in a burst of orders, and why one of them never becomes a command.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "hawse_wire.h"

namespace hawse {

// As hawse.engine.DriverRefusal.
enum class Refusal : uint32_t {
    NONE = 0,
    DUPLICATE_ORDER_ID = 1, // NEW, LOAD: an order of this id is alive, or ended since the last fence
    STORE_FULL = 2,         // NEW: no free handle
    HANDLE_IN_USE = 3,      // LOAD: an order is alive at the handle, or ended there since the last fence
    RECENTRE_NOT_FIRST = 4, // RECENTRE: not the first of its burst
    RECENTRE_INSTRUMENT = 5, // RECENTRE: no such instrument, or it has no window
    RECENTRE_BAND = 6, // RECENTRE: a resting order would fall outside the new band, or that ends beyond 32 bits
};

struct Refused {
    uint32_t index; // in the burst
    Refusal reason;
};

// Throws std::invalid_argument unless the last order, and no other, is FENCE or CLOSE, and none is HELLO.
inline void check_burst(const hawse_order *orders, size_t count) {
    const auto ends = [](uint8_t opcode) { return (opcode == HAWSE_OPCODE_FENCE) | (opcode == HAWSE_OPCODE_CLOSE); };
    if (!count)
        throw std::invalid_argument("orders: none; a burst ends with FENCE or CLOSE");
    bool good = ends(orders[count - 1].opcode);
    for (size_t i = 0; i + 1 < count; ++i)
        good &= !ends(orders[i].opcode) & (orders[i].opcode != HAWSE_OPCODE_HELLO);
    if (good)
        return;
    size_t i = 0;
    while (i + 1 < count && !ends(orders[i].opcode) && orders[i].opcode != HAWSE_OPCODE_HELLO)
        ++i;
    throw std::invalid_argument("order " + std::to_string(i) +
                                ": a burst ends with its only FENCE or CLOSE, and holds no HELLO");
}

} // namespace hawse
