/* RoFormers of all layers over shapes that fit no tile. */
#include "roformer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define LINE 16
#define MAX_MASKS 2

/* `numbers`: of the first mask. The next one has one more. */
struct size {
    int frames, bands, dim, heads, dim_head, hidden, numbers;
};

static int round_up(int count, int multiple) { return (count + multiple - 1) / multiple * multiple; }

static int larger(int a, int b) { return a > b ? a : b; }

/* The outputs of a gated linear unit. */
static int gated_of(int numbers) { return 2 * round_up(numbers, ROFORMER_PANEL); }

static struct roformer_shape shape_of(const struct size *size) {
    const int widest = larger(larger(size->hidden, size->dim), gated_of(size->numbers + MAX_MASKS - 1));
    return (struct roformer_shape){.frames = size->frames,
                                   .bands = size->bands,
                                   .dim = size->dim,
                                   .heads = size->heads,
                                   .dim_head = size->dim_head,
                                   .widest = larger(widest, size->heads)};
}

/* Packed weights, zeros behind the last output. */
static struct roformer_linear linear_of(int inputs, int outputs, int bias) {
    const int padded = round_up(outputs, ROFORMER_PANEL);
    float *weight = aligned_numbers((size_t)inputs * padded), *vector = bias ? aligned_numbers(padded) : NULL;
    for (int output = outputs; output < padded; output++) {
        for (int input = 0; input < inputs; input++)
            weight[((size_t)(output / LINE) * inputs + input) * LINE + output % LINE] = 0;
        if (bias) vector[output] = 0;
    }
    return (struct roformer_linear){weight, vector, inputs, outputs};
}

static void free_linear(const struct roformer_linear *linear) {
    free((float *)linear->weight);
    free((float *)linear->bias);
}

static struct roformer_layer layer_of(const struct size *size, int along_bands) {
    const int half = round_up(size->dim_head / 2, LINE), positions = along_bands ? size->bands : size->frames;
    const int values = round_up(size->dim_head, ROFORMER_PANEL), inner = size->heads * values;
    return (struct roformer_layer){.query_key_value = linear_of(size->dim, size->heads * (4 * half + values), 0),
                                   .gates = linear_of(size->dim, size->heads, 1),
                                   .output = linear_of(inner, size->dim, 0),
                                   .inner = linear_of(size->dim, size->hidden, 1),
                                   .outer = linear_of(size->hidden, size->dim, 1),
                                   .cosines = aligned_numbers((size_t)positions * half),
                                   .sines = aligned_numbers((size_t)positions * half),
                                   .norm = aligned_numbers(round_up(size->dim, ROFORMER_PANEL)),
                                   .along_bands = along_bands};
}

static void free_layer(const struct roformer_layer *layer) {
    free_linear(&layer->query_key_value);
    free_linear(&layer->gates);
    free_linear(&layer->output);
    free_linear(&layer->inner);
    free_linear(&layer->outer);
    free((float *)layer->cosines);
    free((float *)layer->sines);
    free((float *)layer->norm);
}

/* A mask of one hidden layer; the caller frees it with `free_mask`. */
static struct roformer_mask mask_of(const struct size *size, int numbers, int column) {
    struct roformer_linear *linear = room_for(2 * sizeof *linear);
    linear[0] = linear_of(size->dim, size->hidden, 1);
    linear[1] = linear_of(size->hidden, gated_of(numbers), 1);
    return (struct roformer_mask){linear, numbers, column};
}

static void free_mask(const struct roformer_mask *mask) {
    for (int i = 0; i < 2; i++) free_linear(&mask->linear[i]);
    free((struct roformer_linear *)mask->linear);
}

struct model {
    struct size size;
    struct roformer_linear split;
    struct roformer_layer time, bands;
    struct roformer_mask masks[MAX_MASKS];
    int count;     /* of masks: those of the last bands */
    int stride;    /* of the outputs */
    float *inputs; /* [frames][numbers + 3]: those of the band begin at the third */
};

static struct model model_of(const struct size *size) {
    srand(2);
    struct model model = {.size = *size,
                          .split = linear_of(size->numbers, size->dim, 1),
                          .time = layer_of(size, 0),
                          .bands = layer_of(size, 1),
                          .count = size->bands < MAX_MASKS ? size->bands : MAX_MASKS,
                          .inputs = numbers((size_t)size->frames * (size->numbers + 3))};
    for (int i = 0; i < model.count; i++) {
        model.masks[i] = mask_of(size, size->numbers + i, model.stride);
        model.stride += size->numbers + i;
    }
    model.stride += 3;
    return model;
}

static void free_model(const struct model *model) {
    free_linear(&model->split);
    free_layer(&model->time);
    free_layer(&model->bands);
    for (int i = 0; i < model->count; i++) free_mask(&model->masks[i]);
    free(model->inputs);
}

static size_t features_of(const struct model *model) {
    return (size_t)model->size.frames * model->size.bands * model->size.dim;
}

static size_t outputs_of(const struct model *model) { return (size_t)model->size.frames * model->stride - 3; }

/* Writes the masks of the last bands to `outputs`, which ends with their last number. */
static void run(roformer *net, const struct model *model, float *features, float *outputs) {
    const int bands = model->size.bands;
    memset(features, 0, features_of(model) * sizeof *features);
    memset(outputs, 0, outputs_of(model) * sizeof *outputs);
    for (int band = 0; band < bands; band++)
        expect(roformer_split(net, &model->split, band, model->inputs + 3, model->size.numbers + 3, features),
               TDFNET_OK, "split");
    expect(roformer_transform(net, &model->time, features), TDFNET_OK, "transform along time");
    expect(roformer_transform(net, &model->bands, features), TDFNET_OK, "transform along bands");
    expect(
        roformer_masks(net, model->masks, 2, 1, bands - model->count, model->count, features, outputs, model->stride),
        TDFNET_OK, "masks");
}

static void check_threads(int isa, const struct size *size) {
    static const int threads[] = {1, 2, 3, 7};
    const struct model model = model_of(size);
    const struct roformer_shape shape = shape_of(size);
    float *features = aligned_numbers(features_of(&model)), *outputs = numbers(outputs_of(&model));
    float *first = numbers(outputs_of(&model));
    for (int i = 0; i < COUNT(threads); i++) {
        roformer *net;
        expect(roformer_create(&net, isa, threads[i], &shape), TDFNET_OK, "create a RoFormer");
        for (int repeated = 0; repeated < 2; repeated++) {
            run(net, &model, features, outputs);
            if (!i && !repeated) memcpy(first, outputs, outputs_of(&model) * sizeof *first);
            require(!memcmp(first, outputs, outputs_of(&model) * sizeof *first), "a RoFormer's result changes");
        }
        roformer_free(net);
    }
    require_finite(first, outputs_of(&model), "a RoFormer's result is not finite");
    free(features);
    free(outputs);
    free(first);
    free_model(&model);
}

static int make_and_free(void) {
    static const struct size small = {5, 3, 8, 2, 4, 12, 6};
    const struct roformer_shape shape = shape_of(&small);
    roformer *net;
    const int status = roformer_create(&net, TDFNET_BEST, 3, &shape);
    roformer_free(net);
    return status;
}

void check_roformer(int isa) {
    static const struct size sizes[] = {{1, 1, 1, 1, 2, 1, 1},       {33, 7, 20, 3, 10, 50, 31},
                                        {97, 2, 33, 2, 64, 96, 65},  {5, 49, 16, 1, 6, 31, 2},
                                        {131, 11, 12, 2, 6, 300, 5}, {7, 3, 5, 33, 2, 9, 32}};
    for (int i = 0; i < COUNT(sizes); i++) check_threads(isa, &sizes[i]);
    with_every_failure(make_and_free, "a RoFormer without memory");
}

struct visit {
    roformer *net;
    const struct model *model;
};

static void *run_often(void *argument) {
    const struct visit *visit = argument;
    float *features = aligned_numbers(features_of(visit->model)), *outputs = numbers(outputs_of(visit->model));
    for (int i = 0; i < 10; i++) run(visit->net, visit->model, features, outputs);
    free(features);
    free(outputs);
    return NULL;
}

void check_roformers_side_by_side(void) {
    static const struct size size = {61, 17, 12, 2, 6, 20, 10}; /* several jobs along both axes */
    const struct model model = model_of(&size);
    const struct roformer_shape shape = shape_of(&size);
    pthread_t threads[2];
    struct visit visit = {.model = &model};
    expect(roformer_create(&visit.net, TDFNET_BEST, 3, &shape), TDFNET_OK, "create");
    for (int i = 0; i < COUNT(threads); i++) require(!pthread_create(&threads[i], NULL, run_often, &visit), "thread");
    for (int i = 0; i < 10; i++) {
        struct visit other = {.model = &model};
        expect(roformer_create(&other.net, TDFNET_BEST, 2, &shape), TDFNET_OK, "create beside others");
        if (i % 2) run_often(&other);
        roformer_free(other.net);
    }
    for (int i = 0; i < COUNT(threads); i++) pthread_join(threads[i], NULL);
    roformer_free(visit.net);
    free_model(&model);
}
