/* The public interface of the library: ConvTDFNet, the network of UVR's MDX-Net models, on processor cores.
 *
 * A network is built layer by layer, finished, run any number of times, and freed:
 *
 *     tdfnet_create -> tdfnet_add_... (in the order of the graph) -> tdfnet_finish -> tdfnet_run ... -> tdfnet_free
 *
 * The architecture is that of Choi et al., "Investigating U-Nets with various intermediate blocks for spectrogram-based
 * singing voice separation" (ISMIR 2020, arXiv:1912.02591) and Kim et al., "KUIELab-MDX-Net" (2021, arXiv:2111.12203).
 *
 * Every function may be called from any thread. Networks share nothing: each has its own threads and memory. tdfnet_run
 * waits while another thread runs the same network. Free a network only when no other thread uses it. No function
 * prints, exits or aborts; errors are the negative codes below. The same network gives bit-identical results for the
 * same input, regardless of the number of threads.
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

/* TDFNET_BASELINE is the instruction set that every processor of an architecture has: SSE2 on x86-64, NEON on aarch64.
 * The last two are AVX-512 with instructions for products of bfloat16 numbers. */
enum tdfnet_isa {
    TDFNET_BEST = 0,
    TDFNET_BASELINE = 1,
    TDFNET_AVX2 = 2,
    TDFNET_AVX512 = 3,
    TDFNET_NEON = 4,
    TDFNET_AVX512_BF16 = 5,
    TDFNET_AMX = 6
};

/* Whether this process can use the tiles of AMX, or what is missing: the processor has none, the operating system does
 * not save them when it switches threads, or it refuses them to this process. */
enum tdfnet_amx { TDFNET_AMX_USABLE = 0, TDFNET_AMX_MISSING = 1, TDFNET_AMX_NOT_SAVED = 2, TDFNET_AMX_REFUSED = 3 };

/* The version of this interface. Callers written for another version must not use the library. */
TDFNET_API int tdfnet_version(void);

/* The widest instruction set that this processor and its operating system support. */
TDFNET_API int tdfnet_best_isa(void);

/* An `enum tdfnet_amx`. The first call asks the system for permission, which holds for the life of the process. So do
 * tdfnet_best_isa, and the functions that create something, with TDFNET_BEST or TDFNET_AMX. */
TDFNET_API int tdfnet_amx_state(void);

/* A status in words. */
TDFNET_API const char *tdfnet_message(int status);

/* Creates a network without layers for inputs of shape (channels, bins, frames). It runs on `threads` threads (1 to
 * 256, including the caller's) and uses no instruction set wider than `isa`. `terms` is 0 for products in float32, or 6
 * for products of the same accuracy in bfloat16: of three parts of each number, the six largest of nine products. With
 * AMX these are faster; without instructions for bfloat16 they are slow, and there for tests. TDFNET_UNSUPPORTED: this
 * machine does not have that instruction set. */
TDFNET_API int tdfnet_create(tdfnet **net, int isa, int terms, int threads, int channels, int bins, int frames);

/* The tdfnet_add_ functions append a layer. Weights are C-ordered as in an ONNX file, with batch normalisation folded
 * in; they are copied. On an error the network is unchanged. TDFNET_UNSUPPORTED: a number of channels that is not a
 * multiple of 4 (any number is valid for pointwise), or a shape that the layer cannot halve or double. A layer whose
 * channels are not a multiple of the vector width runs on the widest narrower instruction set that fits; one whose
 * channels are not a multiple of 16, in float32. */

/* y = w x + b for each pixel, w[outputs][inputs], then max(y, 0) if `relu` is not 0. */
TDFNET_API int tdfnet_add_pointwise(tdfnet *net, int outputs, int relu, const float *weight, const float *bias);

/* 3x3 convolution with zero padding, then max(y, 0). w[outputs][inputs][3][3]; the last two axes are frames and bins.
 */
TDFNET_API int tdfnet_add_convolution(tdfnet *net, int outputs, const float *weight, const float *bias);

/* Time-distributed fully connected: x += relu(s2 (relu(s1 (x w1 + b1) + h1) w2 + b2) + h2) along the bins of each frame
 * and channel. w1[bins][hidden], b1[hidden] or NULL, s1[channels], h1[channels], w2[hidden][bins], ... */
TDFNET_API int tdfnet_add_tdf(tdfnet *net, int hidden, const float *weight1, const float *bias1, const float *scale1,
                              const float *shift1, const float *weight2, const float *bias2, const float *scale2,
                              const float *shift2);

/* 2x2 convolution with stride 2, then max(y, 0). w[outputs][inputs][2][2]. Its input is kept for the matching up layer.
 */
TDFNET_API int tdfnet_add_down(tdfnet *net, int outputs, const float *weight, const float *bias);

/* 2x2 transposed convolution with stride 2, then max(y, 0), times the input of the last down layer that has no up layer
 * yet. w[inputs][outputs][2][2]. TDFNET_BAD_ARGUMENT: there is no such down layer, or its input has another shape. */
TDFNET_API int tdfnet_add_up(tdfnet *net, int outputs, const float *weight, const float *bias);

/* Allocates the memory and starts the threads. TDFNET_BAD_ARGUMENT: no layers, or a down layer without its up layer. */
TDFNET_API int tdfnet_finish(tdfnet *net);

TDFNET_API int tdfnet_isa_of(const tdfnet *net);
TDFNET_API int tdfnet_terms_of(const tdfnet *net);
TDFNET_API int tdfnet_threads_of(const tdfnet *net);
TDFNET_API int tdfnet_outputs_of(const tdfnet *net);  /* channels of the output */
TDFNET_API size_t tdfnet_bytes_of(const tdfnet *net); /* memory for weights, activations and workspaces */

/* input[channels][bins][frames] -> output[outputs][bins][frames]; the two must not overlap. */
TDFNET_API int tdfnet_run(tdfnet *net, const float *input, float *output);

/* Where the time of the last tdfnet_run went. `part` 0 is the import, 1 the first layer, and so on, and the one behind
 * the last layer the export. Sets seconds[0] to what all threads together spent on this part. Of a convolution,
 * seconds[1], [2] and [3] are what they spent on its input transform, its products and its output transform; otherwise
 * 0. */
TDFNET_API int tdfnet_seconds_of(tdfnet *net, int part, double seconds[4]);

/* Ends the network's threads and frees its memory. `net` may be NULL. */
TDFNET_API void tdfnet_free(tdfnet *net);

#endif
