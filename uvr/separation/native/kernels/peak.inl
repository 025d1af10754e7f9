/* The loops of peak.h. */
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Makes the compiler forget what it knows about x, without an instruction. */
#if defined(__x86_64__)
#define FORGET(x) __asm__ volatile("" : "+v"(x))
#elif defined(__aarch64__)
#define FORGET(x) __asm__ volatile("" : "+w"(x))
#else
#define FORGET(x) __asm__ volatile("" : "+m"(x))
#endif

INLINE void add_up(const vector *sum, float *sink) {
    vector total = {0};
    for (int i = 0; i < PEAK_SUMS; i++) total += sum[i];
    if (total[0] == 1) sink[0] = total[0]; /* never true for the numbers here; a store would be a race of threads */
}

/* PEAK_ROUNDS times PEAK_SUMS vectors of sum += x y. */
static void peak_multiply_job(void *context, int job, int thread) {
    vector sum[PEAK_SUMS] = {{0}}, x = {0}, y = {0};
    (void)job, (void)thread;
    for (int round = 0; round < PEAK_ROUNDS; round++) {
#pragma GCC unroll 16
        for (int i = 0; i < PEAK_SUMS; i++) {
            FORGET(x); /* otherwise the product would be computed once */
            sum[i] += x * y;
        }
    }
    add_up(sum, ((struct peak_work *)context)->sink);
}

static void peak_read_job(void *context, int job, int thread) {
    const struct peak_work *work = context;
    const float *a = work->a + (ptrdiff_t)job * PEAK_JOB_FLOATS;
    vector sum[PEAK_SUMS] = {{0}};
    (void)thread;
    for (int i = 0; i + 8 * VECTOR_FLOATS <= PEAK_JOB_FLOATS; i += 8 * VECTOR_FLOATS)
        for (int j = 0; j < 8; j++) sum[j] += load(a + i + j * VECTOR_FLOATS);
    add_up(sum, ((struct peak_work *)context)->sink);
}

/* Writes to memory without reading the line first, where the instruction set can. */
INLINE void stream(float *to, vector x) {
#if VECTOR_FLOATS == 16
    _mm512_stream_ps(to, (__m512)x);
#elif VECTOR_FLOATS == 8
    _mm256_stream_ps(to, (__m256)x);
#elif defined(__x86_64__)
    _mm_stream_ps(to, (__m128)x);
#else
    store(to, x);
#endif
}

INLINE void write_through(const struct peak_work *work, int job, int triad) {
    const ptrdiff_t start = (ptrdiff_t)job * PEAK_JOB_FLOATS;
    for (ptrdiff_t i = start; i < start + PEAK_JOB_FLOATS; i += VECTOR_FLOATS) {
        vector x = load(work->b + i);
        if (triad) x += 3 * load(work->c + i);
        stream(work->a + i, x);
    }
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

static void peak_copy_job(void *context, int job, int thread) {
    (void)thread;
    write_through(context, job, 0);
}

static void peak_triad_job(void *context, int job, int thread) {
    (void)thread;
    write_through(context, job, 1);
}
