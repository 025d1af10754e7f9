/* The layers of BS-RoFormer and Mel-Band RoFormer. Products are those of float32 numbers, or of bfloat16 numbers in one
 * or three terms (bfloat16.inl), with sums in float32 like everything else.
 *
 * The features of a chunk lie in one array [frames][bands][dim] that the caller owns. Each call changes them by one
 * layer, so the caller can report progress and stop between two layers. Results do not depend on the number of threads.
 *
 * The caller keeps the weights, too: nothing is copied. Those of a linear layer are packed [outputs / 16][inputs][16]
 * in float32. In bfloat16 they are tiles (tiles.h) [outputs / 16][inputs / 32], and in three terms a tile of low parts
 * lies behind each of high parts. Zeros round up the outputs, and the inputs of tiles, to 32. Biases have as many
 * values as there are packed outputs. All arrays are aligned to 64 bytes. */
#ifndef ROFORMER_H
#define ROFORMER_H

#include "tdfnet.h"

#define ROFORMER_PANEL 32

typedef struct roformer roformer;

/* `weight` is packed: floats, or bfloat16 numbers as uint16_t. `bias` may be NULL. */
struct roformer_linear {
    const void *weight;
    const float *bias;
    int inputs, outputs;
};

/* The mask of one band: linear layers with tanh between them, and a gated linear unit at the end. Its gates are packed
 * behind its `numbers`, from a multiple of 32 on. `column`: where the numbers begin in a row of the outputs. */
struct roformer_mask {
    const struct roformer_linear *linear;
    int numbers, column;
};

/* Attention and feed-forward along one axis. The gammas of the norms are part of the weights behind them.
 *
 *     query_key_value   for each head: queries and keys (`turned` outputs each), then values (`values` outputs)
 *     output            for each head `values` inputs, where `values` is dim_head, rounded up to 32
 *     cosines, sines    [positions][turned / 2]
 *     norm              the gamma of a norm behind this layer, or NULL
 *
 * Queries and keys are permuted, so that pairs are turned without moving them: first the even outputs of a head,
 * rounded up to 16, then the odd ones. Queries are scaled by dim_head^-0.5 log2(e): the softmax takes powers of 2. */
struct roformer_layer {
    struct roformer_linear query_key_value, gates, output, inner, outer;
    const float *cosines, *sines, *norm;
    int along_bands; /* sequences along the bands of a frame; otherwise along the frames of a band */
};

struct roformer_shape {
    int frames, bands, dim, heads, dim_head;
    int widest; /* the largest number of packed outputs of any linear layer but `query_key_value` */
};

/* Creates a network with `threads` threads (1 to 256, including the caller's) that uses no instruction set wider than
 * `isa`. `terms`: of a product in bfloat16, 1 or 3, or 0 for float32. This and all other functions return a status of
 * tdfnet.h. */
TDFNET_API int roformer_create(roformer **net, int isa, int terms, int threads, const struct roformer_shape *shape);
TDFNET_API void roformer_free(roformer *net);
TDFNET_API int roformer_isa_of(const roformer *net);
TDFNET_API size_t roformer_bytes_of(const roformer *net); /* memory for the workspaces of all threads */

/* features[frames][bands][dim] of band `band` from its inputs [frames][stride], of which the first `linear->inputs` of
 * each frame belong to the band. */
TDFNET_API int roformer_split(roformer *net, const struct roformer_linear *linear, int band, const float *inputs,
                              long stride, float *features);

TDFNET_API int roformer_transform(roformer *net, const struct roformer_layer *layer, float *features);

/* outputs[frames][stride]: the numbers of `count` masks, those of the bands from `first` on, each of `layers` linear
 * layers. `normalize`: whether the features are scaled to the length sqrt(dim) first. */
TDFNET_API int roformer_masks(roformer *net, const struct roformer_mask *masks, int layers, int normalize, int first,
                              int count, const float *features, float *outputs, long stride);

#endif
