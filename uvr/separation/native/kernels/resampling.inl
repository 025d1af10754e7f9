/* The 2x2 convolutions with stride 2 between the levels: they halve (down) or double (up) frames and bins.
 *
 *     down:  y[t][f] = relu(sum over i, j of W[i][j] x[2t + i][2f + j] + b)            a job is a row of the output
 *     up:    y[2t + i][2f + j] = relu(W[i][j] x[t][f] + b) * kept[2t + i][2f + j]      a job is a row of the input
 *
 * Both are matrix products over the channels. Two neighbouring pixels are adjacent in memory, so `down` sums over 2C
 * channels twice. Weights: down [block][i][j, input channel][channel of block], up [i, j][block][input channel][channel
 * of block]. `up` overwrites the kept image; it reads each of its pixels once, immediately before. */

/* First column of the register tile for `column`. The last tile of a row overlaps the one before it. Rows narrower than
 * a tile are computed pixel by pixel. */
INLINE int tile_start(int column, int rows, int columns) { return column + rows <= columns ? column : columns - rows; }

INLINE void halve_columns(const struct layer *layer, int row, int from, int column, int rows, int vectors) {
    const int block = vectors * VECTOR_FLOATS, depth = 2 * layer->inputs;
    vector sum[MAX_TILE_ROWS][MAX_VECTORS];
    clear(rows, vectors, sum);
    for (int i = 0; i < 2 && column + 2 * rows <= layer->out.columns; i++) /* the next tile's pixels */
        fetch(image_row(&layer->in, 2 * row + i) + (ptrdiff_t)(column + rows) * depth, (ptrdiff_t)rows * depth);
    for (int i = 0; i < 2; i++)
        multiply(rows, vectors, image_row(&layer->in, 2 * row + i) + (ptrdiff_t)column * depth, depth, 1,
                 layer->weight + ((ptrdiff_t)from * 2 + (ptrdiff_t)i * block) * depth, block, depth, 0, sum);
    for (int i = 0; i < rows; i++) {
        float *to = image_row(&layer->out, row) + (ptrdiff_t)(column + i) * layer->outputs + from;
        for (int j = 0; j < vectors; j++)
            store(to + j * VECTOR_FLOATS, relu(sum[i][j] + load(layer->bias + from + j * VECTOR_FLOATS)));
    }
}

INLINE void halve(const struct layer *layer, int row, int vectors) {
    const int rows = tile_rows(vectors), columns = layer->out.columns;
    for (int from = 0; from < layer->outputs; from += vectors * VECTOR_FLOATS)
        if (columns < rows)
            for (int column = 0; column < columns; column++) halve_columns(layer, row, from, column, 1, vectors);
        else
            for (int column = 0; column < columns; column += rows)
                halve_columns(layer, row, from, tile_start(column, rows, columns), rows, vectors);
}

/* Computes one of the four pixels that each pixel of the tile becomes. The previous tile has written the first `done`.
 */
INLINE void double_columns(const struct layer *layer, int row, int from, int corner, int column, int done, int rows,
                           int vectors) {
    const int channels = layer->inputs;
    vector sum[MAX_TILE_ROWS][MAX_VECTORS];
    clear(rows, vectors, sum);
    multiply(rows, vectors, image_row(&layer->in, row) + (ptrdiff_t)column * channels, channels, 1,
             layer->weight + ((ptrdiff_t)corner * layer->outputs + from) * channels, vectors * VECTOR_FLOATS, channels,
             0, sum);
    float *pixel = image_row(&layer->out, 2 * row + corner / 2) + (ptrdiff_t)(corner % 2) * layer->outputs + from;
    for (int i = 0; i < rows; i++) {
        float *to = pixel + (ptrdiff_t)(column + i) * 2 * layer->outputs;
        for (int j = 0; j < vectors && i >= done; j++) {
            const vector y = relu(sum[i][j] + load(layer->bias + from + j * VECTOR_FLOATS));
            store(to + j * VECTOR_FLOATS, y * load(to + j * VECTOR_FLOATS));
        }
    }
}

INLINE void double_tile(const struct layer *layer, int row, int from, int column, int rows, int vectors) {
    const int start = tile_start(column, rows, layer->in.columns);
    for (int i = 0; i < 2; i++)
        for (int kept = 2 * start; kept < 2 * (start + rows); kept++)
            fetch(image_row(&layer->out, 2 * row + i) + (ptrdiff_t)kept * layer->outputs + from,
                  vectors * VECTOR_FLOATS);
    for (int corner = 0; corner < 4; corner++)
        double_columns(layer, row, from, corner, start, column - start, rows, vectors);
}

INLINE void enlarge(const struct layer *layer, int row, int vectors) {
    const int rows = tile_rows(vectors), columns = layer->in.columns;
    for (int from = 0; from < layer->outputs; from += vectors * VECTOR_FLOATS)
        if (columns < rows)
            for (int column = 0; column < columns; column++) double_tile(layer, row, from, column, 1, vectors);
        else
            for (int column = 0; column < columns; column += rows) double_tile(layer, row, from, column, rows, vectors);
}

static void down_job(const struct layer *layer, int job, float *workspace) {
    (void)workspace;
    switch (layer->block / VECTOR_FLOATS) {
        case 3: halve(layer, job, 3); break;
        case 2: halve(layer, job, 2); break;
        default: halve(layer, job, 1);
    }
}

static void up_job(const struct layer *layer, int job, float *workspace) {
    (void)workspace;
    switch (layer->block / VECTOR_FLOATS) {
        case 3: enlarge(layer, job, 3); break;
        case 2: enlarge(layer, job, 2); break;
        default: enlarge(layer, job, 1);
    }
}
