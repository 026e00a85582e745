// The report log: a Keccak-256 Merkle tree over committed records, of RFC 6962's shape, built as they arrive.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

#include "hawse_wire.h"
#include "keccak.hpp"

namespace hawse {

class ReportLog {
  public:
    ReportLog();

    // From the next clear() on; without hashing records are only counted, and there are no leaves.
    void set_hashing(bool on) { hash_next_ = on; }

    // Forget everything: no records, no leaves.
    void clear();

    // Add the first HAWSE_RECORD_BYTES bytes at `record`.
    void append(const void *record) {
        ++records_;
        if (!hashing_)
            return;
        std::memcpy(lanes_[lane_] + 1 + size_t(HAWSE_RECORD_BYTES) * fill_, record, HAWSE_RECORD_BYTES);
        if (++fill_ == CHUNK) {
            fill_ = 0;
            if (++lane_ == KECCAK_LANES)
                hash_full();
        }
    }

    // End the open chunk; the digest of all records so far.
    Hash fence(uint32_t epoch);

    // The root over the leaves. To be asked behind a fence.
    Hash root() const;

    uint64_t records() const { return records_; }
    // Finished leaves. To be asked behind a fence.
    uint64_t leaves() const { return leaves_; }

  private:
    static constexpr size_t CHUNK = 64;
    static constexpr size_t LEAF_BYTES = 1 + CHUNK * HAWSE_RECORD_BYTES;
    static constexpr size_t LEAF_BLOCKS = LEAF_BYTES / KECCAK_RATE + 1;

    bool hashing_ = true, hash_next_ = true;

    void hash_full();
    void leaf(Hash hash);

    // Full chunks wait here, tag in front and padding behind, so that they are hashed side by side.
    uint8_t lanes_[KECCAK_LANES][LEAF_BLOCKS * KECCAK_RATE];
    size_t lane_ = 0, fill_ = 0;
    uint64_t records_ = 0, leaves_ = 0;
    std::vector<Hash> peaks_; // roots of complete subtrees, largest first; their sizes are the bits of leaves_
};

} // namespace hawse
