/* What layers and kernels know of each other. */
#ifndef LAYERS_H
#define LAYERS_H

#include <stddef.h>

/* An activation. Rows are frames, columns are bins, and the channels of a pixel lie together ("NHWC"): the layers'
 * inner loops run along the channels, and a frame's pixels are the matrix that TDF multiplies. */
struct image {
    float *data;
    int rows, columns, channels;
    ptrdiff_t stride; /* floats from row to row */
};

static inline float *image_row(const struct image *image, int row) { return image->data + row * image->stride; }

enum layer_kind { POINTWISE, CONVOLUTION, TDF, DOWN, UP, LAYER_KINDS };

struct kernels;

/* One fully connected half of a TDF layer. */
struct linear {
    float *weight;        /* [outputs/tile][inputs][tile], see tdf.h */
    float *bias;          /* [outputs, rounded up to tiles] or NULL */
    float *scale, *shift; /* [channels] */
};

struct layer {
    enum layer_kind kind;
    const struct kernels *kernels; /* of the instruction set that fits the layer's channels */
    int inputs, outputs;           /* channels */
    int block;                     /* output channels of a register tile */
    int relu;                      /* pointwise only */
    int hidden;                    /* TDF only */
    int tiles;                     /* convolution only: Winograd tiles of a job */
    float *weight, *bias;
    struct linear linear[2]; /* TDF only */
    struct image in, out;    /* `out` is `in` for TDF; for `up`, it is the image kept by `down` */
};

/* A job makes a part of a layer's output; jobs of a layer may run in any order and side by side. `workspace` is the
 * thread's own. */
typedef void layer_job(const struct layer *layer, int job, float *workspace);

#define MAX_VECTORS 3    /* of output channels in a register tile */
#define MOST_TILE_ROWS 14 /* of a register tile */

struct kernels {
    int isa;
    int width;                  /* floats of a vector */
    int tile[MAX_VECTORS + 1];  /* rows of a register tile that is so many vectors wide */
    layer_job *job[LAYER_KINDS];
};

/* Winograd's F(4x4, 3x3): 4x4 outputs from 6x6 inputs. */
#define OUTPUT_TILE 4
#define INPUT_TILE 6
#define ELEMENTS (INPUT_TILE * INPUT_TILE)

static inline int divide_up(int a, int b) { return (a + b - 1) / b; }
static inline ptrdiff_t round_up(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b * b; }

#define LINE 16 /* floats of a cache line: workspaces and rows start on one */

/* Floats of one element of `tiles` tiles in the workspace: never a multiple of a memory page, so that the 36 elements
 * of a tile do not fall into the same few cache sets. */
static inline ptrdiff_t element_stride(int tiles, int channels) {
    ptrdiff_t floats = round_up((ptrdiff_t)tiles * channels, LINE);
    return floats % (4 * LINE) ? floats : floats + LINE;
}

/* TDF: register tiles whose sums wait in the workspace at a time. */
#define TDF_CHUNK 8

/* Convolution: floats that the workspace of a job may take. */
#define CONVOLUTION_FLOATS (176 * 1024)

int layer_jobs(const struct layer *layer);
size_t layer_workspace(const struct layer *layer); /* floats */

#endif
