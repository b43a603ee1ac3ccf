/* Copying a payload into its block. Called without the GIL for large ones.
 *
 * A copy of several megabytes through the caches is the slow way: each line of the block is read before it is written
 * over, the block pushes everything else out of the writer's cache, and its reader, on another CPU, then has to fetch
 * dirty lines out of it. From STREAMED on the block is therefore written past the caches. Below it the block stays hot,
 * which wins while writer and reader share a cache (measured by `python -m benchmarks transfer`, on one and two CPUs). */
#include "core.h"

#include <string.h>

#define STREAMED (2u << 20) /* bytes; above the second-level caches of current CPUs */

#if defined(__SSE2__)
#include <emmintrin.h>

#define LINE 64u
#define AHEAD 1024 /* bytes: the hardware's prefetching ends at each page */

/* `to` is aligned to a line, as every block is. The fence orders these stores, which the memory model leaves weakly
 * ordered, before all that follow: C3 to C5 rely on it as they do on ordinary stores. */
static void stream(uint8_t *to, const uint8_t *from, uint64_t bytes) {
    for (uint64_t at = 0; at < bytes; at += LINE) {
        const __m128i *source = (const __m128i *)(from + at);
        __m128i *target = (__m128i *)(to + at);
        _mm_prefetch((const char *)(from + at) + AHEAD, _MM_HINT_NTA);
        __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1);
        __m128i c = _mm_loadu_si128(source + 2), d = _mm_loadu_si128(source + 3);
        _mm_stream_si128(target, a);
        _mm_stream_si128(target + 1, b);
        _mm_stream_si128(target + 2, c);
        _mm_stream_si128(target + 3, d);
    }
    _mm_sfence();
}

void rl_copy_bytes(uint8_t *to, const uint8_t *from, uint64_t bytes) {
    uint64_t whole = bytes / LINE * LINE;
    if (bytes < STREAMED || (uintptr_t)to % LINE) {
        memcpy(to, from, bytes);
        return;
    }
    stream(to, from, whole);
    memcpy(to + whole, from + whole, bytes - whole);
}

#else /* elsewhere the C library decides: arm64 has no stores that skip the caches for certain */

void rl_copy_bytes(uint8_t *to, const uint8_t *from, uint64_t bytes) { memcpy(to, from, bytes); }

#endif
