/* Runs networks of all layers over shapes that fit no tile, on every instruction set of this machine, to be compiled with
 * sanitizers: what they find ends the program. Ends with 0 when all is well, with 1 on a wrong status or result. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tdfnet.h"

static float *numbers(size_t count) {
    float *array = malloc(count * sizeof *array);
    for (size_t i = 0; array && i < count; i++) array[i] = (float)(rand() % 2001 - 1000) / 2000;
    if (!array) exit(1);
    return array;
}

static void expect(int status, int expected, const char *what) {
    if (status == expected) return;
    fprintf(stderr, "%s: %s\n", what, tdfnet_message(status));
    exit(1);
}

/* Weights are read while the call lasts and no longer: they are freed right after it. */
static void add_convolution(tdfnet *net, int inputs, int outputs) {
    float *weight = numbers((size_t)inputs * outputs * 9), *bias = numbers(outputs);
    expect(tdfnet_add_convolution(net, outputs, weight, bias), TDFNET_OK, "convolution");
    free(weight), free(bias);
}

static void add_pointwise(tdfnet *net, int inputs, int outputs) {
    float *weight = numbers((size_t)inputs * outputs), *bias = numbers(outputs);
    expect(tdfnet_add_pointwise(net, outputs, 1, weight, bias), TDFNET_OK, "pointwise");
    free(weight), free(bias);
}

static void add_down(tdfnet *net, int inputs, int outputs) {
    float *weight = numbers((size_t)inputs * outputs * 4), *bias = numbers(outputs);
    expect(tdfnet_add_down(net, outputs, weight, bias), TDFNET_OK, "down");
    free(weight), free(bias);
}

static void add_up(tdfnet *net, int inputs, int outputs) {
    float *weight = numbers((size_t)inputs * outputs * 4), *bias = numbers(outputs);
    expect(tdfnet_add_up(net, outputs, weight, bias), TDFNET_OK, "up");
    free(weight), free(bias);
}

static void add_tdf(tdfnet *net, int channels, int bins, int hidden) {
    float *weight = numbers((size_t)bins * hidden), *scale = numbers(channels), *bias = numbers(hidden);
    expect(tdfnet_add_tdf(net, hidden, weight, bias, scale, scale, weight, NULL, scale, scale), TDFNET_OK, "tdf");
    free(weight), free(scale), free(bias);
}

static void check(int isa, int threads, int channels, int bins, int frames) {
    tdfnet *net;
    const size_t size = (size_t)3 * bins * frames;
    float *input = numbers(size), *output = numbers(size);
    expect(tdfnet_create(&net, isa, threads, 3, bins, frames), TDFNET_OK, "create");
    add_pointwise(net, 3, channels);
    add_convolution(net, channels, channels);
    add_tdf(net, channels, bins, 5);
    add_down(net, channels, 2 * channels);
    add_convolution(net, 2 * channels, 2 * channels);
    add_convolution(net, 2 * channels, 2 * channels);
    add_tdf(net, 2 * channels, bins / 2, 1);
    add_up(net, 2 * channels, channels);
    for (int i = 0; i < 3; i++) add_convolution(net, channels, channels);
    add_tdf(net, channels, bins, 66);
    add_pointwise(net, channels, 3);
    expect(tdfnet_finish(net), TDFNET_OK, "finish");
    expect(tdfnet_finish(net), TDFNET_BAD_ARGUMENT, "finish twice");
    for (int run = 0; run < 2; run++) expect(tdfnet_run(net, input, output), TDFNET_OK, "run");
    for (size_t i = 0; i < size; i++)
        if (!isfinite(output[i])) expect(TDFNET_UNSUPPORTED, TDFNET_OK, "result");
    tdfnet_free(net);
    free(input), free(output);
}

int main(void) {
    static const int shapes[][3] = {{4, 2, 2}, {16, 6, 10}, {24, 34, 14}, {48, 78, 30}, {16, 6, 70}};
    for (int isa = TDFNET_BASELINE; isa <= TDFNET_NEON; isa++) {
        tdfnet *net;
        const int status = tdfnet_create(&net, isa, 1, 1, 1, 1);
        tdfnet_free(net);
        if (status) continue;
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            check(isa, 1 + (int)i % 3, shapes[i][0], shapes[i][1], shapes[i][2]);
    }
    return 0;
}
