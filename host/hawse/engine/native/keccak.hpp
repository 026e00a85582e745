// Keccak-256 with the original padding, as the EVM has it.
#pragma once
#include <cstddef>
#include <cstdint>

namespace hawse {

struct Hash {
    uint8_t bytes[32];
};

constexpr size_t KECCAK_RATE = 136;
constexpr size_t KECCAK_LANES = 8;

Hash keccak256(const uint8_t *data, size_t size);

// Hash `count` (1 to KECCAK_LANES) messages of `blocks` whole blocks each, padding included, side by side where
// the processor has wide registers. Writes one hash for each message.
void keccak256_blocks(const uint8_t *const *messages, size_t count, size_t blocks, Hash *out);

// Permute the first `count` of KECCAK_LANES states that stand side by side, word by word, at an address divisible
// by 64; the others hold anything afterwards.
void keccak_permute_lanes(uint64_t (*states)[KECCAK_LANES], size_t count);

// How many messages this processor hashes side by side: 8, 4 or 1.
size_t keccak256_width();

// Hash `count` messages of `size` bytes each, one after another at `messages`.
void keccak256_each(const uint8_t *messages, size_t size, size_t count, Hash *out);

} // namespace hawse
