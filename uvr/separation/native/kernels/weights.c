/* Converts weights from the layout of an ONNX file to the layout that the kernels read. */
#include "weights.h"

#include "memory.h"

/* The size of the matrix of a TDF half, and the rows of its register tile. */
static int linear_outputs(const struct layer *layer, int half) { return half ? layer->in.columns : layer->hidden; }
static int linear_inputs(const struct layer *layer, int half) { return half ? layer->hidden : layer->in.columns; }
static int linear_tile(const struct layer *layer) { return layer->kernels->tile[layer->block / layer->kernels->width]; }

size_t weight_floats(const struct layer *layer, int half) {
    const size_t channels = (size_t)layer->inputs * layer->outputs;
    switch (layer->kind) {
        case CONVOLUTION: return channels * ELEMENTS;
        case DOWN:
        case UP: return channels * 4;
        case TDF: return (size_t)round_up(linear_outputs(layer, half), linear_tile(layer)) * linear_inputs(layer, half);
        default: return channels;
    }
}

/* [output][input] -> [input][output] if the outputs fill vectors, else unchanged. */
float *pack_pointwise(const struct layer *layer, const float *weight) {
    float *packed = new_floats(weight_floats(layer, 0));
    for (int output = 0; packed && output < layer->outputs; output++)
        for (int input = 0; input < layer->inputs; input++) {
            const size_t plain = (size_t)output * layer->inputs + input;
            const size_t transposed = (size_t)input * layer->outputs + output;
            packed[layer->block ? transposed : plain] = weight[plain];
        }
    return packed;
}

/* The finite evaluation points of F(4, 3) (see transforms.inl). The last row of G is for the point at infinity. */
static const double points[INPUT_TILE - 1] = {0, 0.75, -0.75, 1.5, -1.5};

/* G[i] = (1, p_i, p_i^2) / product of (p_i - p_j) over all other points p_j; G[last] = (0, 0, 1). */
static void filter_transform(double g[INPUT_TILE][3]) {
    for (int i = 0; i < INPUT_TILE - 1; i++) {
        double product = 1;
        for (int j = 0; j < INPUT_TILE - 1; j++)
            if (j != i) product *= points[i] - points[j];
        g[i][0] = 1 / product;
        g[i][1] = points[i] / product;
        g[i][2] = points[i] * points[i] / product;
    }
    g[INPUT_TILE - 1][0] = g[INPUT_TILE - 1][1] = 0;
    g[INPUT_TILE - 1][2] = 1;
}

static double combine(const double row[3], const double x[3]) { return row[0] * x[0] + row[1] * x[1] + row[2] * x[2]; }

/* Transforms one filter: element[(6 i + j) * step] = (G filter G^T)[i][j]. */
static void transform_filter(double g[INPUT_TILE][3], const float filter[9], float *element, size_t step) {
    for (int i = 0; i < INPUT_TILE; i++) {
        double row[3];
        for (int j = 0; j < 3; j++) row[j] = combine(g[i], (double[]){filter[j], filter[3 + j], filter[6 + j]});
        for (int j = 0; j < INPUT_TILE; j++) element[(i * INPUT_TILE + j) * step] = (float)combine(g[j], row);
    }
}

/* [output][input][3][3] -> [block][36][input][output of block] */
float *pack_convolution(const struct layer *layer, const float *weight) {
    float *packed = new_floats(weight_floats(layer, 0));
    const size_t step = (size_t)layer->inputs * layer->block;
    double g[INPUT_TILE][3];
    filter_transform(g);
    for (int output = 0; packed && output < layer->outputs; output++) {
        float *block = packed + (size_t)(output / layer->block) * ELEMENTS * step + output % layer->block;
        for (int input = 0; input < layer->inputs; input++, weight += 9)
            transform_filter(g, weight, block + (size_t)input * layer->block, step);
    }
    return packed;
}

/* [output][input][2][2] -> [block][i][j][input][output of block] */
float *pack_down(const struct layer *layer, const float *weight) {
    float *packed = new_floats(weight_floats(layer, 0));
    for (int output = 0; packed && output < layer->outputs; output++) {
        float *block = packed + (size_t)(output / layer->block) * 4 * layer->inputs * layer->block;
        for (int input = 0; input < layer->inputs; input++)
            for (int corner = 0; corner < 4; corner++)
                block[((size_t)corner * layer->inputs + input) * layer->block + output % layer->block] = *weight++;
    }
    return packed;
}

/* [input][output][2][2] -> [i][j][block][input][output of block] */
float *pack_up(const struct layer *layer, const float *weight) {
    float *packed = new_floats(weight_floats(layer, 0));
    for (int input = 0; packed && input < layer->inputs; input++)
        for (int output = 0; output < layer->outputs; output++)
            for (int corner = 0; corner < 4; corner++) {
                const size_t first = (size_t)corner * layer->outputs + output / layer->block * layer->block;
                packed[first * layer->inputs + (size_t)input * layer->block + output % layer->block] = *weight++;
            }
    return packed;
}

/* [input][output] -> [tile][input][output of tile] */
float *pack_linear(const struct layer *layer, int half, const float *weight) {
    const int inputs = linear_inputs(layer, half), outputs = linear_outputs(layer, half), tile = linear_tile(layer);
    float *packed = new_floats(weight_floats(layer, half));
    for (int input = 0; packed && input < inputs; input++)
        for (int output = 0; output < outputs; output++) {
            const size_t first = (size_t)(output / tile) * inputs * tile;
            packed[first + (size_t)input * tile + output % tile] = *weight++;
        }
    return packed;
}
