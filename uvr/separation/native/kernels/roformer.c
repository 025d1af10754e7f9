/* Memory and threads of a RoFormer, and the calls that run one layer. */
#include "roformer.h"

#include <pthread.h>
#include <stdlib.h>

#include "dispatch.h"
#include "memory.h"
#include "roformer_jobs.h"

#define MAX_THREADS 256
#define MAX_SIDE (1 << 20)

static int larger(int a, int b) { return a > b ? a : b; }

static int tokens_per_job(const struct roformer *net) {
    const int longest = larger(net->shape.frames, net->shape.bands);
    return larger(longest, larger(JOB_TOKENS, net->block));
}

static int is_possible(const struct roformer_shape *shape) {
    const int sides[] = {shape->frames, shape->bands, shape->dim, shape->heads, shape->dim_head, shape->widest};
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
        if (sides[i] < 1 || sides[i] > MAX_SIDE) return 0;
    return shape->dim_head % 2 == 0;
}

/* Allocates one array of a workspace, and counts it. */
static float *array_of(roformer *net, ptrdiff_t count) {
    net->bytes += (size_t)count * sizeof(float);
    return new_floats((size_t)count);
}

/* Panels for so many values of so many tokens. */
static struct panels panels_of(roformer *net, int values, int tokens) {
    const ptrdiff_t stride = panel_stride(tokens);
    return (struct panels){array_of(net, divide_up(values, ROFORMER_PANEL) * stride), stride};
}

static int make_workspace(roformer *net, struct roformer_workspace *work) {
    const int tokens = tokens_per_job(net), dim = net->shape.dim, heads = net->shape.heads;
    const ptrdiff_t positions = round_up(larger(net->shape.frames, net->shape.bands), ROFORMER_PANEL);
    work->tokens = panels_of(net, dim, tokens);
    work->normal = panels_of(net, dim, tokens);
    work->queries = panels_of(net, net->turned, tokens);
    work->keys = panels_of(net, net->turned, tokens);
    work->values = panels_of(net, net->valued, tokens);
    work->gates = panels_of(net, heads, tokens);
    work->attended = panels_of(net, heads * net->valued, tokens);
    work->hidden = panels_of(net, net->shape.widest, net->block);
    work->second_hidden = panels_of(net, net->shape.widest, net->block);
    work->packed_keys = array_of(net, positions * net->turned);
    work->packed_values = array_of(net, net->terms ? positions * net->valued : 0);
    work->scores = array_of(net, positions / ROFORMER_PANEL * SCORE_STRIDE);
    return work->tokens.data && work->normal.data && work->queries.data && work->keys.data && work->values.data &&
           work->gates.data && work->attended.data && work->hidden.data && work->second_hidden.data &&
           work->packed_keys && work->packed_values && work->scores;
}

static void free_workspace(struct roformer_workspace *work) {
    float *arrays[] = {work->tokens.data,        work->normal.data, work->queries.data,  work->keys.data,
                       work->values.data,        work->gates.data,  work->attended.data, work->hidden.data,
                       work->second_hidden.data, work->packed_keys, work->packed_values, work->scores};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
}

int roformer_create(roformer **result, int isa, int terms, int threads, const struct roformer_shape *shape) {
    if (!result || !shape) return TDFNET_BAD_ARGUMENT;
    *result = NULL;
    if (threads < 1 || threads > MAX_THREADS || !is_possible(shape)) return TDFNET_BAD_ARGUMENT;
    if (terms != 0 && terms != 1 && terms != 3) return TDFNET_BAD_ARGUMENT;
    isa = resolve_isa(isa);
    if (isa < 0) return isa;
    roformer *net = calloc(1, sizeof *net);
    if (!net) return TDFNET_NO_MEMORY;
    if (pthread_mutex_init(&net->lock, NULL)) {
        free(net);
        return TDFNET_NO_MEMORY;
    }
    net->shape = *shape;
    net->isa = isa;
    net->threads = threads;
    net->terms = terms;
    net->jobs = terms ? tiled_kernels_for(isa)->roformer : kernels_for(isa, 0, 0)->roformer;
    net->block = terms ? TILED_BLOCK_TOKENS : BLOCK_TOKENS;
    net->feed = terms ? TILED_FEED_VALUES : FEED_VALUES;
    net->padded_dim = (int)round_up(shape->dim, ROFORMER_PANEL);
    net->turned = 2 * (int)round_up(shape->dim_head / 2, LINE);
    net->valued = (int)round_up(shape->dim_head, ROFORMER_PANEL);
    net->workspace = calloc((size_t)threads, sizeof *net->workspace);
    int status = net->workspace ? TDFNET_OK : TDFNET_NO_MEMORY;
    for (int i = 0; i < threads && !status; i++)
        if (!make_workspace(net, &net->workspace[i])) status = TDFNET_NO_MEMORY;
    if (!status) status = pool_create(&net->pool, threads);
    if (status) {
        roformer_free(net);
        return status;
    }
    *result = net;
    return TDFNET_OK;
}

void roformer_free(roformer *net) {
    if (!net) return;
    pool_free(net->pool);
    for (int i = 0; i < net->threads && net->workspace; i++) free_workspace(&net->workspace[i]);
    free(net->workspace);
    pthread_mutex_destroy(&net->lock);
    free(net);
}

int roformer_isa_of(const roformer *net) { return net->isa; }

size_t roformer_bytes_of(const roformer *net) { return net->bytes; }

static int run(roformer *net, enum roformer_job kind, struct roformer_call *call, int jobs) {
    call->net = net;
    pthread_mutex_lock(&net->lock);
    pool_run(net->pool, net->jobs[kind], call, jobs);
    pthread_mutex_unlock(&net->lock);
    return TDFNET_OK;
}

static int fits(const roformer *net, const struct roformer_linear *linear) {
    return linear->weight && linear->inputs >= 1 && linear->outputs >= 1 && linear->inputs <= net->shape.widest &&
           linear->outputs <= net->shape.widest;
}

static int is_band(const roformer *net, int band) { return band >= 0 && band < net->shape.bands; }

int roformer_split(roformer *net, const struct roformer_linear *linear, int band, const float *inputs, long stride,
                   float *features) {
    if (!net || !linear || !inputs || !features || !is_band(net, band) || !fits(net, linear))
        return TDFNET_BAD_ARGUMENT;
    if (linear->outputs != net->shape.dim) return TDFNET_BAD_ARGUMENT;
    struct roformer_call call = {
        .linear = linear, .band = band, .inputs = inputs, .stride = stride, .features = features};
    return run(net, SPLIT, &call, divide_up(net->shape.frames, net->block));
}

int roformer_transform(roformer *net, const struct roformer_layer *layer, float *features) {
    if (!net || !layer || !features || !layer->cosines || !layer->sines) return TDFNET_BAD_ARGUMENT;
    const struct roformer_linear *heads = &layer->query_key_value;
    const int dim = net->shape.dim, inner = net->shape.heads * net->valued;
    if (!heads->weight || heads->inputs != dim || heads->outputs != net->shape.heads * (2 * net->turned + net->valued))
        return TDFNET_BAD_ARGUMENT;
    if (!fits(net, &layer->gates) || layer->gates.inputs != dim || layer->gates.outputs != net->shape.heads)
        return TDFNET_BAD_ARGUMENT;
    if (!layer->output.weight || layer->output.inputs != inner || layer->output.outputs != dim)
        return TDFNET_BAD_ARGUMENT;
    if (!fits(net, &layer->inner) || layer->inner.inputs != dim) return TDFNET_BAD_ARGUMENT;
    if (!fits(net, &layer->outer) || layer->outer.inputs != layer->inner.outputs || layer->outer.outputs != dim)
        return TDFNET_BAD_ARGUMENT;
    struct roformer_call call = {.layer = layer, .features = features};
    const int sequences = layer->along_bands ? net->shape.frames : net->shape.bands;
    return run(net, TRANSFORM, &call, divide_up(sequences, sequences_per_job(positions_of(net, layer))));
}

static int is_mask(const roformer *net, const struct roformer_mask *mask, int layers, long stride) {
    int inputs = net->shape.dim;
    if (!mask->linear || mask->numbers < 1 || mask->column < 0 || mask->column + (long)mask->numbers > stride) return 0;
    for (int i = 0; i < layers; i++) {
        if (!fits(net, &mask->linear[i]) || mask->linear[i].inputs != inputs) return 0;
        inputs = mask->linear[i].outputs;
    }
    return inputs == 2 * (int)round_up(mask->numbers, ROFORMER_PANEL);
}

int roformer_masks(roformer *net, const struct roformer_mask *masks, int layers, int normalize, int first, int count,
                   const float *features, float *outputs, long stride) {
    if (!net || !masks || layers < 1 || !features || !outputs) return TDFNET_BAD_ARGUMENT;
    if (first < 0 || count < 1 || count > net->shape.bands - first) return TDFNET_BAD_ARGUMENT;
    for (int i = 0; i < count; i++)
        if (!is_mask(net, &masks[i], layers, stride)) return TDFNET_BAD_ARGUMENT;
    struct roformer_call call = {.masks = masks,
                                 .layers = layers,
                                 .normalize = normalize,
                                 .band = first,
                                 .features = (float *)features,
                                 .outputs = outputs,
                                 .stride = stride};
    return run(net, MASK, &call, count * divide_up(net->shape.frames, net->block));
}
