/* What a processor can do at most: loops that only multiply and add, or only move memory. Benchmarks compare the
 * kernels with them. */
#ifndef PEAK_H
#define PEAK_H

#include "tdfnet.h"

/* PEAK_MULTIPLY adds products in registers. The others go through arrays that should be several times the caches:
 * PEAK_READ sums one, PEAK_COPY writes a = b, PEAK_TRIAD writes a = b + s c. As in STREAM (McCalpin, 1995), only the
 * arrays named are counted, not the lines of `a` that a processor may read before it writes them. PEAK_TILES multiplies
 * bfloat16 numbers from the L1 cache by 2 x 2 tiles, as in tiles.h, in one term; instruction sets without such products
 * use slow ones. */
enum peak_kind { PEAK_MULTIPLY, PEAK_READ, PEAK_COPY, PEAK_TRIAD, PEAK_TILES, PEAK_KINDS };

/* Sets `rate` to the highest number of multiply-adds, or of bytes moved, in a second, on `threads` threads (1 to 256)
 * with the instruction set `isa`. Tries for `seconds`, with arrays of `bytes` bytes each. Returns a status of tdfnet.h.
 */
TDFNET_API int peak_rate(int isa, int threads, int kind, size_t bytes, double seconds, double *rate);

#endif
