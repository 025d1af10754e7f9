/* RoFormers of all layers over shapes that fit no tile. */
#include "roformer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

struct size {
    int frames, bands, dim, heads, dim_head, hidden, numbers;
};

static int round_up(int count, int multiple) { return (count + multiple - 1) / multiple * multiple; }

static int larger(int a, int b) { return a > b ? a : b; }

static struct roformer_shape shape_of(const struct size *size) {
    const int widest = larger(larger(size->hidden, size->dim), 2 * round_up(size->numbers, ROFORMER_PANEL));
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
            weight[((size_t)(output / ROFORMER_PANEL) * inputs + input) * ROFORMER_PANEL + output % ROFORMER_PANEL] = 0;
        if (bias) vector[output] = 0;
    }
    return (struct roformer_linear){weight, vector, inputs, outputs};
}

static void free_linear(const struct roformer_linear *linear) {
    free((float *)linear->weight);
    free((float *)linear->bias);
}

static struct roformer_layer layer_of(const struct size *size, int along_bands) {
    const int half = round_up(size->dim_head / 2, 16), positions = along_bands ? size->bands : size->frames;
    const int head = 4 * half + round_up(size->dim_head, ROFORMER_PANEL), inner = size->heads * size->dim_head;
    return (struct roformer_layer){.query_key_value = linear_of(size->dim, size->heads * head, 0),
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

struct model {
    struct size size;
    struct roformer_linear split, mask[2];
    struct roformer_layer time, bands;
    float *inputs; /* [frames][numbers + 3]: those of the band begin at the third */
};

static struct model model_of(const struct size *size) {
    srand(2);
    return (struct model){
        .size = *size,
        .split = linear_of(size->numbers, size->dim, 1),
        .mask = {linear_of(size->dim, size->hidden, 1),
                 linear_of(size->hidden, 2 * round_up(size->numbers, ROFORMER_PANEL), 1)},
        .time = layer_of(size, 0),
        .bands = layer_of(size, 1),
        .inputs = numbers((size_t)size->frames * (size->numbers + 3)),
    };
}

static void free_model(const struct model *model) {
    free_linear(&model->split);
    free_linear(&model->mask[0]);
    free_linear(&model->mask[1]);
    free_layer(&model->time);
    free_layer(&model->bands);
    free(model->inputs);
}

static size_t features_of(const struct model *model) {
    return (size_t)model->size.frames * model->size.bands * model->size.dim;
}

static size_t outputs_of(const struct model *model) {
    return (size_t)model->size.frames * (model->size.numbers + 3) - 3;
}

/* Writes the mask of the last band to `outputs`, which ends with its last number. */
static void run(roformer *net, const struct model *model, float *features, float *outputs) {
    const int stride = model->size.numbers + 3;
    memset(features, 0, features_of(model) * sizeof *features);
    memset(outputs, 0, outputs_of(model) * sizeof *outputs);
    for (int band = 0; band < model->size.bands; band++)
        expect(roformer_split(net, &model->split, band, model->inputs + 3, stride, features), TDFNET_OK, "split");
    expect(roformer_transform(net, &model->time, features), TDFNET_OK, "transform along time");
    expect(roformer_transform(net, &model->bands, features), TDFNET_OK, "transform along bands");
    expect(roformer_mask(net, model->mask, 2, 1, model->size.bands - 1, features, outputs, stride, model->size.numbers),
           TDFNET_OK, "mask");
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
    static const struct size sizes[] = {
        {1, 1, 1, 1, 2, 1, 1}, {33, 7, 20, 3, 10, 50, 31}, {97, 2, 33, 2, 64, 96, 65}, {5, 49, 16, 1, 6, 31, 2}};
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
    static const struct size size = {21, 5, 12, 2, 6, 20, 10};
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
