// The software engine that speaks the wire: commands in, beats out.
#pragma once
#include <cstdint>
#include <vector>

#include "hawse_wire.h"
#include "matching.hpp"
#include "reportlog.hpp"
#include "wire.hpp"

namespace hawse {

// FENCE and CLOSE: what a log and the counters of commands answer to them.
class Closing {
  public:
    void clear(uint32_t epoch) {
        log.clear();
        epoch_ = epoch;
        commands = 0;
    }

    hawse_fence fence(uint32_t token) const {
        hawse_fence fence{};
        fence.kind = HAWSE_KIND_FENCE;
        fence.token = token;
        fence.commands = commands;
        fence.records = log.records();
        fence.epoch = epoch_;
        return fence;
    }
    Hash digest() { return log.fence(epoch_); }

    // Behind a fence; the log and its counters begin again.
    hawse_batch batch(uint32_t token, Hash &root) {
        hawse_batch batch{};
        batch.kind = HAWSE_KIND_BATCH;
        batch.token = token;
        batch.leaves = log.leaves();
        batch.records = log.records();
        batch.epoch = epoch_;
        root = log.root();
        clear(epoch_);
        return batch;
    }

    uint32_t epoch() const { return epoch_; }

    ReportLog log;
    uint64_t commands = 0; // since it began

  private:
    uint32_t epoch_ = 0;
};

// With a gate or without.
class SoftEngine {
  public:
    virtual ~SoftEngine() = default;

    virtual void reset(uint32_t epoch) = 0;

    // Whether reports are hashed, from the next reset on. If not, digests and roots are those of an empty log, and
    // everything else is the same.
    virtual void set_hashing(bool on) = 0;

    // Carry out commands; the beats stay valid until the next call.
    virtual const std::vector<Beat> &exchange(const hawse_command *commands, size_t count) = 0;
};

template <bool Gated> class Soft final : public SoftEngine, public Matching<Soft<Gated>, Gated> {
    using Rules = Matching<Soft<Gated>, Gated>;

  public:
    // `no_band`: whether STATE(loading) with a count of zero is taken, for an instrument that holds any price.
    Soft(const Geometry &geometry, bool no_band);

    void reset(uint32_t epoch) override;
    void set_hashing(bool on) override { closing_.log.set_hashing(on); }
    const std::vector<Beat> &exchange(const hawse_command *commands, size_t count) override;

  private:
    friend class Matching<Soft<Gated>, Gated>;

    void report(uint8_t kind, uint8_t reason, uint16_t instrument, uint32_t handle, uint32_t maker, int32_t price,
                uint32_t quantity, uint64_t seq);
    void resting(const hawse_resting &report) { push(report); }
    void ended(uint32_t) {}

    void apply_any(const hawse_command &command);
    void hello();
    template <class T> void push(const T &report);

    Closing closing_;
    std::vector<Beat> out_;
    uint64_t last_seq_ = 0;
};

} // namespace hawse
