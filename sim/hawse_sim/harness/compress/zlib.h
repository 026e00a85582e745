// The two functions of zlib that Verilator's FST writer calls; see lz4.h. Stored, not compressed: the
// writer keeps the plain data when compression gains nothing, and the bulk of a waveform goes through LZ4.
#pragma once
#include <cstdint>
#include <cstring>

using Bytef = unsigned char;
using uLong = unsigned long;
using uLongf = unsigned long;
constexpr int Z_OK = 0, Z_BUF_ERROR = -5;

static inline uLong compressBound(uLong size) { return size + 5 * (size / 65535 + 1) + 6; }

static inline int compress2(Bytef* target, uLongf* target_size, const Bytef* source, uLong size, int) {
    if (*target_size < compressBound(size)) return Z_BUF_ERROR;
    Bytef* out = target;
    *out++ = 0x78;
    *out++ = 0x01;
    uLong at = 0;
    do {
        const uLong part = size - at < 65535 ? size - at : 65535;
        *out++ = at + part == size;
        for (uLong length : {part, ~part}) {
            *out++ = static_cast<Bytef>(length);
            *out++ = static_cast<Bytef>(length >> 8);
        }
        std::memcpy(out, source + at, part);
        out += part;
        at += part;
    } while (at < size);
    uint32_t a = 1, b = 0;  // Adler-32
    for (uLong i = 0; i < size; ++i) {
        a = (a + source[i]) % 65521;
        b = (b + a) % 65521;
    }
    for (int shift : {8, 0}) *out++ = static_cast<Bytef>(b >> shift);
    for (int shift : {8, 0}) *out++ = static_cast<Bytef>(a >> shift);
    *target_size = static_cast<uLongf>(out - target);
    return Z_OK;
}
