/* A fixed number of threads that share out the jobs of one loop at a time. */
#ifndef POOL_H
#define POOL_H

#include <stddef.h>

struct pool;

/* `thread` is 0 for the caller of pool_run and below the pool's number of threads. */
typedef void pool_job(void *context, int job, int thread);

/* A status of tdfnet.h. `threads` counts the caller of pool_run. */
int pool_create(struct pool **pool, int threads);

/* job(context, 0 .. jobs - 1, ...), in any order; returns when all are done. One caller at a time. */
void pool_run(struct pool *pool, pool_job *job, void *context, int jobs);

/* NULL is fine. */
void pool_free(struct pool *pool);

#endif
