/* A fixed number of threads that run the jobs of one loop at a time. */
#ifndef POOL_H
#define POOL_H

#include <stddef.h>

struct pool;

/* `thread` is the thread's number: 0 for the caller of pool_run, up to the pool's number of threads minus 1. */
typedef void pool_job(void *context, int job, int thread);

/* Returns a status of tdfnet.h. `threads` includes the caller of pool_run. */
int pool_create(struct pool **pool, int threads);

/* Calls job(context, number, thread) for the numbers 0 to jobs - 1, in any order, and returns when all calls have
 * returned. Only one thread may call it at a time. */
void pool_run(struct pool *pool, pool_job *job, void *context, int jobs);

/* Ends the threads. `pool` may be NULL. */
void pool_free(struct pool *pool);

#endif
