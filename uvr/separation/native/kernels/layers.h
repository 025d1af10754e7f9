/* The data structures that layers and kernels share. */
#ifndef LAYERS_H
#define LAYERS_H

#include <stddef.h>

#include "peak.h"
#include "pool.h"
#include "stft_jobs.h"
#include "stopwatch.h"
#include "tiles.h"

/* An activation. Rows are frames, columns are bins, and the channels of a pixel are adjacent in memory ("NHWC"): the
 * inner loops of the layers run along the channels, and the pixels of a frame are the matrix that TDF multiplies. */
struct image {
    float *data;
    int rows, columns, channels;
    ptrdiff_t stride; /* floats from row to row */
};

static inline float *image_row(const struct image *image, int row) { return image->data + row * image->stride; }

enum roformer_job { SPLIT, TRANSFORM, MASK, ROFORMER_JOBS };

enum layer_kind { POINTWISE, CONVOLUTION, TDF, DOWN, UP, LAYER_KINDS };

struct kernels;
struct layer;

/* A job computes a part of a layer's output. The jobs of a layer may run in any order and in parallel. Each thread
 * passes a `workspace` of its own. */
typedef void layer_job(const struct layer *layer, int job, float *workspace);

/* One fully connected half of a TDF layer. */
struct linear {
    float *weight;        /* [product][outputs of a part / tile][inputs of a part][tile], see tdf.inl; or on tiles */
    float *bias;          /* [outputs] or NULL */
    float *scale, *shift; /* [channels] */
};

struct layer {
    enum layer_kind kind;
    const struct kernels *kernels; /* of the widest instruction set that the numbers of channels allow */
    int tiled;                     /* whether tiles multiply it, see tiled_layers.h; `kernels` is not used then */
    layer_job *job;
    layer_job *filters_job; /* of a convolution: transforms the filters of one block of output channels */
    int inputs, outputs;    /* channels */
    int block;              /* output channels of a register tile, or computed at a time */
    int relu;               /* pointwise only */
    int hidden;             /* TDF only */
    int halved;             /* TDF only: whether Strassen's algorithm halves its matrices */
    int frames;             /* TDF on tiles only: of a job */
    int tiles;              /* convolution only: Winograd tiles per job */
    float *weight, *bias;
    float *filters;           /* convolution only: `weight`, or where filters_job puts what it computes from `weight` */
    int past_cache;           /* convolution only: whether `out` is too large for the caches */
    int late;                 /* convolution only: whether filters are transformed in each run */
    struct linear linear[2];  /* TDF only */
    double (*seconds)[STEPS]; /* [thread]: of its jobs in the last run */
    struct image in, out;     /* TDF: `out` is `in`; up: `out` is the input that the matching down layer kept */
};

#define MAX_VECTORS 3    /* of output channels in a register tile */
#define MAX_TILE_ROWS 14 /* of a register tile */

struct kernels {
    int isa;
    int width;                 /* floats per vector */
    int tile[MAX_VECTORS + 1]; /* tile[v]: rows of a register tile that is v vectors wide */
    layer_job *job[LAYER_KINDS];
    layer_job *filters_job;
    pool_job *roformer[ROFORMER_JOBS];     /* see roformer_jobs.h */
    pool_job *peak[PEAK_KINDS];            /* see peak_jobs.h */
    stft_job *stft_forward, *stft_inverse; /* see stft_jobs.h */
};

/* The jobs that multiply in bfloat16. */
struct tiled_kernels {
    int isa;
    tiled_product *multiply; /* for any size: of checks and measurements */
    pool_job *roformer[ROFORMER_JOBS];
    layer_job *job[LAYER_KINDS];
    layer_job *filters_job;
};

/* Winograd's F(4x4, 3x3): 4x4 outputs from 6x6 inputs. */
#define OUTPUT_TILE 4
#define INPUT_TILE 6
#define ELEMENTS (INPUT_TILE * INPUT_TILE)
#define TAPS 9 /* of a filter */

/* The matrix G of transforms.inl. */
void filter_matrix(double g[INPUT_TILE][3]);

static inline int divide_up(int a, int b) { return (a + b - 1) / b; }
static inline ptrdiff_t round_up(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b * b; }

#define LINE 16 /* floats of a cache line; workspaces and rows are aligned to it */

/* Distance in floats between the 36 elements of a Winograd tile in the workspace, for `tiles` tiles. Never a multiple
 * of 256 bytes: the elements of a tile would share the same few cache sets. */
static inline ptrdiff_t element_stride(int tiles, int channels) {
    ptrdiff_t floats = round_up((ptrdiff_t)tiles * channels, LINE);
    return floats % (4 * LINE) ? floats : floats + LINE;
}

/* TDF: Strassen's algorithm divides a matrix into four parts and needs seven products of parts. */
static inline int tdf_parts(int halved) { return halved ? 4 : 1; }
static inline int tdf_products(int halved) { return halved ? 7 : 1; }

/* TDF: how many bins of each part are multiplied at a time, so that their terms stay in the L2 cache, and those of one
 * product in the L1 cache; and how many row tiles of the result are computed before their products are joined. */
#define TDF_DEPTH 128
#define TDF_CHUNK 8

/* TDF: floats from product to product in the workspace. */
static inline ptrdiff_t tdf_step(const struct layer *layer, int rows) { return element_stride(rows, layer->block); }

/* TDF: rows of a part, rounded up to register tiles. */
static inline int tdf_rows(const struct layer *layer, int rows) {
    return (int)round_up(rows, layer->kernels->tile[layer->block / layer->kernels->width]);
}

/* Convolution: the size in floats that the workspace of a job should not exceed. */
#define CONVOLUTION_FLOATS (176 * 1024)

/* The number of jobs that the layer consists of. */
int layer_jobs(const struct layer *layer);

/* Runs a job, and adds its time to that of the layer. */
void run_layer_job(const struct layer *layer, int job, float *workspace, int thread);

/* The stopwatch in front of a thread's workspace. */
static inline struct stopwatch *stopwatch_of(float *workspace) { return (struct stopwatch *)(workspace - LINE); }

/* Floats of the transformed filters of a convolution. */
size_t filter_floats(const struct layer *layer);

/* Floats of workspace that each thread needs for the layer. */
size_t layer_workspace(const struct layer *layer);

#endif
