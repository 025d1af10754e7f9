/* The caller of pool_run takes jobs from the same counter as the helper threads. It does not wait for helpers that wake
 * up after the last job was taken, so on a busy machine it waits only for the jobs that helpers have begun. */
#include "pool.h"

#include <pthread.h>
#include <stdlib.h>

#include "tdfnet.h"

struct helper {
    struct pool *pool;
    pthread_t thread;
    int index;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t go, done;
    /* Under the lock: */
    unsigned loop; /* counts calls of pool_run */
    int open;      /* jobs of this loop may be taken */
    int working;   /* helpers inside of the loop */
    int closing;
    pool_job *job;
    void *context;
    int jobs;
    int next; /* atomic */
    int helpers;
    struct helper helper[];
};

static void work(struct pool *pool, int thread) {
    int job;
    while ((job = __atomic_fetch_add(&pool->next, 1, __ATOMIC_RELAXED)) < pool->jobs)
        pool->job(pool->context, job, thread);
}

static void *help(void *argument) {
    struct helper *self = argument;
    struct pool *pool = self->pool;
    unsigned seen = 0;
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing) {
        if (pool->loop == seen || !pool->open) {
            pthread_cond_wait(&pool->go, &pool->lock);
            continue;
        }
        seen = pool->loop;
        pool->working++;
        pthread_mutex_unlock(&pool->lock);
        work(pool, self->index);
        pthread_mutex_lock(&pool->lock);
        if (--pool->working == 0) pthread_cond_signal(&pool->done);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

void pool_run(struct pool *pool, pool_job *job, void *context, int jobs) {
    pthread_mutex_lock(&pool->lock);
    pool->job = job;
    pool->context = context;
    pool->jobs = jobs;
    pool->next = 0;
    pool->loop++;
    pool->open = 1;
    if (jobs > 1) pthread_cond_broadcast(&pool->go);
    pthread_mutex_unlock(&pool->lock);
    work(pool, 0);
    pthread_mutex_lock(&pool->lock);
    pool->open = 0;
    while (pool->working) pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

static int make_locks(struct pool *pool) {
    if (pthread_mutex_init(&pool->lock, NULL)) return 0;
    if (pthread_cond_init(&pool->go, NULL)) goto no_go;
    if (pthread_cond_init(&pool->done, NULL)) goto no_done;
    return 1;
no_done:
    pthread_cond_destroy(&pool->go);
no_go:
    pthread_mutex_destroy(&pool->lock);
    return 0;
}

int pool_create(struct pool **result, int threads) {
    struct pool *pool = calloc(1, sizeof *pool + (size_t)(threads - 1) * sizeof *pool->helper);
    if (!pool) return TDFNET_NO_MEMORY;
    if (!make_locks(pool)) {
        free(pool);
        return TDFNET_NO_THREADS;
    }
    for (int i = 0; i < threads - 1; i++) {
        struct helper *helper = &pool->helper[i];
        *helper = (struct helper){.pool = pool, .index = i + 1};
        if (pthread_create(&helper->thread, NULL, help, helper)) {
            pool_free(pool);
            return TDFNET_NO_THREADS;
        }
        pool->helpers++;
    }
    *result = pool;
    return TDFNET_OK;
}

void pool_free(struct pool *pool) {
    if (!pool) return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = 1;
    pthread_cond_broadcast(&pool->go);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->helpers; i++) pthread_join(pool->helper[i].thread, NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->go);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
