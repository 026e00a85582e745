#include "reportlog.hpp"

namespace hawse {
namespace {

enum Tag : uint8_t { LEAF = 0, NODE = 1, DIGEST = 2 };

Hash node(const Hash &left, const Hash &right) {
    uint8_t bytes[65];
    bytes[0] = NODE;
    std::memcpy(bytes + 1, left.bytes, 32);
    std::memcpy(bytes + 33, right.bytes, 32);
    return keccak256(bytes, sizeof bytes);
}

} // namespace

ReportLog::ReportLog() {
    std::memset(lanes_, 0, sizeof lanes_);
    for (auto &lane : lanes_) {
        lane[0] = LEAF;
        lane[LEAF_BYTES] = 0x01;
        lane[sizeof lane - 1] |= 0x80;
    }
    peaks_.reserve(64);
}

void ReportLog::clear() {
    hashing_ = hash_next_;
    lane_ = fill_ = 0;
    records_ = leaves_ = 0;
    peaks_.clear();
}

void ReportLog::leaf(Hash hash) {
    for (uint64_t size = leaves_++; size & 1; size >>= 1) { // join complete subtrees, as a counter carries
        hash = node(peaks_.back(), hash);
        peaks_.pop_back();
    }
    peaks_.push_back(hash);
}

void ReportLog::hash_full() {
    if (!lane_)
        return;
    const uint8_t *messages[KECCAK_LANES];
    Hash hashes[KECCAK_LANES];
    for (size_t i = 0; i < lane_; ++i)
        messages[i] = lanes_[i];
    keccak256_blocks(messages, lane_, LEAF_BLOCKS, hashes);
    for (size_t i = 0; i < lane_; ++i)
        leaf(hashes[i]);
    lane_ = 0;
}

Hash ReportLog::fence(uint32_t epoch) {
    const size_t open = lane_;
    hash_full();
    if (fill_)
        leaf(keccak256(lanes_[open], 1 + fill_ * HAWSE_RECORD_BYTES));
    fill_ = 0;
    uint8_t bytes[1 + 4 + 8 + 64 * 32];
    bytes[0] = DIGEST;
    std::memcpy(bytes + 1, &epoch, 4);
    std::memcpy(bytes + 5, &records_, 8);
    for (size_t i = 0; i < peaks_.size(); ++i)
        std::memcpy(bytes + 13 + 32 * i, peaks_[i].bytes, 32);
    return keccak256(bytes, 13 + 32 * peaks_.size());
}

Hash ReportLog::root() const {
    if (peaks_.empty())
        return keccak256(nullptr, 0);
    Hash root = peaks_.back();
    for (size_t i = peaks_.size() - 1; i-- > 0;)
        root = node(peaks_[i], root);
    return root;
}

} // namespace hawse
