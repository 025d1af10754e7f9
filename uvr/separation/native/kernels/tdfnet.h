/* ConvTDFNet, the network of UVR's MDX-Net models, on processor cores: the library's whole interface.
 *
 * A network is built layer by layer, finished, run as often as wanted, freed:
 *
 *     tdfnet_create -> tdfnet_add_... (in the order of the graph) -> tdfnet_finish -> tdfnet_run ... -> tdfnet_free
 *
 * The architecture is that of Choi et al., "Investigating U-Nets with various intermediate blocks for spectrogram-based
 * singing voice separation" (ISMIR 2020, arXiv:1912.02591) and Kim et al., "KUIELab-MDX-Net" (2021, arXiv:2111.12203).
 *
 * Every function may be called from any thread. Networks share nothing: each has its own threads and memory. A call on
 * a network that another thread is running waits for it; a network is freed by its last user only. Nothing here prints,
 * exits or aborts; errors are the negative codes below. The same network gives the same bits for the same input,
 * whatever the number of threads.
 */
#ifndef TDFNET_H
#define TDFNET_H

#include <stddef.h>

#if defined(__GNUC__)
#define TDFNET_API __attribute__((visibility("default")))
#else
#error "the kernels need the vector extensions of GCC or Clang"
#endif

#define TDFNET_VERSION 1

typedef struct tdfnet tdfnet;

enum tdfnet_status {
    TDFNET_OK = 0,
    TDFNET_BAD_ARGUMENT = -1,
    TDFNET_NO_MEMORY = -2,
    TDFNET_NO_THREADS = -3,
    TDFNET_UNSUPPORTED = -4
};

/* TDFNET_BASELINE is what every processor of the architecture has: SSE2 on x86-64, NEON on aarch64. */
enum tdfnet_isa { TDFNET_BEST = 0, TDFNET_BASELINE = 1, TDFNET_AVX2 = 2, TDFNET_AVX512 = 3, TDFNET_NEON = 4 };

/* Version of this interface: a caller made for another one must not go on. */
TDFNET_API int tdfnet_version(void);

/* The widest instruction set that this processor and its operating system run. */
TDFNET_API int tdfnet_best_isa(void);

/* One sentence for a status. */
TDFNET_API const char *tdfnet_message(int status);

/* A network of inputs of shape (channels, bins, frames), on `threads` threads (1 to 256, the caller's included).
 * Instruction sets wider than `isa` are not used. TDFNET_UNSUPPORTED: this machine has no such instruction set. */
TDFNET_API int tdfnet_create(tdfnet **net, int isa, int threads, int channels, int bins, int frames);

/* Each layer goes behind the one before. Weights are C-ordered as in an ONNX file, batch normalisation folded in, and
 * copied at once. A layer that cannot be added leaves the network as it was. TDFNET_UNSUPPORTED: a number of channels
 * that is no multiple of 4 (pointwise takes any), or a shape that the layer cannot halve or double. A layer whose
 * channels are no multiple of the vectors' width runs on the widest narrower instruction set that fits. */

/* y = w x + b of each pixel, w[outputs][inputs], then max(y, 0) where `relu` is not 0. */
TDFNET_API int tdfnet_add_pointwise(tdfnet *net, int outputs, int relu, const float *weight, const float *bias);

/* 3x3 convolution with a border of zeros, then max(y, 0). w[outputs][inputs][3][3], the last two: frames, bins. */
TDFNET_API int tdfnet_add_convolution(tdfnet *net, int outputs, const float *weight, const float *bias);

/* Time-distributed fully connected: x += relu(s2 (relu(s1 (x w1 + b1) + h1) w2 + b2) + h2) along the bins of each frame
 * and channel. w1[bins][hidden], b1[hidden] or NULL, s1[channels], h1[channels], w2[hidden][bins], ... */
TDFNET_API int tdfnet_add_tdf(tdfnet *net, int hidden, const float *weight1, const float *bias1, const float *scale1,
                              const float *shift1, const float *weight2, const float *bias2, const float *scale2,
                              const float *shift2);

/* 2x2 convolution of stride 2, then max(y, 0); w[outputs][inputs][2][2]. Its input is kept for the matching `up`. */
TDFNET_API int tdfnet_add_down(tdfnet *net, int outputs, const float *weight, const float *bias);

/* 2x2 transposed convolution of stride 2, then max(y, 0), times the input of the last `down` that is still open;
 * w[inputs][outputs][2][2]. TDFNET_BAD_ARGUMENT: no such input, or one of another shape. */
TDFNET_API int tdfnet_add_up(tdfnet *net, int outputs, const float *weight, const float *bias);

/* Takes the memory and starts the threads. TDFNET_BAD_ARGUMENT: no layers, or a `down` without its `up`. */
TDFNET_API int tdfnet_finish(tdfnet *net);

TDFNET_API int tdfnet_isa_of(const tdfnet *net);
TDFNET_API int tdfnet_threads_of(const tdfnet *net);
TDFNET_API int tdfnet_outputs_of(const tdfnet *net); /* channels of the output */
TDFNET_API size_t tdfnet_bytes_of(const tdfnet *net); /* of weights, activations and workspaces */

/* input[channels][bins][frames] -> output[outputs][bins][frames]; the two must not overlap. */
TDFNET_API int tdfnet_run(tdfnet *net, const float *input, float *output);

/* NULL is fine. */
TDFNET_API void tdfnet_free(tdfnet *net);

#endif
