// Drives the Verilated Keccak256: words of messages in without a pause, digests out.
#include "model.h"

HAWSE_EXPORT void* hawse_keccak256_new() {
    auto* model = new Model{nullptr, 0, 0};
    model->top.i___05Fvalid = 0;
    model->top.o___05Fready = 1;
    model->reset();
    return model;
}

HAWSE_EXPORT void hawse_keccak256_free(void* handle) { delete static_cast<Model*>(handle); }

// `ends` holds, for each of the `n` words, its bytes, and 16 if it is the last of its message. Returns cycles
// from the first word to the last of `count` digests; 0 if none came for `patience` cycles.
HAWSE_EXPORT uint64_t hawse_keccak256_run(void* handle, const uint64_t* words, const uint8_t* ends, uint64_t n,
                                          uint8_t* digests, uint64_t count, uint64_t patience) {
    Model& model = *static_cast<Model*>(handle);
    Vmodel& top = model.top;
    const uint64_t begin = model.cycles;
    uint64_t at = 0, done = 0, quiet = 0;
    while (done < count) {
        top.i___05Fvalid = at < n;
        if (at < n) {
            top.i___05Fpayload[0] = static_cast<uint32_t>(words[at]);
            top.i___05Fpayload[1] = static_cast<uint32_t>(words[at] >> 32);
            top.i___05Fpayload[2] = ends[at];
        }
        model.settle();
        quiet = at < n && top.i___05Fready ? 0 : quiet + 1;
        at += top.i___05Fvalid && top.i___05Fready;
        if (top.o___05Fvalid) {
            std::memcpy(digests + 32 * done++, &top.o___05Fpayload, 32);
            quiet = 0;
        }
        model.rise();
        if (quiet > patience) return 0;
    }
    top.i___05Fvalid = 0;
    model.settle();
    return model.cycles - begin;
}
