/* Building a network layer by layer, placing its images in one block of memory, and running it. */
#include "tdfnet.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "layers.h"
#include "memory.h"
#include "pool.h"
#include "tiled_layers.h"
#include "weights.h"

#define MAX_THREADS 256
#define MAX_SIDE (1 << 16)
#define MAX_FLOATS ((size_t)1 << 31) /* of one image */
#define LINE_FRAMES LINE             /* frames copied at a time: a cache line of the caller's arrays */

/* The place of an image in the arena, and the layers between which it is in use. */
struct tensor {
    size_t floats, offset;
    int first, last;
};

struct tdfnet {
    pthread_mutex_t lock; /* one run at a time */
    int isa, terms, threads;
    int finished;
    struct image input, output; /* of the layers added so far; `data` is NULL until tdfnet_finish */
    struct layer *layer;
    int layers;
    int *kept; /* down layers without their up layer: their input is kept */
    int open;  /* number of entries in `kept` */
    size_t bytes;
    float *arena, *workspaces;
    float *workspace;        /* of the first thread; its stopwatch is in front of it */
    size_t workspace_floats; /* per thread */
    struct pool *pool;
    double (*seconds)[STEPS]; /* [layer][thread]: of the last run, see layers.h */
    double import_s, export_s;
};

int tdfnet_version(void) { return TDFNET_VERSION; }

int tdfnet_best_isa(void) { return best_isa(); }

const char *tdfnet_message(int status) {
    switch (status) {
        case TDFNET_OK: return "no error";
        case TDFNET_BAD_ARGUMENT: return "a wrong argument or a call out of order";
        case TDFNET_NO_MEMORY: return "not enough memory";
        case TDFNET_NO_THREADS: return "no thread could be started";
        case TDFNET_UNSUPPORTED: return "no kernel for this instruction set or shape";
        default: return "an unknown status";
    }
}

/* ---- building ---- */

static struct image new_image(int rows, int columns, int channels) {
    return (struct image){NULL, rows, columns, channels, element_stride(columns, channels)};
}

static size_t image_floats(const struct image *image) { return (size_t)image->rows * (size_t)image->stride; }

static int fits(int channels, int bins, int frames) {
    if (channels < 1 || bins < 1 || frames < 1) return 0;
    if (channels > MAX_SIDE || bins > MAX_SIDE || frames > MAX_SIDE) return 0;
    const struct image image = new_image(frames, bins, channels);
    return image_floats(&image) <= MAX_FLOATS;
}

int tdfnet_create(tdfnet **result, int isa, int terms, int threads, int channels, int bins, int frames) {
    if (!result) return TDFNET_BAD_ARGUMENT;
    *result = NULL;
    if (threads < 1 || threads > MAX_THREADS || !fits(channels, bins, frames)) return TDFNET_BAD_ARGUMENT;
    if (terms != 0 && terms != TERMS) return TDFNET_BAD_ARGUMENT;
    isa = resolve_isa(isa);
    if (isa < 0) return isa;
    tdfnet *net = calloc(1, sizeof *net);
    if (!net) return TDFNET_NO_MEMORY;
    if (pthread_mutex_init(&net->lock, NULL)) {
        free(net);
        return TDFNET_NO_MEMORY;
    }
    net->isa = isa;
    net->terms = terms;
    net->threads = threads;
    net->input = net->output = new_image(frames, bins, channels);
    *result = net;
    return TDFNET_OK;
}

static void free_layer(struct layer *layer) {
    free(layer->weight);
    free(layer->bias);
    for (int half = 0; half < 2; half++) {
        free(layer->linear[half].weight);
        free(layer->linear[half].bias);
        free(layer->linear[half].scale);
        free(layer->linear[half].shift);
    }
}

static void put_on_tiles(const tdfnet *net, struct layer *layer) {
    const struct tiled_kernels *kernels = tiled_kernels_for(net->isa);
    layer->tiled = 1;
    layer->block = layer->outputs % TILED_BLOCK ? block_of(TILE_SIDE, layer->outputs) : TILED_BLOCK;
    layer->job = kernels->job[layer->kind];
    layer->filters_job = kernels->filters_job;
}

/* Initialises a layer, without weights, that takes the output of the last one. */
static int start_layer(const tdfnet *net, struct layer *layer, enum layer_kind kind, int outputs, struct image out) {
    const struct image *in = &net->output;
    *layer = (struct layer){.kind = kind, .inputs = in->channels, .outputs = outputs, .in = *in, .out = out};
    layer->kernels = kernels_for(net->isa, kind == POINTWISE ? 0 : in->channels, outputs);
    if (!layer->kernels && kind == POINTWISE) layer->kernels = kernels_for(net->isa, in->channels, 0);
    if (!layer->kernels && kind == POINTWISE) layer->kernels = kernels_for(net->isa, 0, 0);
    if (!layer->kernels) return TDFNET_UNSUPPORTED;
    if (outputs % layer->kernels->width == 0) layer->block = block_of(layer->kernels->width, outputs);
    layer->job = layer->kernels->job[kind];
    layer->filters_job = layer->kernels->filters_job;
    if (net->terms && kind != POINTWISE && in->channels % TILE_SIDE == 0 && outputs % TILE_SIDE == 0)
        put_on_tiles(net, layer);
    return TDFNET_OK;
}

/* Whether the layer has all its weights: allocating them may have failed. */
static int layer_is_complete(const struct layer *layer) {
    if (layer->kind != TDF) return layer->weight && layer->bias;
    for (int half = 0; half < 2; half++)
        if (!layer->linear[half].weight || !layer->linear[half].scale || !layer->linear[half].shift) return 0;
    return 1;
}

/* Appends the layer. Owns its weights from then on, also on failure, when it frees them. */
static int append_layer(tdfnet *net, struct layer *layer) {
    struct layer *more = NULL;
    if (layer_is_complete(layer)) more = realloc(net->layer, (size_t)(net->layers + 1) * sizeof *more);
    if (!more) {
        free_layer(layer);
        return TDFNET_NO_MEMORY;
    }
    net->layer = more;
    net->layer[net->layers++] = *layer;
    net->output = layer->out;
    for (int half = 0; half < (layer->kind == TDF ? 2 : 1); half++)
        net->bytes += weight_floats(layer, half) * sizeof(float);
    return TDFNET_OK;
}

static int may_add(const tdfnet *net, int outputs) {
    return net && !net->finished && outputs >= 1 && fits(outputs, net->output.columns, net->output.rows);
}

int tdfnet_add_pointwise(tdfnet *net, int outputs, int relu, const float *weight, const float *bias) {
    struct layer layer;
    if (!may_add(net, outputs) || !weight || !bias) return TDFNET_BAD_ARGUMENT;
    const struct image out = new_image(net->output.rows, net->output.columns, outputs);
    const int status = start_layer(net, &layer, POINTWISE, outputs, out);
    if (status) return status;
    layer.relu = relu != 0;
    layer.weight = pack_pointwise(&layer, weight);
    layer.bias = copy_floats(bias, outputs, outputs);
    return append_layer(net, &layer);
}

/* With fewer tiles per job the deep levels spend their time on reading filters (with 8 they take twice as long). */
#define MIN_TILES 40

static int smaller(int a, int b) { return a < b ? a : b; }

/* Tiles per job. Their patches and the products of one block of output channels take about 0.7 MB, half of a large L2
 * cache, which leaves the other half for the filters; with AMX, whose processors have 2 MB, 1.7 MB. A small image is
 * divided evenly among the threads. */
static int tiles_per_job(const tdfnet *net, const struct layer *layer) {
    const int rows = layer->tiled ? TILE_SIDE : layer->kernels->tile[layer->block / layer->kernels->width];
    const int all = divide_up(layer->in.columns, OUTPUT_TILE) * divide_up(layer->in.rows, OUTPUT_TILE);
    const int patch = layer->tiled ? PARTS * steps_of(layer->inputs) * STEP / HALVES_OF_FLOAT : layer->inputs;
    const int floats = layer->tiled ? TILED_CONVOLUTION_FLOATS : CONVOLUTION_FLOATS;
    const int fit = floats / (ELEMENTS * (patch + layer->block)) / rows * rows;
    const int share = divide_up(all, net->threads);
    return divide_up(smaller(fit > MIN_TILES ? fit : MIN_TILES, share), rows) * rows;
}

/* Images from this size on do not stay in the caches. */
#ifndef MIN_FLOATS_PAST_CACHE
#define MIN_FLOATS_PAST_CACHE ((size_t)4 << 20)
#endif

/* The filters of smaller images are transformed in each run: 1 to 2 % of the time of HQ_4's network, for a fifth of its
 * memory. */
#ifndef MAX_LATE_FLOATS
#define MAX_LATE_FLOATS ((size_t)4 << 20)
#endif

int tdfnet_add_convolution(tdfnet *net, int outputs, const float *weight, const float *bias) {
    struct layer layer;
    if (!may_add(net, outputs) || !weight || !bias) return TDFNET_BAD_ARGUMENT;
    const struct image out = new_image(net->output.rows, net->output.columns, outputs);
    const int status = start_layer(net, &layer, CONVOLUTION, outputs, out);
    if (status) return status;
    layer.tiles = tiles_per_job(net, &layer);
    layer.late = image_floats(&out) < MAX_LATE_FLOATS;
    layer.past_cache = image_floats(&out) >= MIN_FLOATS_PAST_CACHE;
    layer.weight = pack_convolution(&layer, weight);
    layer.bias = copy_floats(bias, outputs, outputs);
    return append_layer(net, &layer);
}

/* Smaller parts spend more time on splitting and joining than they save. */
#define MIN_PART_ROWS 32

/* Whether Strassen's algorithm pays, and its two frames and halves of the bins exist. */
static int can_be_halved(const struct layer *layer) {
    if (layer->tiled) return 0;
    const int even = layer->in.rows % 2 == 0 && layer->in.columns % 2 == 0 && layer->hidden % 2 == 0;
    return even && layer->hidden / 2 >= MIN_PART_ROWS;
}

/* Frames of a job of a TDF on tiles: at least one, and at least two jobs for each thread, if there are so many frames.
 */
static int frames_per_job(const tdfnet *net, const struct layer *layer) {
    const int frames = smaller(TILED_COLUMNS / layer->inputs, layer->in.rows / (2 * net->threads));
    return frames > 1 ? frames : 1;
}

/* Packs the weights of one half. `bias` may be NULL. Returns 0 if there is no memory for the bias; append_layer checks
 * the other weights. */
static int set_linear(struct layer *layer, int half, int outputs, const float *weight, const float *bias,
                      const float *scale, const float *shift) {
    struct linear *linear = &layer->linear[half];
    const size_t channels = (size_t)layer->inputs;
    linear->weight = pack_linear(layer, half, weight);
    linear->scale = copy_floats(scale, channels, channels);
    linear->shift = copy_floats(shift, channels, channels);
    if (bias) linear->bias = copy_floats(bias, outputs, outputs);
    return !bias || linear->bias;
}

int tdfnet_add_tdf(tdfnet *net, int hidden, const float *weight1, const float *bias1, const float *scale1,
                   const float *shift1, const float *weight2, const float *bias2, const float *scale2,
                   const float *shift2) {
    struct layer layer;
    if (!net || !may_add(net, net->output.channels) || hidden < 1 || hidden > MAX_SIDE) return TDFNET_BAD_ARGUMENT;
    if (!weight1 || !scale1 || !shift1 || !weight2 || !scale2 || !shift2) return TDFNET_BAD_ARGUMENT;
    const int status = start_layer(net, &layer, TDF, net->output.channels, net->output);
    if (status) return status;
    layer.hidden = hidden;
    layer.halved = can_be_halved(&layer);
    layer.frames = frames_per_job(net, &layer);
    if (set_linear(&layer, 0, hidden, weight1, bias1, scale1, shift1) &&
        set_linear(&layer, 1, layer.in.columns, weight2, bias2, scale2, shift2))
        return append_layer(net, &layer);
    free_layer(&layer);
    return TDFNET_NO_MEMORY;
}

static int keep_input(tdfnet *net) {
    int *more = realloc(net->kept, (size_t)(net->open + 1) * sizeof *more);
    if (!more) return TDFNET_NO_MEMORY;
    net->kept = more;
    return TDFNET_OK;
}

int tdfnet_add_down(tdfnet *net, int outputs, const float *weight, const float *bias) {
    struct layer layer;
    if (!may_add(net, outputs) || !weight || !bias) return TDFNET_BAD_ARGUMENT;
    const struct image *in = &net->output;
    if (in->rows % 2 || in->columns % 2) return TDFNET_UNSUPPORTED;
    int status = start_layer(net, &layer, DOWN, outputs, new_image(in->rows / 2, in->columns / 2, outputs));
    if (!status) status = keep_input(net);
    if (status) return status;
    layer.weight = pack_down(&layer, weight);
    layer.bias = copy_floats(bias, outputs, outputs);
    status = append_layer(net, &layer);
    if (!status) net->kept[net->open++] = net->layers - 1;
    return status;
}

int tdfnet_add_up(tdfnet *net, int outputs, const float *weight, const float *bias) {
    struct layer layer;
    if (!may_add(net, outputs) || !weight || !bias || !net->open) return TDFNET_BAD_ARGUMENT;
    const struct image *in = &net->output, *kept = &net->layer[net->kept[net->open - 1]].in;
    if (kept->channels != outputs || kept->rows != 2 * in->rows || kept->columns != 2 * in->columns)
        return TDFNET_BAD_ARGUMENT;
    int status = start_layer(net, &layer, UP, outputs, *kept);
    if (status) return status;
    layer.weight = pack_up(&layer, weight);
    layer.bias = copy_floats(bias, outputs, outputs);
    status = append_layer(net, &layer);
    if (!status) net->open--;
    return status;
}

/* ---- memory ---- */

/* Places `tensor` at the lowest offset where it overlaps none of the `count` tensors that are in use at the same time.
 */
static void place(struct tensor *tensor, const struct tensor *before, int count) {
    tensor->offset = 0;
    for (int i = 0; i < count; i++) {
        const struct tensor *other = &before[i];
        const int together = other->first <= tensor->last && tensor->first <= other->last;
        const int apart =
            other->offset + other->floats <= tensor->offset || tensor->offset + tensor->floats <= other->offset;
        if (!together || apart) continue;
        tensor->offset = other->offset + other->floats;
        i = -1; /* start again: the new place may overlap another tensor */
    }
}

/* Sets tensor_of[i] to the tensor of layer i's output, and filters_of[i] to that of filters that are transformed in
 * each run. Tensor 0 is the network's input. Returns the number of tensors. */
static int find_tensors(const tdfnet *net, struct tensor *tensor, int *tensor_of) {
    int tensors = 1, open = 0;
    int *filters_of = tensor_of + net->layers, *kept = filters_of + net->layers; /* the other thirds of the array */
    tensor[0] = (struct tensor){.floats = image_floats(&net->input)};
    for (int i = 0; i < net->layers; i++) {
        const struct layer *layer = &net->layer[i];
        const int in = i ? tensor_of[i - 1] : 0;
        tensor[in].last = i;
        if (layer->kind == DOWN) kept[open++] = in;
        if (layer->kind == TDF) tensor_of[i] = in;
        else if (layer->kind == UP) tensor_of[i] = kept[--open];
        else {
            tensor[tensors] = (struct tensor){.floats = image_floats(&layer->out), .first = i};
            tensor_of[i] = tensors++;
        }
        tensor[tensor_of[i]].last = i + 1; /* read by the next layer or the export */
        if (!layer->late) continue;
        tensor[tensors] = (struct tensor){.floats = filter_floats(layer), .first = i, .last = i};
        filters_of[i] = tensors++;
    }
    return tensors;
}

static int plan_arena(tdfnet *net, struct tensor *tensor, int *tensor_of) {
    const int tensors = find_tensors(net, tensor, tensor_of);
    size_t floats = 0;
    for (int i = 0; i < tensors; i++) {
        place(&tensor[i], tensor, i);
        if (tensor[i].offset + tensor[i].floats > floats) floats = tensor[i].offset + tensor[i].floats;
    }
    net->arena = scratch_floats(floats);
    if (!net->arena) return TDFNET_NO_MEMORY;
    net->bytes += floats * sizeof(float);
    net->input.data = net->arena + tensor[0].offset;
    for (int i = 0; i < net->layers; i++) {
        net->layer[i].in.data = i ? net->layer[i - 1].out.data : net->input.data;
        net->layer[i].out.data = net->arena + tensor[tensor_of[i]].offset;
        net->layer[i].filters = net->layer[i].weight;
        if (net->layer[i].late) net->layer[i].filters = net->arena + tensor[tensor_of[net->layers + i]].offset;
    }
    net->output.data = net->layer[net->layers - 1].out.data;
    return TDFNET_OK;
}

static int make_arena(tdfnet *net) {
    struct tensor *tensor = calloc((size_t)net->layers * 2 + 1, sizeof *tensor);
    int *tensor_of = calloc((size_t)net->layers * 3, sizeof *tensor_of);
    const int status = tensor && tensor_of ? plan_arena(net, tensor, tensor_of) : TDFNET_NO_MEMORY;
    free(tensor_of);
    free(tensor);
    return status;
}

static int make_workspaces(tdfnet *net) {
    for (int i = 0; i < net->layers; i++) {
        const size_t floats = layer_workspace(&net->layer[i]);
        if (floats > net->workspace_floats) net->workspace_floats = (size_t)round_up((ptrdiff_t)floats, LINE);
    }
    net->workspace_floats += 2 * LINE; /* what vectors may read beyond the end, and the stopwatch of the next thread */
    net->workspaces = scratch_floats(LINE + net->workspace_floats * (size_t)net->threads);
    net->bytes += net->workspace_floats * (size_t)net->threads * sizeof(float);
    if (net->workspaces) net->workspace = net->workspaces + LINE;
    return net->workspaces ? TDFNET_OK : TDFNET_NO_MEMORY;
}

static int make_stopwatches(tdfnet *net) {
    net->seconds = calloc((size_t)net->layers * (size_t)net->threads, sizeof *net->seconds);
    for (int i = 0; i < net->layers && net->seconds; i++) net->layer[i].seconds = net->seconds + i * net->threads;
    return net->seconds ? TDFNET_OK : TDFNET_NO_MEMORY;
}

int tdfnet_finish(tdfnet *net) {
    if (!net || net->finished || !net->layers || net->open) return TDFNET_BAD_ARGUMENT;
    int status = net->arena ? TDFNET_OK : make_arena(net);
    if (!status && !net->workspace) status = make_workspaces(net);
    if (!status && !net->seconds) status = make_stopwatches(net);
    if (!status) status = pool_create(&net->pool, net->threads);
    net->finished = !status;
    return status;
}

void tdfnet_free(tdfnet *net) {
    if (!net) return;
    pool_free(net->pool);
    for (int i = 0; i < net->layers; i++) free_layer(&net->layer[i]);
    free(net->layer);
    free(net->kept);
    free(net->arena);
    free(net->workspaces);
    free(net->seconds);
    pthread_mutex_destroy(&net->lock);
    free(net);
}

int tdfnet_isa_of(const tdfnet *net) { return net ? net->isa : TDFNET_BAD_ARGUMENT; }
int tdfnet_terms_of(const tdfnet *net) { return net ? net->terms : TDFNET_BAD_ARGUMENT; }
int tdfnet_threads_of(const tdfnet *net) { return net ? net->threads : TDFNET_BAD_ARGUMENT; }
int tdfnet_outputs_of(const tdfnet *net) { return net ? net->output.channels : TDFNET_BAD_ARGUMENT; }
size_t tdfnet_bytes_of(const tdfnet *net) { return net ? net->bytes : 0; }

/* ---- running ---- */

struct transfer {
    const struct image *image;
    const float *from; /* the caller's array; NULL for an export */
    float *to;         /* the caller's array; NULL for an import */
};

/* Copies frames between an image and the caller's array [channel][bin][frame]. A job copies the frames that share cache
 * lines of that array. */
static void transfer_frames(void *context, int job, int thread) {
    const struct transfer *transfer = context;
    const struct image *image = transfer->image;
    const int start = job * LINE_FRAMES;
    const int frames = image->rows - start < LINE_FRAMES ? image->rows - start : LINE_FRAMES;
    (void)thread;
    for (int bin = 0; bin < image->columns; bin++)
        for (int channel = 0; channel < image->channels; channel++) {
            const size_t plain = ((size_t)channel * image->columns + bin) * image->rows + start;
            float *pixel = image_row(image, start) + (ptrdiff_t)bin * image->channels + channel;
            for (int i = 0; i < frames; i++)
                if (transfer->from) pixel[i * image->stride] = transfer->from[plain + i];
                else transfer->to[plain + i] = pixel[i * image->stride];
        }
}

struct work {
    const tdfnet *net;
    const struct layer *layer;
};

static void run_job(void *context, int job, int thread) {
    const struct work *work = context;
    const struct layer *layer = work->layer;
    run_layer_job(layer, job, work->net->workspace + work->net->workspace_floats * thread, thread);
}

/* Transforms the filters of a block of output channels. */
static void run_filters(void *context, int job, int thread) {
    const struct work *work = context;
    const double start = monotonic_s();
    work->layer->filters_job(work->layer, job, NULL);
    work->layer->seconds[thread][WHOLE_JOB] += monotonic_s() - start;
}

int tdfnet_run(tdfnet *net, const float *input, float *output) {
    if (!net || !net->finished || !input || !output) return TDFNET_BAD_ARGUMENT;
    const int transfers = divide_up(net->input.rows, LINE_FRAMES);
    struct transfer import = {.image = &net->input, .from = input}, export = {.image = &net->output, .to = output};
    if (pthread_mutex_lock(&net->lock)) return TDFNET_BAD_ARGUMENT;
    const double start = monotonic_s();
    memset(net->seconds, 0, (size_t)net->layers * (size_t)net->threads * sizeof *net->seconds);
    pool_run(net->pool, transfer_frames, &import, transfers);
    net->import_s = monotonic_s() - start;
    for (int i = 0; i < net->layers; i++) {
        struct work work = {net, &net->layer[i]};
        if (work.layer->late) pool_run(net->pool, run_filters, &work, work.layer->outputs / work.layer->block);
        pool_run(net->pool, run_job, &work, layer_jobs(work.layer));
    }
    const double last = monotonic_s();
    pool_run(net->pool, transfer_frames, &export, divide_up(net->output.rows, LINE_FRAMES));
    net->export_s = monotonic_s() - last;
    pthread_mutex_unlock(&net->lock);
    return TDFNET_OK;
}

int tdfnet_seconds_of(tdfnet *net, int part, double seconds[4]) {
    if (!net || !net->finished || !seconds || part < 0 || part > net->layers + 1) return TDFNET_BAD_ARGUMENT;
    if (pthread_mutex_lock(&net->lock)) return TDFNET_BAD_ARGUMENT;
    for (int step = 0; step < STEPS; step++) {
        seconds[step] = 0;
        for (int thread = 0; thread < net->threads && part > 0 && part <= net->layers; thread++)
            seconds[step] += net->seconds[(part - 1) * net->threads + thread][step];
    }
    if (part == 0) seconds[WHOLE_JOB] = net->import_s * net->threads;
    if (part == net->layers + 1) seconds[WHOLE_JOB] = net->export_s * net->threads;
    pthread_mutex_unlock(&net->lock);
    return TDFNET_OK;
}
