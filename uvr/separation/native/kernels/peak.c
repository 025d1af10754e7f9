#include "peak.h"

#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "memory.h"
#include "peak_jobs.h"
#include "pool.h"
#include "stopwatch.h"

#define MAX_THREADS 256
#define JOBS_PER_THREAD 16 /* a thread that wakes up late delays the others by one job at most */

static const int arrays[PEAK_KINDS] = {[PEAK_READ] = 1, [PEAK_COPY] = 2, [PEAK_TRIAD] = 3};

/* Sets the memory in the same order as the loops use it, so that each page is near one of the processors at work. */
static void clear_job(void *context, int job, int thread) {
    (void)thread;
    memset((float *)context + (ptrdiff_t)job * PEAK_JOB_FLOATS, 0, PEAK_JOB_FLOATS * sizeof(float));
}

/* The highest rate of all sweeps in `seconds`; each does `amount`. */
static double best_rate(struct pool *pool, pool_job *job, void *work, int jobs, double amount, double seconds) {
    const double begin = monotonic_s();
    double best = 0, start = begin;
    do {
        pool_run(pool, job, work, jobs);
        const double now = monotonic_s(), rate = amount / (now - start);
        if (rate > best) best = rate;
        start = now;
    } while (start - begin < seconds);
    return best;
}

#define SIDE (2 * TILE_SIDE)

struct tiles_work {
    tiled_product *multiply;
    uint16_t *left, *right;
    float *sums; /* of each thread [SIDE][SIDE] */
};

/* The same step again and again: its operands stay in the L1 cache. */
static void tiles_job(void *context, int job, int thread) {
    const struct tiles_work *work = context;
    const struct left left = {.high = work->left, .row = STEP};
    const struct right right = {.high = work->right, .next = TILE_HALVES};
    (void)job;
    work->multiply(2, 2, 1, left, right, PEAK_STEPS, 0, work->sums + (ptrdiff_t)thread * SIDE * SIDE, SIDE);
}

static int tiles_rate(int isa, int threads, double seconds, double *rate) {
    const size_t numbers = SIDE * STEP; /* of each operand */
    struct pool *pool = NULL;
    float *memory = new_floats(numbers + (size_t)threads * SIDE * SIDE);
    const int status = memory ? pool_create(&pool, threads) : TDFNET_NO_MEMORY;
    if (!status) {
        uint16_t *operands = (uint16_t *)memory;
        for (size_t i = 0; i < 2 * numbers; i++) operands[i] = i % 2 ? 0x3f80 : 0xbf01; /* 1 and about -0.5 */
        struct tiles_work work = {tiled_kernels_for(isa)->multiply, operands, operands + numbers, memory + numbers};
        const int jobs = threads * JOBS_PER_THREAD;
        *rate = best_rate(pool, tiles_job, &work, jobs, (double)jobs * PEAK_STEPS * STEP * SIDE * SIDE, seconds);
    }
    pool_free(pool);
    free(memory);
    return status;
}

int peak_rate(int isa, int threads, int kind, size_t bytes, double seconds, double *rate) {
    if (!rate || threads < 1 || threads > MAX_THREADS || kind < 0 || kind >= PEAK_KINDS) return TDFNET_BAD_ARGUMENT;
    isa = resolve_isa(isa);
    if (isa < 0) return isa;
    if (kind == PEAK_TILES) return tiles_rate(isa, threads, seconds, rate);
    const struct kernels *kernels = kernels_for(isa, 0, 0);
    const int jobs = kind == PEAK_MULTIPLY ? threads * JOBS_PER_THREAD
                                           : divide_up((int)(bytes / sizeof(float) >> 10), PEAK_JOB_FLOATS >> 10);
    if (kind != PEAK_MULTIPLY && jobs < 1) return TDFNET_BAD_ARGUMENT;
    const size_t floats = kind == PEAK_MULTIPLY ? 0 : (size_t)jobs * PEAK_JOB_FLOATS;
    struct pool *pool = NULL;
    float *memory = arrays[kind] ? scratch_floats(floats * (size_t)arrays[kind]) : NULL;
    int status = arrays[kind] && !memory ? TDFNET_NO_MEMORY : pool_create(&pool, threads);
    if (!status) {
        struct peak_work work = {.a = memory};
        if (arrays[kind] > 1) work.b = memory + floats;
        if (arrays[kind] > 2) work.c = memory + 2 * floats;
        if (memory) pool_run(pool, clear_job, memory, jobs * arrays[kind]);
        const double amount = kind == PEAK_MULTIPLY ? (double)jobs * PEAK_ROUNDS * PEAK_SUMS * kernels->width
                                                    : (double)floats * sizeof(float) * arrays[kind];
        *rate = best_rate(pool, kernels->peak[kind], &work, jobs, amount, seconds);
    }
    pool_free(pool);
    free(memory);
    return status;
}
