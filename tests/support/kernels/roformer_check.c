/* RoFormers of all layers over shapes that fit no tile. */
#include "roformer.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define LINE 16
#define MAX_MASKS 2

#define STEP 32 /* inputs of a tile */
#define TILE (STEP * LINE)

/* `numbers`: of the first mask. The next one has one more. `terms`: of products. */
struct size {
    int frames, bands, dim, heads, dim_head, hidden, numbers, terms;
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

/* Packed weights in float32, zeros behind the last output. */
static float *weight_of(int inputs, int outputs) {
    const int padded = round_up(outputs, ROFORMER_PANEL);
    float *weight = aligned_numbers((size_t)inputs * padded);
    for (int output = outputs; output < padded; output++)
        for (int input = 0; input < inputs; input++)
            weight[((size_t)(output / LINE) * inputs + input) * LINE + output % LINE] = 0;
    return weight;
}

/* Tiles of bfloat16 numbers, zeros behind the last input and output. */
static uint16_t *tiles_of(int inputs, int outputs, int terms) {
    const int padded = round_up(outputs, ROFORMER_PANEL), steps = round_up(inputs, STEP) / STEP,
              parts = (terms + 1) / 2;
    const size_t count = (size_t)padded * steps * STEP * parts;
    uint16_t *tiles = (uint16_t *)aligned_numbers((count + 1) / 2); /* zeros and random numbers are written over it */
    float *from = numbers(count);
    for (size_t i = 0; i < count; i++) {
        const size_t tile = i / TILE, place = i % TILE;
        const int output = (int)(tile / parts / steps) * LINE + (int)(place / 2 % LINE);
        const int input = (int)(tile / parts % steps) * STEP + (int)(place / STEP) * 2 + (int)(place % 2);
        uint32_t bits;
        memcpy(&bits, &from[i], sizeof bits);
        tiles[i] = output < outputs && input < inputs ? (uint16_t)(bits >> 16) : 0;
    }
    free(from);
    return tiles;
}

static struct roformer_linear linear_of(int inputs, int outputs, int bias, int terms) {
    const void *weight = terms ? (void *)tiles_of(inputs, outputs, terms) : (void *)weight_of(inputs, outputs);
    const int padded = round_up(outputs, ROFORMER_PANEL);
    float *vector = bias ? aligned_numbers(padded) : NULL;
    for (int output = outputs; output < padded && bias; output++) vector[output] = 0;
    return (struct roformer_linear){weight, vector, inputs, outputs};
}

static void free_linear(const struct roformer_linear *linear) {
    free((void *)linear->weight);
    free((float *)linear->bias);
}

static struct roformer_layer layer_of(const struct size *size, int along_bands) {
    const int half = round_up(size->dim_head / 2, LINE), positions = along_bands ? size->bands : size->frames;
    const int values = round_up(size->dim_head, ROFORMER_PANEL), inner = size->heads * values;
    return (struct roformer_layer){.query_key_value =
                                       linear_of(size->dim, size->heads * (4 * half + values), 0, size->terms),
                                   .gates = linear_of(size->dim, size->heads, 1, size->terms),
                                   .output = linear_of(inner, size->dim, 0, size->terms),
                                   .inner = linear_of(size->dim, size->hidden, 1, size->terms),
                                   .outer = linear_of(size->hidden, size->dim, 1, size->terms),
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
    linear[0] = linear_of(size->dim, size->hidden, 1, size->terms);
    linear[1] = linear_of(size->hidden, gated_of(numbers), 1, size->terms);
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
                          .split = linear_of(size->numbers, size->dim, 1, size->terms),
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
    static const int threads[] = {1, 3, 7};
    const struct model model = model_of(size);
    const struct roformer_shape shape = shape_of(size);
    float *features = aligned_numbers(features_of(&model)), *outputs = numbers(outputs_of(&model));
    float *first = numbers(outputs_of(&model));
    for (int i = 0; i < COUNT(threads); i++) {
        roformer *net;
        expect(roformer_create(&net, isa, size->terms, threads[i], &shape), TDFNET_OK, "create a RoFormer");
        for (int repeated = 0; repeated < (i ? 1 : 2); repeated++) {
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

/* Whether no other instruction set has the same kernels, in float32 and in bfloat16. */
static int has_floats(int isa) { return isa != TDFNET_AVX512_BF16 && isa != TDFNET_AMX; }
static int has_tiles(int isa) { return isa != TDFNET_AVX2 && isa != TDFNET_AVX512; }

static int make_and_free(void) {
    static const struct size small = {5, 3, 8, 2, 4, 12, 6, 1};
    const struct roformer_shape shape = shape_of(&small);
    roformer *net;
    const int status = roformer_create(&net, TDFNET_BEST, small.terms, 3, &shape);
    roformer_free(net);
    return status;
}

void check_roformer(int isa) {
    static const struct size sizes[] = {
        {1, 1, 1, 1, 2, 1, 1, 0},     {33, 7, 20, 3, 10, 50, 31, 0},  {97, 2, 33, 2, 64, 96, 65, 0},
        {5, 49, 16, 1, 6, 31, 2, 0},  {131, 11, 12, 2, 6, 300, 5, 0}, {7, 3, 5, 33, 2, 9, 32, 0},
        {1, 1, 1, 1, 2, 1, 1, 1},     {33, 7, 20, 3, 10, 50, 31, 3},  {97, 2, 33, 2, 64, 96, 65, 1},
        {98, 2, 12, 2, 6, 600, 5, 3}, {7, 3, 5, 33, 2, 9, 32, 1},     {31, 2, 40, 1, 100, 33, 9, 3},
        {480, 3, 12, 1, 6, 20, 5, 3}};
    for (int i = 0; i < COUNT(sizes); i++)
        if (sizes[i].terms ? has_tiles(isa) : has_floats(isa)) check_threads(isa, &sizes[i]);
    with_every_failure(make_and_free, "a RoFormer without memory");
}

struct visit {
    roformer *net;
    const struct model *model;
};

static void *run_often(void *argument) {
    const struct visit *visit = argument;
    float *features = aligned_numbers(features_of(visit->model)), *outputs = numbers(outputs_of(visit->model));
    for (int i = 0; i < 4; i++) run(visit->net, visit->model, features, outputs);
    free(features);
    free(outputs);
    return NULL;
}

void check_roformers_side_by_side(void) {
    static const struct size size = {61, 17, 12, 2, 6, 20, 10, 3}; /* several jobs along both axes */
    const struct model model = model_of(&size);
    const struct roformer_shape shape = shape_of(&size);
    pthread_t threads[2];
    struct visit visit = {.model = &model};
    expect(roformer_create(&visit.net, TDFNET_BEST, size.terms, 3, &shape), TDFNET_OK, "create");
    for (int i = 0; i < COUNT(threads); i++) require(!pthread_create(&threads[i], NULL, run_often, &visit), "thread");
    for (int i = 0; i < 4; i++) {
        struct visit other = {.model = &model};
        expect(roformer_create(&other.net, TDFNET_BEST, size.terms, 2, &shape), TDFNET_OK, "create beside others");
        if (i % 2) run_often(&other);
        roformer_free(other.net);
    }
    for (int i = 0; i < COUNT(threads); i++) pthread_join(threads[i], NULL);
    roformer_free(visit.net);
    free_model(&model);
}
