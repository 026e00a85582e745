// Times a library of the C interface: messages in, reports pushed into a ring in the same thread.
#include <chrono>
#include <cstring>
#include <ctime>
#include <vector>

#if defined(__linux__)
#include <sys/resource.h>
#endif

#include "abi.h"

namespace {

// As long as a ring that a consumer keeps up with: the reports stay in the cache, and the oldest is written over.
struct Ring {
    static constexpr uint64_t SIZE = 1024;
    abi_report slots[SIZE];
    uint64_t pushed;
};

int push(void *sink, const abi_report *report) {
    Ring &ring = *static_cast<Ring *>(sink);
    std::memcpy(&ring.slots[ring.pushed++ % Ring::SIZE], report, sizeof *report);
    return 1;
}

void flush(void *) {}

const abi_transport TRANSPORT{nullptr, push, nullptr, flush, nullptr};

int64_t thread_ns() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return int64_t(now.tv_sec) * 1000000000 + now.tv_nsec;
}

// How often this thread was made to wait for another.
int64_t switches() {
#if defined(__linux__)
    rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
#else
    return 0;
#endif
}

} // namespace

struct Library {
    decltype(&engine_init) init;
    decltype(&engine_shutdown) shutdown;
    decltype(&engine_flush) flush;
    decltype(&engine_on_new_order) on_new;
    decltype(&engine_on_cancel) on_cancel;
    decltype(&engine_on_modify) on_modify;
    decltype(&engine_on_batch) on_batch;
};

namespace {

void one(const Library &engine, const abi_msg &message) {
    switch (message.type) {
    case ABI_NEW:
        return engine.on_new(&message.body.new_order);
    case ABI_CANCEL:
        return engine.on_cancel(&message.body.cancel);
    default:
        return engine.on_modify(&message.body.modify);
    }
}

} // namespace

// Nanoseconds of thread time that the messages of a new session take, a flush at the end included; *reports is their
// number. They come `batch` at a time; 0: in single calls.
extern "C" HAWSE_ABI int64_t timing_run(const Library *engine, const abi_msg *messages, uint64_t count, uint32_t batch,
                                        uint64_t *reports) {
    static Ring ring;
    ring.pushed = 0;
    if (engine->init(1, &TRANSPORT, &ring))
        return -1;
    const int64_t begun = thread_ns();
    if (batch)
        for (uint64_t i = 0; i < count; i += batch)
            engine->on_batch(messages + i, uint32_t(count - i < batch ? count - i : batch));
    else
        for (uint64_t i = 0; i < count; ++i)
            one(*engine, messages[i]);
    engine->flush();
    const int64_t took = thread_ns() - begun;
    *reports = ring.pushed;
    engine->shutdown();
    return took;
}

// What each message takes, in single calls, with one reading of the clock in each; and the number of those in which the
// system took the processor away, which are told as 0.
extern "C" HAWSE_ABI int64_t timing_each(const Library *engine, const abi_msg *messages, uint64_t count, uint32_t *each) {
    using Clock = std::chrono::steady_clock;
    constexpr int64_t SUSPECT = 2000; // ns, from which on it is asked
    static Ring ring;
    ring.pushed = 0;
    if (engine->init(1, &TRANSPORT, &ring))
        return -1;
    int64_t stalls = 0, seen = switches();
    auto last = Clock::now();
    for (uint64_t i = 0; i < count; ++i) {
        one(*engine, messages[i]);
        auto now = Clock::now();
        int64_t took = std::chrono::duration_cast<std::chrono::nanoseconds>(now - last).count();
        if (took >= SUSPECT) {
            if (const int64_t more = switches(); more != seen) {
                seen = more;
                took = 0;
                ++stalls;
            }
            now = Clock::now();
        }
        each[i] = uint32_t(took);
        last = now;
    }
    engine->shutdown();
    return stalls;
}

// Open loop: each message has its time, in nanoseconds from the start, whatever became of those before it. A thread that
// waits does so by looking at the clock. `late` is from that time until the call has come back, whatever kept it; the
// result is the time of all.
extern "C" HAWSE_ABI int64_t timing_open(const Library *engine, const abi_msg *messages, uint64_t count,
                                         const int64_t *due, int64_t *late) {
    using Clock = std::chrono::steady_clock;
    static Ring ring;
    ring.pushed = 0;
    if (engine->init(1, &TRANSPORT, &ring))
        return -1;
    const auto begun = Clock::now();
    const auto since = [begun] {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begun).count();
    };
    int64_t now = 0;
    for (uint64_t i = 0; i < count; ++i) {
        while (now < due[i])
            now = since();
        one(*engine, messages[i]);
        now = since();
        late[i] = now - due[i];
    }
    engine->shutdown();
    return now;
}
