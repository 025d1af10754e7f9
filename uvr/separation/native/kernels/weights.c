/* Converts weights from the layout of an ONNX file to the layout that the kernels read. */
#include "weights.h"

#include "memory.h"
#include "tiled_layers.h"

#include <string.h>

/* The size of a part of the matrix of a TDF half. */
static int part_outputs(const struct layer *layer, int half) {
    return (half ? layer->in.columns : layer->hidden) >> layer->halved;
}
static int part_inputs(const struct layer *layer, int half) { return part_outputs(layer, !half); }

size_t weight_floats(const struct layer *layer, int half) {
    const size_t channels = (size_t)layer->inputs * layer->outputs;
    switch (layer->kind) {
        case CONVOLUTION: return layer->late ? channels * TAPS : filter_floats(layer);
        case DOWN: return layer->tiled ? right_floats(4 * layer->inputs, layer->outputs) : channels * 4;
        case UP: return 4 * (layer->tiled ? right_floats(layer->inputs, layer->outputs) : channels);
        case TDF:
            if (layer->tiled) return left_floats(part_outputs(layer, half), part_inputs(layer, half));
            return (size_t)tdf_products(layer->halved) * tdf_rows(layer, part_outputs(layer, half)) *
                   part_inputs(layer, half);
        default: return channels;
    }
}

/* Writes the parts of a number (see bfloat16.inl), `plane` from one to the next. */
static void put_parts(float number, uint16_t *to, ptrdiff_t plane) {
    for (int i = 0; i < PARTS; i++) {
        uint32_t bits;
        memcpy(&bits, &number, sizeof bits);
        to[i * plane] = (uint16_t)(bits >> 16);
        bits &= 0xffff0000u;
        float part;
        memcpy(&part, &bits, sizeof part);
        number -= part;
    }
}

/* Writes a number into a packed right operand. */
static void put_right(float number, uint16_t *operand, int depth, int column, int steps) {
    put_parts(number, operand + right_place(steps, depth, column) + depth % 2, TILE_HALVES);
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

static double combine(const double row[3], const double x[3]) { return row[0] * x[0] + row[1] * x[1] + row[2] * x[2]; }

/* Transforms one filter: element[(6 i + j) * step] = (G filter G^T)[i][j]. */
static void transform_filter(double g[INPUT_TILE][3], const float filter[9], float *element, size_t step) {
    for (int i = 0; i < INPUT_TILE; i++) {
        double row[3];
        for (int j = 0; j < 3; j++) row[j] = combine(g[i], (double[]){filter[j], filter[3 + j], filter[6 + j]});
        for (int j = 0; j < INPUT_TILE; j++) element[(i * INPUT_TILE + j) * step] = (float)combine(g[j], row);
    }
}

/* [output][input][3][3] -> [block][3][3][input][output of block], for filters_job */
static float *pack_taps(const struct layer *layer, const float *weight) {
    float *packed = new_floats(weight_floats(layer, 0));
    for (int output = 0; packed && output < layer->outputs; output++)
        for (int input = 0; input < layer->inputs; input++)
            for (int tap = 0; tap < TAPS; tap++) {
                const size_t row = ((size_t)(output / layer->block) * TAPS + tap) * layer->inputs + input;
                packed[row * layer->block + output % layer->block] = *weight++;
            }
    return packed;
}

/* [output][input][3][3] -> [block][36] right operands */
static float *pack_tiled_convolution(const struct layer *layer, const float *weight) {
    float *packed = new_floats(weight_floats(layer, 0));
    const size_t filter = right_floats(layer->inputs, layer->block);
    double g[INPUT_TILE][3];
    filter_matrix(g);
    for (int output = 0; packed && output < layer->outputs; output++)
        for (int input = 0; input < layer->inputs; input++, weight += TAPS) {
            float element[ELEMENTS];
            transform_filter(g, weight, element, 1);
            float *block = packed + (size_t)(output / layer->block) * ELEMENTS * filter;
            for (int i = 0; i < ELEMENTS; i++)
                put_right(element[i], halves_of(block + i * filter), input, output % layer->block,
                          steps_of(layer->inputs));
        }
    return packed;
}

/* [output][input][3][3] -> [block][36][input][output of block] */
float *pack_convolution(const struct layer *layer, const float *weight) {
    if (layer->late) return pack_taps(layer, weight);
    if (layer->tiled) return pack_tiled_convolution(layer, weight);
    float *packed = new_floats(weight_floats(layer, 0));
    const size_t step = (size_t)layer->inputs * layer->block;
    double g[INPUT_TILE][3];
    filter_matrix(g);
    for (int output = 0; packed && output < layer->outputs; output++) {
        float *block = packed + (size_t)(output / layer->block) * ELEMENTS * step + output % layer->block;
        for (int input = 0; input < layer->inputs; input++, weight += 9)
            transform_filter(g, weight, block + (size_t)input * layer->block, step);
    }
    return packed;
}

/* [output][input][2][2] -> a right operand whose depth is [i][j][input] */
static float *pack_tiled_down(const struct layer *layer, const float *weight) {
    float *packed = new_floats(weight_floats(layer, 0));
    const int steps = steps_of(4 * layer->inputs);
    for (int output = 0; packed && output < layer->outputs; output++)
        for (int input = 0; input < layer->inputs; input++)
            for (int corner = 0; corner < 4; corner++)
                put_right(*weight++, halves_of(packed), corner * layer->inputs + input, output, steps);
    return packed;
}

/* [output][input][2][2] -> [block][i][j][input][output of block] */
float *pack_down(const struct layer *layer, const float *weight) {
    if (layer->tiled) return pack_tiled_down(layer, weight);
    float *packed = new_floats(weight_floats(layer, 0));
    for (int output = 0; packed && output < layer->outputs; output++) {
        float *block = packed + (size_t)(output / layer->block) * 4 * layer->inputs * layer->block;
        for (int input = 0; input < layer->inputs; input++)
            for (int corner = 0; corner < 4; corner++)
                block[((size_t)corner * layer->inputs + input) * layer->block + output % layer->block] = *weight++;
    }
    return packed;
}

/* [input][output][2][2] -> [i][j] right operands */
static float *pack_tiled_up(const struct layer *layer, const float *weight) {
    float *packed = new_floats(weight_floats(layer, 0));
    const size_t size = right_floats(layer->inputs, layer->outputs);
    for (int input = 0; packed && input < layer->inputs; input++)
        for (int output = 0; output < layer->outputs; output++)
            for (int corner = 0; corner < 4; corner++)
                put_right(*weight++, halves_of(packed + corner * size), input, output, steps_of(layer->inputs));
    return packed;
}

/* [input][output][2][2] -> [i][j][block][input][output of block] */
float *pack_up(const struct layer *layer, const float *weight) {
    if (layer->tiled) return pack_tiled_up(layer, weight);
    float *packed = new_floats(weight_floats(layer, 0));
    for (int input = 0; packed && input < layer->inputs; input++)
        for (int output = 0; output < layer->outputs; output++)
            for (int corner = 0; corner < 4; corner++) {
                const size_t first = (size_t)corner * layer->outputs + output / layer->block * layer->block;
                packed[first * layer->inputs + (size_t)input * layer->block + output % layer->block] = *weight++;
            }
    return packed;
}

/* The left-hand factors of Strassen's algorithm (see strassen.inl). */
static void split(const double a[4], double factor[7]) {
    const double s = a[2] + a[3] - a[0];
    factor[0] = a[0];
    factor[1] = a[1];
    factor[2] = a[1] - s;
    factor[3] = a[3];
    factor[4] = a[2] + a[3];
    factor[5] = s;
    factor[6] = a[0] - a[2];
}

/* [input][output] -> a left operand whose rows are outputs */
static float *pack_tiled_linear(const struct layer *layer, int half, const float *weight) {
    float *packed = new_floats(weight_floats(layer, half));
    const int inputs = part_inputs(layer, half), outputs = part_outputs(layer, half);
    for (int input = 0; packed && input < inputs; input++)
        for (int output = 0; output < outputs; output++)
            put_parts(*weight++, halves_of(packed) + left_place(steps_of(inputs), output, input), LEFT_PART);
    return packed;
}

/* [input][output] -> [product][tile][input of part][output of tile] */
float *pack_linear(const struct layer *layer, int half, const float *weight) {
    if (layer->tiled) return pack_tiled_linear(layer, half, weight);
    const int inputs = part_inputs(layer, half), outputs = part_outputs(layer, half), tile = tdf_rows(layer, 1);
    const size_t row = (size_t)outputs << layer->halved, product = (size_t)tdf_rows(layer, outputs) * inputs;
    float *packed = new_floats(weight_floats(layer, half));
    for (int input = 0; packed && input < inputs; input++)
        for (int output = 0; output < outputs; output++) {
            double part[4], factor[7];
            for (int i = 0; i < tdf_parts(layer->halved); i++) /* in the order of strassen.inl: outputs are rows */
                part[i] = weight[(size_t)(i % 2 * inputs + input) * row + i / 2 * outputs + output];
            if (layer->halved) split(part, factor);
            else factor[0] = part[0];
            float *to = packed + (size_t)(output / tile) * inputs * tile + (size_t)input * tile + output % tile;
            for (int i = 0; i < tdf_products(layer->halved); i++) to[i * product] = (float)factor[i];
        }
    return packed;
}
