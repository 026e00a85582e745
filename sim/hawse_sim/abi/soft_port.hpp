// The native software engine behind the C interface.
#pragma once
#include <cstdio>

#include "soft.hpp"

namespace hawse {

class Port {
  public:
    static constexpr const char *NAME = "soft";
    // Handles are free again sooner, and so fewer of them are in use, which caches like.
    static constexpr size_t BURST = 1024;
    // Reports come with the command: nothing has to be waited for.
    static constexpr bool IMMEDIATE = true;

    Port(const Geometry &geometry, uint32_t epoch) : engine_(geometry) {
        engine_.set_hashing(false);
        engine_.reset(epoch);
    }

    template <class Take> void send(const hawse_command *commands, size_t count, Take &&take) {
        const auto &beats = engine_.exchange(commands, count);
        take(beats.data(), beats.size());
    }

    // Until `done`, which a FENCE just sent brings about.
    template <class Take, class Done> void wait(bool, Take &&, Done &&) {}

    void begin_count() {}
    void statistics(std::FILE *, uint64_t) const {}

  private:
    SoftEngine engine_;
};

} // namespace hawse
