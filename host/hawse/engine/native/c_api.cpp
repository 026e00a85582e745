#include "c_api.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <exception>
#include <memory>

#include "driver.hpp"
#include "fused_bursts.hpp"
#include "keccak.hpp"
#include "soft.hpp"

using namespace hawse;

struct hawse_soft {
    hawse_soft(const Geometry &geometry, bool no_band, bool gated) {
        if (gated)
            engine = std::make_unique<Soft<true>>(geometry, no_band);
        else
            engine = std::make_unique<Soft<false>>(geometry, no_band);
    }

    std::unique_ptr<SoftEngine> engine;
};

struct hawse_driver : Driver {
    using Driver::Driver;
};

struct hawse_fused : FusedBursts {
    using FusedBursts::FusedBursts;
};

static_assert(sizeof(MirrorOrder) == 40, "as hawse.engine.native.bindings reads it");
static_assert(sizeof(Refused) == 8, "a pair of uint32_t");

namespace {

thread_local std::string error;

// Run `body`; exceptions must not pass into C.
template <class Body> auto guarded(Body body) -> decltype(body()) {
    using Result = decltype(body());
    try {
        return body();
    } catch (const std::invalid_argument &e) {
        error = e.what();
        return Result(HAWSE_INVALID);
    } catch (const std::exception &e) {
        error = e.what();
        return Result(HAWSE_MISMATCH);
    }
}

template <class T, class... More> T *make(const Geometry &geometry, More... more) {
    try {
        return new T(geometry, more...);
    } catch (const std::exception &e) {
        error = e.what();
        return nullptr;
    }
}

int64_t thread_ns() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return int64_t(now.tv_sec) * 1000000000 + now.tv_nsec;
}

} // namespace

const char *hawse_error(void) { return error.c_str(); }

hawse_soft *hawse_soft_new(uint32_t instruments, uint32_t pool, uint32_t orders, uint32_t tag_bits, int no_band,
                           int gated) {
    return make<hawse_soft>({instruments, pool, orders, tag_bits}, no_band != 0, gated != 0);
}

void hawse_soft_free(hawse_soft *engine) { delete engine; }

void hawse_soft_reset(hawse_soft *engine, uint32_t epoch) { engine->engine->reset(epoch); }

void hawse_soft_hashing(hawse_soft *engine, int on) { engine->engine->set_hashing(on); }

int64_t hawse_soft_time(hawse_soft *engine, const hawse_command *commands, size_t count) {
    return guarded([&]() -> int64_t {
        constexpr size_t PORTION = 256; // as a caller would that wants the beats in its cache
        const int64_t begun = thread_ns();
        for (size_t i = 0; i < count; i += PORTION)
            engine->engine->exchange(commands + i, std::min(PORTION, count - i));
        return thread_ns() - begun;
    });
}

int64_t hawse_soft_exchange(hawse_soft *engine, const hawse_command *commands, size_t count, const void **beats) {
    return guarded([&]() -> int64_t {
        const auto &out = engine->engine->exchange(commands, count);
        *beats = out.data();
        return int64_t(out.size());
    });
}

hawse_driver *hawse_driver_new(uint32_t instruments, uint32_t pool, uint32_t orders, uint32_t tag_bits) {
    return make<hawse_driver>({instruments, pool, orders, tag_bits});
}

void hawse_driver_free(hawse_driver *driver) { delete driver; }

void hawse_driver_reset(hawse_driver *driver) { driver->reset(); }

void hawse_driver_recentring(hawse_driver *driver, int on) { driver->set_recentring(on); }

int64_t hawse_driver_prepare(hawse_driver *driver, const hawse_order *orders, size_t count,
                             const hawse_command **commands, const uint32_t **refused, size_t *refused_count) {
    return guarded([&]() -> int64_t {
        driver->prepare(orders, count);
        *commands = driver->commands().data();
        *refused = reinterpret_cast<const uint32_t *>(driver->refused().data());
        *refused_count = driver->refused().size();
        return int64_t(driver->commands().size());
    });
}

int64_t hawse_driver_absorb(hawse_driver *driver, const void *beats, size_t count, const hawse_event **events,
                            const hawse_resting **dumped, size_t *dumped_count) {
    return guarded([&]() -> int64_t {
        driver->absorb(static_cast<const Beat *>(beats), count);
        *events = driver->events().data();
        *dumped = driver->dumped().data();
        *dumped_count = driver->dumped().size();
        return int64_t(driver->events().size());
    });
}

namespace {

template <class Driven>
int tell_done(const Driven &driven, hawse_fence *fence, uint8_t *digest, hawse_batch *batch, uint8_t *root) {
    *fence = driven.fence();
    std::memcpy(digest, &driven.digest(), sizeof(Beat));
    if (!driven.closed())
        return 1;
    *batch = driven.batch();
    std::memcpy(root, &driven.root(), sizeof(Beat));
    return 2;
}

} // namespace

int hawse_driver_done(const hawse_driver *driver, hawse_fence *fence, uint8_t *digest, hawse_batch *batch,
                      uint8_t *root) {
    return driver->done() ? tell_done(*driver, fence, digest, batch, root) : 0;
}

int64_t hawse_driver_time(hawse_driver *driver, const hawse_order *orders, size_t count, const void *beats,
                          size_t beat_count) {
    return guarded([&]() -> int64_t {
        const int64_t begun = thread_ns();
        driver->prepare(orders, count);
        driver->absorb(static_cast<const Beat *>(beats), beat_count);
        return thread_ns() - begun;
    });
}

hawse_fused *hawse_fused_new(uint32_t instruments, uint32_t pool, uint32_t orders, uint32_t tag_bits, int no_band) {
    return make<hawse_fused>({instruments, pool, orders, tag_bits}, no_band != 0);
}

void hawse_fused_free(hawse_fused *engine) { delete engine; }

void hawse_fused_reset(hawse_fused *engine, uint32_t epoch) { engine->reset(epoch); }

int64_t hawse_fused_run(hawse_fused *engine, const hawse_order *orders, size_t count, const hawse_event **events,
                        const hawse_resting **dumped, size_t *dumped_count, const uint32_t **refused,
                        size_t *refused_count) {
    return guarded([&]() -> int64_t {
        engine->run(orders, count);
        *events = engine->events().data();
        *dumped = engine->dumped().data();
        *dumped_count = engine->dumped().size();
        *refused = reinterpret_cast<const uint32_t *>(engine->refused().data());
        *refused_count = engine->refused().size();
        return int64_t(engine->events().size());
    });
}

int hawse_fused_done(const hawse_fused *engine, hawse_fence *fence, uint8_t *digest, hawse_batch *batch,
                     uint8_t *root) {
    return tell_done(*engine, fence, digest, batch, root);
}

int64_t hawse_driver_resting(const hawse_driver *driver, void *out, size_t capacity) {
    return guarded([&]() -> int64_t {
        const auto orders = driver->resting();
        if (const size_t some = std::min(capacity, orders.size()))
            std::memcpy(out, orders.data(), some * sizeof(MirrorOrder));
        return int64_t(orders.size());
    });
}

int hawse_driver_instrument(const hawse_driver *driver, uint32_t instrument, hawse_instrument *out) {
    return guarded([&]() -> int {
        const auto &mirror = driver->instrument(instrument);
        *out = {mirror.first, mirror.count, mirror.base, mirror.state, mirror.no_band};
        return 0;
    });
}

size_t hawse_keccak256_width(void) { return keccak256_width(); }

int hawse_keccak256(const uint8_t *messages, size_t size, size_t count, uint8_t *hashes) {
    return guarded([&]() -> int {
        keccak256_each(messages, size, count, reinterpret_cast<Hash *>(hashes));
        return 0;
    });
}
