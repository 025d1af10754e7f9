/* What every processor of the architecture has: SSE2 (16 registers of 4 floats) on x86-64, NEON (32) on aarch64, and
 * whatever the compiler makes of vectors elsewhere. */
#define KERNELS kernels_baseline
#define VECTOR_FLOATS 4
#if defined(__aarch64__)
#define ISA TDFNET_NEON
#define TILE_1 12
#define TILE_2 12
#define TILE_3 8
#else
#define ISA TDFNET_BASELINE
#define TILE_1 8
#define TILE_2 6
#define TILE_3 4
#endif
#include "kernels.h"
