/* ConvTDFNets of all layers over shapes that fit no tile. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* Weights are read while the call lasts and no longer: they are freed right after it. They may begin anywhere. */
struct weights {
    float *memory, *weight, *vector;
};

static struct weights weights_of(size_t weight, size_t vector) {
    float *memory = numbers(1 + weight + vector);
    return (struct weights){memory, memory + 1, memory + 1 + weight};
}

static int add_convolution(tdfnet *net, int inputs, int outputs) {
    const struct weights made = weights_of((size_t)inputs * outputs * 9, outputs);
    const int status = tdfnet_add_convolution(net, outputs, made.weight, made.vector);
    free(made.memory);
    return status;
}

static int add_pointwise(tdfnet *net, int inputs, int outputs) {
    const struct weights made = weights_of((size_t)inputs * outputs, outputs);
    const int status = tdfnet_add_pointwise(net, outputs, 1, made.weight, made.vector);
    free(made.memory);
    return status;
}

static int add_down(tdfnet *net, int inputs, int outputs) {
    const struct weights made = weights_of((size_t)inputs * outputs * 4, outputs);
    const int status = tdfnet_add_down(net, outputs, made.weight, made.vector);
    free(made.memory);
    return status;
}

static int add_up(tdfnet *net, int inputs, int outputs) {
    const struct weights made = weights_of((size_t)inputs * outputs * 4, outputs);
    const int status = tdfnet_add_up(net, outputs, made.weight, made.vector);
    free(made.memory);
    return status;
}

static int add_tdf(tdfnet *net, int channels, int bins, int hidden) {
    const struct weights made = weights_of((size_t)bins * hidden, channels);
    float *bias = numbers(hidden);
    const int status = tdfnet_add_tdf(net, hidden, made.weight, bias, made.vector, made.vector, made.weight, NULL,
                                      made.vector, made.vector);
    free(made.memory);
    free(bias);
    return status;
}

struct shape {
    int channels, bins, frames, hidden;
};

/* All layers, or as many as there is memory for. */
static int add_layers(tdfnet *net, const struct shape *shape) {
    const int channels = shape->channels, deep = 2 * channels;
    int status = add_pointwise(net, 3, channels);
    if (!status) status = add_convolution(net, channels, channels);
    if (!status) status = add_tdf(net, channels, shape->bins, shape->hidden);
    if (!status) status = add_down(net, channels, deep);
    if (!status) status = add_convolution(net, deep, deep);
    if (!status) status = add_convolution(net, deep, deep);
    if (!status) status = add_tdf(net, deep, shape->bins / 2, 1);
    if (!status) status = add_up(net, deep, channels);
    for (int i = 0; i < 3 && !status; i++) status = add_convolution(net, channels, channels);
    if (!status) status = add_tdf(net, channels, shape->bins, 66);
    if (!status) status = add_pointwise(net, channels, 3);
    return status;
}

static tdfnet *network(int isa, int terms, int threads, const struct shape *shape) {
    tdfnet *net;
    expect(tdfnet_create(&net, isa, terms, threads, 3, shape->bins, shape->frames), TDFNET_OK, "create");
    srand(1);
    expect(add_layers(net, shape), TDFNET_OK, "layers");
    expect(tdfnet_finish(net), TDFNET_OK, "finish");
    expect(tdfnet_finish(net), TDFNET_BAD_ARGUMENT, "finish twice");
    return net;
}

/* Arrays of the caller begin anywhere. */
static void check_threads(int isa, int terms, const struct shape *shape) {
    static const int threads[] = {1, 3, 7};
    const size_t size = (size_t)3 * shape->bins * shape->frames;
    float *input = numbers(size + 1), *output = numbers(size + 1), *first = numbers(size);
    for (int i = 0; i < COUNT(threads); i++) {
        tdfnet *net = network(isa, terms, threads[i], shape);
        for (int run = 0; run < (i ? 1 : 2); run++) {
            expect(tdfnet_run(net, input + 1, output + 1), TDFNET_OK, "run");
            if (!i && !run) memcpy(first, output + 1, size * sizeof *first);
            require(!memcmp(first, output + 1, size * sizeof *first), "a ConvTDFNet's result changes");
        }
        tdfnet_free(net);
    }
    require_finite(first, size, "a ConvTDFNet's result is not finite");
    free(input);
    free(output);
    free(first);
}

static int make_and_free(void) {
    static const struct shape small = {8, 6, 4, 3};
    tdfnet *net;
    int status = tdfnet_create(&net, TDFNET_BEST, 0, 3, 3, small.bins, small.frames);
    if (!status) status = add_layers(net, &small);
    if (!status) status = tdfnet_finish(net);
    tdfnet_free(net);
    return status;
}

/* The other instruction sets multiply in bfloat16 with the kernels of one of these. */
static int has_own_tiles(int isa) { return isa != TDFNET_AVX2 && isa != TDFNET_AVX512; }

void check_tdfnet(int isa) {
    static const struct shape shapes[] = {
        {4, 2, 2, 1}, {16, 6, 10, 5}, {24, 34, 14, 5}, {48, 46, 14, 9}, {16, 6, 70, 5}};
    for (int i = 0; i < COUNT(shapes); i++)
        for (int terms = 0; terms <= (has_own_tiles(isa) ? 6 : 0); terms += 6) check_threads(isa, terms, &shapes[i]);
    with_every_failure(make_and_free, "a ConvTDFNet without memory");
}

static const struct shape shared = {16, 18, 10, 5};

static void *run_often(void *net) {
    const size_t size = (size_t)3 * shared.bins * shared.frames;
    float *input = calloc(size, sizeof *input), *output = calloc(size, sizeof *output);
    for (int i = 0; i < 6; i++) expect(tdfnet_run(net, input, output), TDFNET_OK, "run beside others");
    free(input);
    free(output);
    return NULL;
}

void check_tdfnets_side_by_side(void) {
    pthread_t threads[2];
    tdfnet *net = network(TDFNET_BEST, 6, 3, &shared);
    for (int i = 0; i < COUNT(threads); i++) require(!pthread_create(&threads[i], NULL, run_often, net), "thread");
    for (int i = 0; i < 6; i++) {
        tdfnet *other = network(TDFNET_BEST, 6, 2, &shared);
        if (i % 2) run_often(other);
        tdfnet_free(other);
    }
    for (int i = 0; i < COUNT(threads); i++) pthread_join(threads[i], NULL);
    tdfnet_free(net);
}
