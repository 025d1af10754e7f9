/* The fully connected layers of tdf.inl on tiles, without Strassen's algorithm: its sums would cost more than the
 * products that they save. Weights are the left operand, bins the depth, and the channels of some frames the columns.
 *
 *     bins   right operand: TILED_DEPTH bins of all columns             (write_bins)
 *     sums   [hidden][column] += W1 bins                                (multiply_weights)
 *     hidden right operand: relu(s1 sums + h1)                          (finish_hidden)
 *     sums   [TILED_ROWS bins][column] = W2 hidden                      (multiply_weights)
 *     x     += relu(s2 sums + h2)                                       (finish_bins) */

struct tiled_tdf {
    const struct layer *layer;
    int frame, columns;      /* the first frame, and the channels of all frames */
    uint16_t *bins, *hidden; /* right operands */
    float *sums;
};

INLINE float *pixel_of(const struct tiled_tdf *job, int bin, int column) {
    const struct image *x = &job->layer->in;
    return image_row(x, job->frame + column / x->channels) + (ptrdiff_t)bin * x->channels + column % x->channels;
}

INLINE void write_bins(const struct tiled_tdf *job, int from, int depth) {
    const int steps = steps_of(depth);
    for (int column = 0; column < job->columns; column += TILE_SIDE)
        for (int bin = 0; bin < steps * STEP; bin += 2)
            for (int j = column; j < column + TILE_SIDE; j += VECTOR_FLOATS) {
                const vector zero = {0};
                put_pairs(job->bins + right_place(steps, bin, j),
                          bin < depth ? load(pixel_of(job, from + bin, j)) : zero,
                          bin + 1 < depth ? load(pixel_of(job, from + bin + 1, j)) : zero);
            }
}

/* Adds, or if `first` is set stores, the products of `depth` values to the sums of `rows` rows. `weight` and `right`
 * begin at the first of these values; they have `weight_steps` and `right_steps` in all. */
INLINE void multiply_weights(const struct tiled_tdf *job, int rows, const uint16_t *weight, int weight_steps,
                             const uint16_t *right, int right_steps, int depth, int first) {
    for (int column = 0; column < job->columns; column += GROUP_SIDE) {
        const struct right b = packed_right(right + right_place(right_steps, 0, column), right_steps);
        for (int row = 0; row < rows; row += GROUP_SIDE)
            multiply_operands(rows - row, job->columns - column, packed_left(weight + left_place(weight_steps, row, 0)),
                              b, steps_of(depth), !first, job->sums + (ptrdiff_t)row * job->columns + column,
                              job->columns);
    }
}

/* Some columns of a row of the sums, with all that follows the product. A row beyond the last one is zero. */
INLINE vector normalised_sum(const struct tiled_tdf *job, int half, int row, int rows, int start, int column) {
    const struct linear *linear = &job->layer->linear[half];
    const int channel = column % job->layer->inputs;
    if (row >= rows) return (vector){0};
    vector sum = load(job->sums + (ptrdiff_t)(row - start) * job->columns + column);
    if (linear->bias) sum += linear->bias[row];
    return relu(sum * load(linear->scale + channel) + load(linear->shift + channel));
}

INLINE void finish_hidden(const struct tiled_tdf *job) {
    const int hidden = job->layer->hidden, steps = steps_of(hidden);
    for (int row = 0; row < steps * STEP; row += 2)
        for (int column = 0; column < job->columns; column += VECTOR_FLOATS)
            put_pairs(job->hidden + right_place(steps, row, column), normalised_sum(job, 0, row, hidden, 0, column),
                      normalised_sum(job, 0, row + 1, hidden, 0, column));
}

INLINE void finish_bins(const struct tiled_tdf *job, int start, int count) {
    for (int row = start; row < start + count; row++)
        for (int column = 0; column < job->columns; column += VECTOR_FLOATS) {
            float *x = pixel_of(job, row, column);
            store(x, load(x) + normalised_sum(job, 1, row, start + count, start, column));
        }
}

INLINE void narrow(const struct tiled_tdf *job) {
    const struct layer *layer = job->layer;
    const int bins = layer->in.columns, steps = steps_of(bins);
    const uint16_t *weight = halves_of(layer->linear[0].weight);
    for (int from = 0; from < bins; from += TILED_DEPTH) {
        const int depth = bins - from < TILED_DEPTH ? bins - from : TILED_DEPTH;
        write_bins(job, from, depth);
        multiply_weights(job, layer->hidden, weight + left_place(steps, 0, from), steps, job->bins, steps_of(depth),
                         depth, from == 0);
    }
    finish_hidden(job);
}

INLINE void widen(const struct tiled_tdf *job) {
    const struct layer *layer = job->layer;
    const int bins = layer->in.columns, hidden = layer->hidden, steps = steps_of(hidden);
    for (int start = 0; start < bins; start += TILED_ROWS) {
        const int count = bins - start < TILED_ROWS ? bins - start : TILED_ROWS;
        const uint16_t *weight = halves_of(layer->linear[1].weight) + left_place(steps, start, 0);
        for (int from = 0; from < hidden; from += TILED_DEPTH)
            multiply_weights(job, count, weight + left_place(steps, 0, from), steps,
                             job->hidden + right_place(steps, from, 0), steps,
                             hidden - from < TILED_DEPTH ? hidden - from : TILED_DEPTH, from == 0);
        finish_bins(job, start, count);
    }
}

static void tiled_tdf_job(const struct layer *layer, int number, float *workspace) {
    const int first = number * layer->frames, left = layer->in.rows - first;
    const int columns = layer->frames * layer->inputs;
    float *hidden = workspace + right_floats(TILED_DEPTH, columns);
    const struct tiled_tdf job = {layer,
                                  first,
                                  (left < layer->frames ? left : layer->frames) * layer->inputs,
                                  halves_of(workspace),
                                  halves_of(hidden),
                                  hidden + right_floats(layer->hidden, columns)};
    begin_tiles();
    narrow(&job);
    widen(&job);
    end_tiles();
}
