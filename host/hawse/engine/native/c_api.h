/* Flat C functions over the software engine and the driver; hawse.engine.native.bindings calls them.
 * A function that can fail returns a negative number, or NULL; hawse_error() then says why, to the same thread.
 * Pointers handed out stay valid until the next call on the same object. One object, one thread at a time. */
#ifndef HAWSE_C_API_H
#define HAWSE_C_API_H
#include <stddef.h>
#include <stdint.h>

#include "hawse_wire.h"

#ifdef __cplusplus
extern "C" {
#endif
#define HAWSE_API __attribute__((visibility("default")))

typedef struct hawse_soft hawse_soft;
typedef struct hawse_driver hawse_driver;
typedef struct hawse_fused hawse_fused;

typedef struct {
    uint32_t first, count;
    int32_t base;
    uint32_t state, no_band;
} hawse_instrument;

#define HAWSE_INVALID (-1)  /* the caller's argument is wrong; nothing has changed */
#define HAWSE_MISMATCH (-2) /* the engine's reports contradict the commands, or memory ran out: reset */

HAWSE_API const char *hawse_error(void);

/* no_band: whether it takes STATE(loading) with a count of zero, for an instrument that holds any price.
   gated: whether LIMIT is taken, and commands are judged by the limits. */
HAWSE_API hawse_soft *hawse_soft_new(uint32_t instruments, uint32_t pool, uint32_t orders, uint32_t tag_bits,
                                     int no_band, int gated);
HAWSE_API void hawse_soft_free(hawse_soft *);
HAWSE_API void hawse_soft_reset(hawse_soft *, uint32_t epoch);
/* Whether reports are hashed from the next reset on; at first they are. */
HAWSE_API void hawse_soft_hashing(hawse_soft *, int on);
/* Nanoseconds of thread time that the commands take, without handing out beats. */
HAWSE_API int64_t hawse_soft_time(hawse_soft *, const hawse_command *, size_t count);
/* Number of beats, HAWSE_BEAT_BYTES each, at *beats. */
HAWSE_API int64_t hawse_soft_exchange(hawse_soft *, const hawse_command *, size_t count, const void **beats);

HAWSE_API hawse_driver *hawse_driver_new(uint32_t instruments, uint32_t pool, uint32_t orders, uint32_t tag_bits);
HAWSE_API void hawse_driver_free(hawse_driver *);
HAWSE_API void hawse_driver_reset(hawse_driver *);
/* Whether a burst may begin by moving the band to an order outside it; at first it may. */
HAWSE_API void hawse_driver_recentring(hawse_driver *, int on);
/* Number of commands at *commands; refusals are pairs of (index of the order, reason) of uint32_t. */
HAWSE_API int64_t hawse_driver_prepare(hawse_driver *, const hawse_order *, size_t count,
                                       const hawse_command **commands, const uint32_t **refused,
                                       size_t *refused_count);
/* Number of events at *events; RESTING reports that answered a DUMP at *dumped. */
HAWSE_API int64_t hawse_driver_absorb(hawse_driver *, const void *beats, size_t count, const hawse_event **events,
                                      const hawse_resting **dumped, size_t *dumped_count);
/* 0: beats are missing; 1: the burst is answered, fence and digest (32 bytes) filled in; 2: batch and root also. */
HAWSE_API int hawse_driver_done(const hawse_driver *, hawse_fence *, uint8_t *digest, hawse_batch *, uint8_t *root);
/* Number of resting orders; up to `capacity` of them, 40 bytes each: hawse_resting, uint64_t order id. */
HAWSE_API int64_t hawse_driver_resting(const hawse_driver *, void *out, size_t capacity);
/* Its window in the pool, the band's base and its state, as the engine last acknowledged them. */
HAWSE_API int hawse_driver_instrument(const hawse_driver *, uint32_t instrument, hawse_instrument *out);

/* Nanoseconds of thread time that a burst takes, from the orders to the events, when its beats are at hand. */
HAWSE_API int64_t hawse_driver_time(hawse_driver *, const hawse_order *, size_t count, const void *beats,
                                    size_t beat_count);

/* Driver and software engine in one; it moves no band. */
HAWSE_API hawse_fused *hawse_fused_new(uint32_t instruments, uint32_t pool, uint32_t orders, uint32_t tag_bits,
                                       int no_band);
HAWSE_API void hawse_fused_free(hawse_fused *);
HAWSE_API void hawse_fused_reset(hawse_fused *, uint32_t epoch);
/* Number of events at *events, with what else a driver in front of an engine says of a burst. */
HAWSE_API int64_t hawse_fused_run(hawse_fused *, const hawse_order *, size_t count, const hawse_event **events,
                                  const hawse_resting **dumped, size_t *dumped_count, const uint32_t **refused,
                                  size_t *refused_count);
/* As hawse_driver_done. */
HAWSE_API int hawse_fused_done(const hawse_fused *, hawse_fence *, uint8_t *digest, hawse_batch *, uint8_t *root);

/* How many messages hawse_keccak256 hashes side by side on this processor. */
HAWSE_API size_t hawse_keccak256_width(void);
/* Keccak-256 of `count` messages of `size` bytes each, one after another; 32 bytes each at `hashes`. */
HAWSE_API int hawse_keccak256(const uint8_t *messages, size_t size, size_t count, uint8_t *hashes);

/* Functions of libsecp256k1, which this library does not bring; what they write are 65 bytes of a signature and 64
 * of a key. */
typedef struct {
    const void *context;
    int (*parse)(const void *context, void *signature, const uint8_t *compact, int parity);
    int (*recover)(const void *context, void *key, const void *signature, const uint8_t *digest);
    int (*serialize)(const void *context, uint8_t *out, size_t *size, const void *key, unsigned flags);
} hawse_secp256k1;
/* Ethereum addresses (20 bytes each) of who made `count` signatures (r, s, parity: 65 bytes each) of digests (32
 * bytes each), and whether there is one: a high s has none. */
HAWSE_API void hawse_recover(const hawse_secp256k1 *, const uint8_t *signatures, const uint8_t *digests, size_t count,
                             uint8_t *addresses, uint8_t *good);

#ifdef __cplusplus
}
#endif
#endif
