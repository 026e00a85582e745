// The Verilated Core behind the C interface. Its clock stands still between two calls, so that commands are offered
// back to back however they are delivered.
#pragma once
#include <cinttypes>
#include <cstdio>
#include <stdexcept>
#include <vector>

#include "model.h"
#include "wire.hpp"

namespace hawse {

class Port {
  public:
    explicit Port(uint32_t epoch) : model_(nullptr, 0, 0) {
        model_.top.commands___05Fvalid = 0;
        model_.top.beats___05Fready = 1;
        model_.top.epoch = epoch;
        model_.reset();
    }

    template <class Take> void send(const hawse_command *commands, size_t count, Take &&take) {
        for (size_t i = 0; i < count; ++i) {
            std::memcpy(&model_.top.commands___05Fpayload, &commands[i], sizeof *commands);
            model_.top.commands___05Fvalid = 1;
            for (bool held = false; !clock(held);)
                ++(held ? log_cycles_ : book_cycles_);
        }
        model_.top.commands___05Fvalid = 0;
        pass(take);
    }

    template <class Take, class Done> void wait(bool flush, Take &&take, Done &&done) {
        const uint64_t begun = model_.cycles;
        bool held;
        while (!done()) {
            clock(held);
            if (!beats_.empty())
                pass(take);
        }
        (flush ? flush_cycles_ : fence_cycles_) += model_.cycles - begun;
    }

    // Cycles count from the next command that is accepted.
    void begin_count() {
        counting_ = false;
        book_cycles_ = log_cycles_ = fence_cycles_ = flush_cycles_ = first_ = last_ = 0;
    }

    void statistics(std::FILE *file, uint64_t messages) const {
        const uint64_t cycles = last_ > first_ ? last_ - first_ : 0;
        std::fprintf(file,
                     "  \"cycles\": %" PRIu64 ",\n  \"cycles_per_message\": %.4f,\n  \"stall_cycles\": "
                     "{\"book\": %" PRIu64 ", \"log\": %" PRIu64 ", \"fence\": %" PRIu64 ", \"flush\": %" PRIu64 "},\n",
                     cycles, messages ? double(cycles) / double(messages) : 0.0, book_cycles_, log_cycles_,
                     fence_cycles_, flush_cycles_);
    }

  private:
    static constexpr uint64_t PATIENCE = 2000000;

    // One cycle; whether the command offered was accepted, and whether the log kept the book waiting.
    bool clock(bool &held) {
        model_.settle();
        held = model_.top.held;
        const bool accepted = model_.top.commands___05Fvalid && model_.top.commands___05Fready;
        const bool beat = model_.top.beats___05Fvalid;
        if (beat) {
            std::memcpy(&beats_.emplace_back(), &model_.top.beats___05Fpayload, sizeof(Beat));
            last_ = model_.cycles;
        }
        if (accepted && !counting_) {
            counting_ = true;
            first_ = model_.cycles;
        }
        stuck_ = accepted || beat ? 0 : stuck_ + 1;
        model_.rise();
        if (stuck_ > PATIENCE)
            throw std::runtime_error("the gateware neither takes a command nor gives a beat");
        return accepted;
    }

    template <class Take> void pass(Take &&take) {
        take(beats_.data(), beats_.size());
        beats_.clear();
    }

    Model model_;
    std::vector<Beat> beats_;
    bool counting_ = false;
    uint64_t book_cycles_ = 0, log_cycles_ = 0, fence_cycles_ = 0, flush_cycles_ = 0, first_ = 0, last_ = 0, stuck_ = 0;
};

} // namespace hawse
