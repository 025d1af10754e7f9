/* The data structures that layers and kernels share. */
#ifndef LAYERS_H
#define LAYERS_H

#include <stddef.h>

#include "peak.h"
#include "pool.h"
#include "stopwatch.h"

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

/* One fully connected half of a TDF layer. */
struct linear {
    float *weight;        /* [outputs/tile][inputs][tile], see tdf.inl */
    float *bias;          /* [outputs, rounded up to tiles] or NULL */
    float *scale, *shift; /* [channels] */
};

struct layer {
    enum layer_kind kind;
    const struct kernels *kernels; /* of the widest instruction set that the numbers of channels allow */
    int inputs, outputs;           /* channels */
    int block;                     /* output channels of a register tile */
    int relu;                      /* pointwise only */
    int hidden;                    /* TDF only */
    int tiles;                     /* convolution only: Winograd tiles per job */
    float *weight, *bias;
    struct linear linear[2];  /* TDF only */
    double (*seconds)[STEPS]; /* [thread]: of its jobs in the last run */
    struct image in, out;     /* TDF: `out` is `in`; up: `out` is the input that the matching down layer kept */
};

/* A job computes a part of a layer's output. The jobs of a layer may run in any order and in parallel. Each thread
 * passes a `workspace` of its own. */
typedef void layer_job(const struct layer *layer, int job, float *workspace);

#define MAX_VECTORS 3    /* of output channels in a register tile */
#define MAX_TILE_ROWS 14 /* of a register tile */

struct kernels {
    int isa;
    int width;                 /* floats per vector */
    int tile[MAX_VECTORS + 1]; /* tile[v]: rows of a register tile that is v vectors wide */
    layer_job *job[LAYER_KINDS];
    pool_job *roformer[ROFORMER_JOBS]; /* see roformer_jobs.h */
    pool_job *peak[PEAK_KINDS];        /* see peak_jobs.h */
};

/* Winograd's F(4x4, 3x3): 4x4 outputs from 6x6 inputs. */
#define OUTPUT_TILE 4
#define INPUT_TILE 6
#define ELEMENTS (INPUT_TILE * INPUT_TILE)

static inline int divide_up(int a, int b) { return (a + b - 1) / b; }
static inline ptrdiff_t round_up(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b * b; }

#define LINE 16 /* floats of a cache line; workspaces and rows are aligned to it */

/* Distance in floats between the 36 elements of a Winograd tile in the workspace, for `tiles` tiles. Never a multiple
 * of 256 bytes: the elements of a tile would share the same few cache sets. */
static inline ptrdiff_t element_stride(int tiles, int channels) {
    ptrdiff_t floats = round_up((ptrdiff_t)tiles * channels, LINE);
    return floats % (4 * LINE) ? floats : floats + LINE;
}

/* TDF: how many register tiles keep partial sums in the workspace at a time. */
#define TDF_CHUNK 8

/* Convolution: the size in floats that the workspace of a job should not exceed. */
#define CONVOLUTION_FLOATS (176 * 1024)

/* The number of jobs that the layer consists of. */
int layer_jobs(const struct layer *layer);

/* Runs a job, and adds its time to that of the layer. */
void run_layer_job(const struct layer *layer, int job, float *workspace, int thread);

/* The stopwatch in front of a thread's workspace. */
static inline struct stopwatch *stopwatch_of(float *workspace) { return (struct stopwatch *)(workspace - LINE); }

/* Floats of workspace that each thread needs for the layer. */
size_t layer_workspace(const struct layer *layer);

#endif
