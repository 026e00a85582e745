// Fused by whole bursts, as a Driver and a SoftEngine take them.
#pragma once
#include <vector>

#include "buffer.hpp"
#include "fused.hpp"

namespace hawse {

class FusedBursts {
  public:
    FusedBursts(const Geometry &geometry, bool no_band) : engine_(geometry, no_band, *this) { reset(0); }

    void reset(uint32_t epoch) { engine_.reset(epoch); }
    void set_hashing(bool on) { engine_.closing().log.set_hashing(on); }

    // A whole burst; what it said stays until the next.
    void run(const hawse_order *orders, size_t count) {
        check_burst(orders, count);
        events_.clear();
        dumped_.clear();
        refused_.clear();
        for (size_t i = 0; i + 1 < count; ++i)
            if (const Refusal reason = engine_.add(orders[i], i == 0); reason != Refusal::NONE)
                refused_.push_back({uint32_t(i), reason});
        const hawse_order &last = orders[count - 1];
        digest_ = engine_.closing().digest();
        fence_ = engine_.closing().fence(last.token);
        engine_.fence();
        closed_ = last.opcode == HAWSE_OPCODE_CLOSE;
        if (closed_)
            batch_ = engine_.closing().batch(last.token, root_);
    }

    const Buffer<hawse_event> &events() const { return events_; }
    const std::vector<hawse_resting> &dumped() const { return dumped_; }
    const std::vector<Refused> &refused() const { return refused_; }
    const hawse_fence &fence() const { return fence_; }
    const Hash &digest() const { return digest_; }
    bool closed() const { return closed_; }
    const hawse_batch &batch() const { return batch_; }
    const Hash &root() const { return root_; }

    static constexpr bool LOGGED = true;
    void event(const hawse_event &event, uint64_t) { events_.push_back(event); }
    void resting(const hawse_resting &report) { dumped_.push_back(report); }

  private:
    Fused<FusedBursts> engine_;
    Buffer<hawse_event> events_;
    std::vector<hawse_resting> dumped_;
    std::vector<Refused> refused_;
    hawse_fence fence_{};
    hawse_batch batch_{};
    Hash digest_{}, root_{};
    bool closed_ = false;
};

} // namespace hawse
