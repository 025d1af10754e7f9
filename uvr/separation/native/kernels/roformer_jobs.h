/* What roformer.c and its kernels share: the workspaces of the threads, and the division of a layer into jobs. */
#ifndef ROFORMER_JOBS_H
#define ROFORMER_JOBS_H

#include <pthread.h>

#include "layers.h"
#include "roformer.h"

/* Tokens that go through a linear layer at a time: they stay in the L2 cache while the weights pass by. A multiple of
 * the rows of every register tile, or of those of two tiles of bfloat16. */
#define BLOCK_TOKENS 48
#define TILED_BLOCK_TOKENS 192

/* Hidden values of a feed-forward layer that are computed, and used, at a time. A multiple of ROFORMER_PANEL. */
#define FEED_VALUES 256
#define TILED_FEED_VALUES 512

/* Tokens of a job that has several short sequences. */
#define JOB_TOKENS 480

/* [panel][token][ROFORMER_PANEL], `stride` floats from panel to panel */
struct panels {
    float *data;
    ptrdiff_t stride;
};

/* The distance between panels of so many tokens. There is room for the tokens that the last tile reads and computes
 * beyond them, of which it has 12 or 16, from any token on; and it is never a multiple of 4 kB: the panels of a token
 * would share the same few cache sets. */
static inline ptrdiff_t panel_stride(int tokens) { return (round_up(tokens, 32) + 20) * ROFORMER_PANEL; }

/* The distance between panels of scores, of up to 32 queries. Not a multiple of 4 kB, either. */
#define SCORE_STRIDE (34 * ROFORMER_PANEL)

struct roformer_workspace {
    struct panels tokens, normal;        /* the features of the tokens, and the same after a norm */
    struct panels queries, keys, values; /* of one head */
    struct panels gates, attended;       /* of all heads */
    struct panels hidden, second_hidden; /* of a block of tokens */
    float *packed_keys, *packed_values;  /* of one sequence */
    float *scores;                       /* of some queries with all keys */
};

struct roformer {
    pthread_mutex_t lock; /* one call at a time */
    struct roformer_shape shape;
    int padded_dim;
    int turned, valued; /* values of a head's queries and keys, and of its values, rounded up */
    int isa, threads;
    int terms;       /* of a product in bfloat16 (see bfloat16.inl), 0 in float32 */
    int block, feed; /* BLOCK_TOKENS and FEED_VALUES, or those of tiles */
    pool_job *const *jobs;
    size_t bytes;
    struct roformer_workspace *workspace;
    struct pool *pool;
};

struct roformer_call {
    const struct roformer *net;
    const struct roformer_layer *layer;
    const struct roformer_linear *linear;
    const struct roformer_mask *masks;
    int layers, normalize, band;
    const float *inputs;
    float *features, *outputs;
    ptrdiff_t stride;
};

/* The sequences of a job. */
struct sequences {
    int first, count, positions;
};

static inline int positions_of(const struct roformer *net, const struct roformer_layer *layer) {
    return layer->along_bands ? net->shape.bands : net->shape.frames;
}

static inline int sequences_per_job(int positions) { return positions < JOB_TOKENS ? JOB_TOKENS / positions : 1; }

static inline struct sequences sequences_of(const struct roformer *net, const struct roformer_layer *layer, int job) {
    const int all = layer->along_bands ? net->shape.frames : net->shape.bands, positions = positions_of(net, layer);
    const int count = sequences_per_job(positions), first = job * count, left = all - first;
    return (struct sequences){first, left < count ? left : count, positions};
}

/* Where the features of a frame and band lie. */
static inline ptrdiff_t feature_of(const struct roformer *net, int frame, int band) {
    return ((ptrdiff_t)frame * net->shape.bands + band) * net->shape.dim;
}

/* Where the features of a token of a job lie. */
static inline ptrdiff_t place_of(const struct roformer *net, const struct roformer_layer *layer,
                                 const struct sequences *group, int token) {
    const int sequence = group->first + token / group->positions, position = token % group->positions;
    return layer->along_bands ? feature_of(net, sequence, position) : feature_of(net, position, sequence);
}

/* The frames of a job that takes a block of them. */
static inline int frames_of(const struct roformer *net, int job) {
    const int left = net->shape.frames - job * net->block;
    return left < net->block ? left : net->block;
}

#endif
