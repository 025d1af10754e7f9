#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void require(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    exit(1);
}

void expect(int status, int expected, const char *what) {
    if (status == expected) return;
    fprintf(stderr, "%s: %s instead of: %s\n", what, tdfnet_message(status), tdfnet_message(expected));
    exit(1);
}

static float *fill(float *array, size_t count) {
    require(array != NULL, "no memory for the check itself");
    for (size_t i = 0; i < count; i++) array[i] = (float)(rand() % 2001 - 1000) / 2000;
    return array;
}

void *__real_malloc(size_t bytes); /* which does not fail on purpose, see failures.c */

void *room_for(size_t bytes) {
    void *memory = __real_malloc(bytes);
    require(memory != NULL, "no memory for the check itself");
    return memory;
}

float *numbers(size_t count) { return fill(room_for(count * sizeof(float)), count); }

float *aligned_numbers(size_t count) {
    void *memory = NULL;
    if (posix_memalign(&memory, 64, count * sizeof(float))) memory = NULL;
    return fill(memory, count);
}

void require_finite(const float *array, size_t count, const char *what) {
    for (size_t i = 0; i < count; i++) require(isfinite(array[i]), what);
}

static int has(int isa) {
    tdfnet *net;
    const int status = tdfnet_create(&net, isa, 0, 1, 1, 1, 1);
    tdfnet_free(net);
    return !status;
}

/* A processor that Linux knows to have AMX has it for the kernels too: nothing may hide that silently. */
static void check_amx_state(void) {
    char word[64];
    FILE *file = fopen("/proc/cpuinfo", "r");
    int known = 0;
    while (file && !known && fscanf(file, "%63s", word) == 1) known = !strcmp(word, "amx_bf16");
    if (file) fclose(file);
    require(!known || tdfnet_amx_state() != TDFNET_AMX_MISSING, "the kernels do not see this processor's AMX");
    require((tdfnet_amx_state() == TDFNET_AMX_USABLE) == (tdfnet_best_isa() == TDFNET_AMX), "AMX is not the best");
}

/* Of the instruction sets that this processor has, all; or the one whose number is the argument, which it must have. */
int main(int count, char **arguments) {
    const int only = count > 1 ? atoi(arguments[1]) : TDFNET_BEST;
    require(!only || has(only), "this processor lacks the instruction set, or may not use it");
    check_amx_state();
    for (int isa = TDFNET_BASELINE; isa <= TDFNET_AMX; isa++) {
        if (!has(isa) || (only && isa != only)) continue;
        check_tiles(isa);
        check_tdfnet(isa);
        check_roformer(isa);
        check_stft(isa);
        require_no_tiles_in_use("a thread keeps tiles after running a network");
    }
    check_tdfnets_side_by_side();
    check_roformers_side_by_side();
    return 0;
}
