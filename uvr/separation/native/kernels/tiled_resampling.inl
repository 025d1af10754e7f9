/* The 2x2 convolutions of resampling.inl on tiles. Pixels are the rows of the left operand, made of TILED_PIXELS pixels
 * at a time; weights are packed right operands. The depth of `down` is that of all four pixels: [i][j, channel]. */

struct tiled_pixels {
    const struct layer *layer;
    int row, first, count; /* of the pixels */
    int depth;             /* values of a row of the operand, whole steps */
    uint16_t *pixels;
    float *sums; /* of 32 pixels and 32 channels */
};

INLINE struct tiled_pixels pixels_of_row(const struct layer *layer, int row, int depth, float *workspace) {
    return (struct tiled_pixels){.layer = layer,
                                 .row = row,
                                 .depth = (int)round_up(depth, STEP),
                                 .pixels = halves_of(workspace + GROUP_SIDE * GROUP_SIDE),
                                 .sums = workspace};
}

/* The sums of up to 32 pixels, of those of the operand, and up to 32 output channels. */
INLINE void multiply_pixels(const struct tiled_pixels *job, int pixel, const uint16_t *weight, int output) {
    const int steps = job->depth / STEP;
    const struct left a = {.high = job->pixels + (ptrdiff_t)pixel * job->depth,
                           .row = job->depth,
                           .step = STEP,
                           .low = (ptrdiff_t)TILED_PIXELS * job->depth};
    multiply_operands(job->count - pixel, job->layer->outputs - output, a,
                      packed_right(weight + right_place(steps, 0, output), steps), steps, 0, job->sums, GROUP_SIDE);
}

/* One vector of a result, before it is scaled or stored. */
INLINE vector rectified(const struct tiled_pixels *job, int pixel, int output, int channel) {
    return relu(load(job->sums + pixel * GROUP_SIDE + channel) + load(job->layer->bias + output + channel));
}

INLINE int smaller_of(int a, int b) { return a < b ? a : b; }

INLINE void halve_pixels(const struct tiled_pixels *job) {
    const struct layer *layer = job->layer;
    const int wide = 2 * layer->inputs;
    for (int pixel = 0; pixel < job->count; pixel++)
        for (int i = 0; i < 2; i++)
            put_row(image_row(&layer->in, 2 * job->row + i) + (ptrdiff_t)(job->first + pixel) * wide, wide,
                    job->pixels + (ptrdiff_t)pixel * job->depth + i * wide, (ptrdiff_t)TILED_PIXELS * job->depth);
    for (int output = 0; output < layer->outputs; output += GROUP_SIDE)
        for (int pixel = 0; pixel < job->count; pixel += GROUP_SIDE) {
            multiply_pixels(job, pixel, halves_of(layer->weight), output);
            for (int i = 0; i < smaller_of(job->count - pixel, GROUP_SIDE); i++) {
                float *to =
                    image_row(&layer->out, job->row) + (ptrdiff_t)(job->first + pixel + i) * layer->outputs + output;
                for (int j = 0; j < smaller_of(layer->outputs - output, GROUP_SIDE); j += VECTOR_FLOATS)
                    store(to + j, rectified(job, i, output, j));
            }
        }
}

/* Multiplies one of the four kept pixels of each pixel by the finished sums. */
INLINE void gate_pixels(const struct tiled_pixels *job, int pixel, int output, int corner) {
    const struct layer *layer = job->layer;
    for (int i = 0; i < smaller_of(job->count - pixel, GROUP_SIDE); i++) {
        const int column = 2 * (job->first + pixel + i) + corner % 2;
        float *to = image_row(&layer->out, 2 * job->row + corner / 2) + (ptrdiff_t)column * layer->outputs + output;
        for (int j = 0; j < smaller_of(layer->outputs - output, GROUP_SIDE); j += VECTOR_FLOATS)
            store(to + j, rectified(job, i, output, j) * load(to + j));
    }
}

INLINE void double_pixels(const struct tiled_pixels *job) {
    const struct layer *layer = job->layer;
    const ptrdiff_t corner_halves = right_floats(layer->inputs, layer->outputs) * HALVES_OF_FLOAT;
    for (int pixel = 0; pixel < job->count; pixel++)
        put_row(image_row(&layer->in, job->row) + (ptrdiff_t)(job->first + pixel) * layer->inputs, layer->inputs,
                job->pixels + (ptrdiff_t)pixel * job->depth, (ptrdiff_t)TILED_PIXELS * job->depth);
    for (int output = 0; output < layer->outputs; output += GROUP_SIDE)
        for (int pixel = 0; pixel < job->count; pixel += GROUP_SIDE)
            for (int corner = 0; corner < 4; corner++) {
                multiply_pixels(job, pixel, halves_of(layer->weight) + corner * corner_halves, output);
                gate_pixels(job, pixel, output, corner);
            }
}

static void tiled_down_job(const struct layer *layer, int row, float *workspace) {
    struct tiled_pixels job = pixels_of_row(layer, row, 4 * layer->inputs, workspace);
    begin_tiles();
    for (; job.first < layer->out.columns; job.first += TILED_PIXELS) {
        job.count = smaller_of(layer->out.columns - job.first, TILED_PIXELS);
        halve_pixels(&job);
    }
    end_tiles();
}

static void tiled_up_job(const struct layer *layer, int row, float *workspace) {
    struct tiled_pixels job = pixels_of_row(layer, row, layer->inputs, workspace);
    begin_tiles();
    for (; job.first < layer->in.columns; job.first += TILED_PIXELS) {
        job.count = smaller_of(layer->in.columns - job.first, TILED_PIXELS);
        double_pixels(&job);
    }
    end_tiles();
}
