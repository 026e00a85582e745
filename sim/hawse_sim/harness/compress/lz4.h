// The two functions of LZ4 that Verilator's FST writer calls, so that writing a waveform needs no
// development package. Greedy compression to the LZ4 block format.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

static inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

static inline int LZ4_compress_default(const char* source, char* target, int size, int capacity) {
    constexpr int kHashBits = 14, kShortest = 4, kLastLiterals = 5, kLastMatch = 12;
    if (capacity < LZ4_compressBound(size)) return 0;
    const auto* in = reinterpret_cast<const uint8_t*>(source);
    auto* out = reinterpret_cast<uint8_t*>(target);
    std::vector<int> seen(1 << kHashBits, -1);
    auto extend = [&out](int rest) {
        for (; rest >= 255; rest -= 255) *out++ = 255;
        *out++ = static_cast<uint8_t>(rest);
    };
    auto literals = [&](int from, int to, int match) {
        const int count = to - from;
        *out++ = static_cast<uint8_t>((count < 15 ? count : 15) << 4 | (match < 15 ? match : 15));
        if (count >= 15) extend(count - 15);
        std::memcpy(out, in + from, count);
        out += count;
    };
    int anchor = 0;
    for (int at = 0; at + kLastMatch < size;) {
        uint32_t word, other;
        std::memcpy(&word, in + at, 4);
        int& slot = seen[(word * 2654435761u) >> (32 - kHashBits)];
        const int from = slot;
        slot = at;
        if (from >= 0) std::memcpy(&other, in + from, 4);
        if (from < 0 || at - from > 65535 || word != other) {
            ++at;
            continue;
        }
        int length = kShortest;
        while (at + length < size - kLastLiterals && in[from + length] == in[at + length]) ++length;
        literals(anchor, at, length - kShortest);
        *out++ = static_cast<uint8_t>(at - from);
        *out++ = static_cast<uint8_t>((at - from) >> 8);
        if (length - kShortest >= 15) extend(length - kShortest - 15);
        at += length;
        anchor = at;
    }
    literals(anchor, size, 0);
    return static_cast<int>(out - reinterpret_cast<uint8_t*>(target));
}
