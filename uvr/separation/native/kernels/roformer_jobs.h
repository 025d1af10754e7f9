/* What roformer.c and its kernels share: the workspaces of the threads, and the division of a layer into jobs. */
#ifndef ROFORMER_JOBS_H
#define ROFORMER_JOBS_H

#include <pthread.h>

#include "layers.h"
#include "roformer.h"

/* Tokens that go through a feed-forward layer at a time: their hidden values stay in the L2 cache. A multiple of the
 * rows of every register tile. */
#define FEED_TOKENS 96

/* Tokens of a job that has several short sequences. */
#define JOB_TOKENS 480

/* Rows beyond the tokens of a job, which the last register tile computes. */
#define SPARE_TOKENS MAX_TILE_ROWS

struct roformer_workspace {
    float *tokens, *normal;         /* [tokens][padded_dim] */
    float *queries, *keys, *values; /* of one head: [tokens][turned], and [tokens][valued] */
    float *packed_keys;             /* of one sequence */
    float *scores;                  /* of a register tile of queries with all keys */
    float *gates;                   /* [tokens][gate_row] */
    float *attended;                /* [tokens][attended_row] */
    float *hidden, *second_hidden;  /* [FEED_TOKENS][widest] */
};

struct roformer {
    pthread_mutex_t lock; /* one call at a time */
    struct roformer_shape shape;
    int padded_dim;
    int turned, valued; /* values of a head's queries and keys, and of its values, rounded up */
    int gate_row, attended_row;
    int threads;
    const struct kernels *kernels;
    size_t bytes;
    struct roformer_workspace *workspace;
    struct pool *pool;
};

struct roformer_call {
    const struct roformer *net;
    const struct roformer_layer *layer;
    const struct roformer_linear *linear;
    int layers, normalize, band, numbers;
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

/* Where a token of a job lies in the features. */
static inline ptrdiff_t place_of(const struct roformer *net, const struct roformer_layer *layer,
                                 const struct sequences *group, int token) {
    const int sequence = group->first + token / group->positions, position = token % group->positions;
    const ptrdiff_t frame = layer->along_bands ? sequence : position, band = layer->along_bands ? position : sequence;
    return (frame * net->shape.bands + band) * net->shape.dim;
}

/* The frames of a job that takes FEED_TOKENS of them. */
static inline int frames_of(const struct roformer *net, int job) {
    const int left = net->shape.frames - job * FEED_TOKENS;
    return left < FEED_TOKENS ? left : FEED_TOKENS;
}

#endif
