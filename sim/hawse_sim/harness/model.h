// A Verilated model with its clock, cycle counter and waveform.
#pragma once
#include <cstdint>
#include <cstring>
#include <memory>

#include "Vmodel.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_fst_c.h"
#endif

#define HAWSE_EXPORT extern "C" __attribute__((visibility("default")))

// What registers and memories hold at the start of the models that are made from now on, where the design leaves
// it open (verilate.py, `begins_open`): random by this seed, or all zero if it is 0.
inline uint32_t scramble = 0;

class Model {
public:
    // `trace` may be null; the waveform then covers cycles `from` up to, not including, `to`.
    Model(const char* trace, uint64_t from, uint64_t to) : from_{from}, to_{to} {
#if VM_TRACE
        if (trace) {
            context_.traceEverOn(true);
            wave_ = std::make_unique<VerilatedFstC>();
            top.trace(wave_.get(), 99);
            wave_->open(trace);
        }
#else
        (void)trace;
#endif
        top.clk = 0;
        top.rst = 0;
        top.eval();
    }

    ~Model() {
#if VM_TRACE
        if (wave_) wave_->close();
#endif
        top.final();
    }

    // Let the inputs take effect, up to but not including the next rising edge.
    void settle() {
        top.clk = 0;
        top.eval();
        dump(5);
    }

    // The rising edge.
    void rise() {
        ++cycles;
        top.clk = 1;
        top.eval();
        dump(0);
    }

    void reset() {
        top.rst = 1;
        for (int i = 0; i < 4; ++i) {
            settle();
            rise();
        }
        top.rst = 0;
    }

    void flush() {
#if VM_TRACE
        if (wave_) wave_->flush();
#endif
    }

    uint64_t cycles = 0;

private:
    void dump(uint64_t offset) {
#if VM_TRACE
        // Cycle n begins at its rising edge, at 10 n nanoseconds.
        if (wave_ && cycles >= from_ && cycles < to_) wave_->dump(cycles * 10 + offset);
#else
        (void)offset;
#endif
    }

    struct Context : VerilatedContext {
        Context() {
            randReset(scramble ? 2 : 0);
            if (scramble) randSeed(int(scramble));
        }
    };

    Context context_;  // before `top`, which refers to it
    uint64_t from_, to_;
#if VM_TRACE
    std::unique_ptr<VerilatedFstC> wave_;
#endif

public:
    Vmodel top{&context_, "top"};
};

// xorshift64*: stalls that a seed repeats, on every machine.
class Stalls {
public:
    // `rate` of 2^32 is always.
    Stalls(uint64_t rate, uint64_t seed) : rate_{rate}, state_{seed * 2 + 1} {}

    bool operator()() {
        if (!rate_) return false;
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return (state_ * 0x2545F4914F6CDD1Dull >> 32) < rate_;
    }

private:
    uint64_t rate_, state_;
};
