/* What the jobs of a layer cost, and the steps of a convolution in them. Always measured: a job takes a millisecond or
 * more, and looking at the clock some dozen nanoseconds. */
#ifndef STOPWATCH_H
#define STOPWATCH_H

#include <time.h>

enum step { WHOLE_JOB, INPUT_TRANSFORM, PRODUCTS, OUTPUT_TRANSFORM, STEPS };

/* Lies in front of each thread's workspace. */
struct stopwatch {
    double started;
    double seconds[STEPS];
};

static inline double monotonic_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Adds the time since the last call, or since `started` was set, to that of a step. */
static inline void end_step(struct stopwatch *watch, enum step step) {
    const double now = monotonic_s();
    watch->seconds[step] += now - watch->started;
    watch->started = now;
}

#endif
