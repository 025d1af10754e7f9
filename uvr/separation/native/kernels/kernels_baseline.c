/* The instruction set that every processor of an architecture has: SSE2 (16 registers of 4 floats) on x86-64, NEON (32
 * registers of 4 floats) on aarch64. On other architectures the compiler chooses the instructions. */
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
#include "kernels.inl"
