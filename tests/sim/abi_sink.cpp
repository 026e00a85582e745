// A transport that keeps reports, and is full now and then.
#include <cstring>
#include <vector>

#include "abi.h"

namespace {

struct Sink {
    std::vector<abi_report> reports;
    uint32_t refuse;      // times that it is full before each report
    uint32_t refused = 0; // so far, of this one
    uint64_t flushes = 0, full = 0;
};

void *create(uint32_t refuse) { return new Sink{{}, refuse}; }

int push(void *sink, const abi_report *report) {
    Sink &it = *static_cast<Sink *>(sink);
    if (it.refused++ < it.refuse) {
        ++it.full;
        return 0;
    }
    it.refused = 0;
    it.reports.push_back(*report);
    return 1;
}

uint32_t drain(void *sink, abi_report *out, uint32_t n) {
    auto &reports = static_cast<Sink *>(sink)->reports;
    n = n < reports.size() ? n : uint32_t(reports.size());
    if (n)
        std::memcpy(out, reports.data(), n * sizeof *out);
    reports.erase(reports.begin(), reports.begin() + n);
    return n;
}

void flush(void *sink) { ++static_cast<Sink *>(sink)->flushes; }

void destroy(void *sink) { delete static_cast<Sink *>(sink); }

const abi_transport TRANSPORT{create, push, drain, flush, destroy};

} // namespace

extern "C" HAWSE_ABI const abi_transport *sink_transport() { return &TRANSPORT; }
extern "C" HAWSE_ABI void *sink_new(uint32_t refuse) { return create(refuse); }
extern "C" HAWSE_ABI void sink_free(void *sink) { destroy(sink); }
extern "C" HAWSE_ABI uint64_t sink_count(void *sink) { return static_cast<Sink *>(sink)->reports.size(); }
extern "C" HAWSE_ABI uint32_t sink_drain(void *sink, abi_report *out, uint32_t n) { return drain(sink, out, n); }
extern "C" HAWSE_ABI uint64_t sink_flushes(void *sink) { return static_cast<Sink *>(sink)->flushes; }
extern "C" HAWSE_ABI uint64_t sink_full(void *sink) { return static_cast<Sink *>(sink)->full; }
