/* Lets one call of an allocator or of pthreads fail. The linker sends the calls here (link.flags). */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "check.h"

static int calls_left = -1; /* until one fails; negative: none fails */

/* Called by one thread at a time: networks are made by their caller alone. */
static int fails(void) { return calls_left >= 0 && calls_left-- == 0; }

void with_every_failure(int (*attempt)(void), const char *what) {
    for (int number = 0; number < 10000; number++) {
        calls_left = number;
        const int status = attempt(), happened = calls_left < 0;
        calls_left = -1;
        if (!happened) {
            expect(status, TDFNET_OK, what);
            require(number > 5, "the kernels allocate memory that this program does not know of");
            return;
        }
        require(status == TDFNET_NO_MEMORY || status == TDFNET_NO_THREADS, what);
    }
    require(0, "more than 10000 allocations");
}

#define WRAPPED(type, name, failure, parameters, arguments) \
    type __real_##name parameters;                          \
    type __wrap_##name parameters;                          \
    type __wrap_##name parameters { return fails() ? (failure) : __real_##name arguments; }

WRAPPED(void *, malloc, NULL, (size_t size), (size))
WRAPPED(void *, calloc, NULL, (size_t count, size_t size), (count, size))
WRAPPED(void *, realloc, NULL, (void *old, size_t size), (old, size))
WRAPPED(int, posix_memalign, ENOMEM, (void **result, size_t alignment, size_t size), (result, alignment, size))
WRAPPED(int, pthread_mutex_init, ENOMEM, (pthread_mutex_t * mutex, const pthread_mutexattr_t *kind), (mutex, kind))
WRAPPED(int, pthread_cond_init, ENOMEM, (pthread_cond_t * condition, const pthread_condattr_t *kind), (condition, kind))
WRAPPED(int, pthread_create, EAGAIN,
        (pthread_t * thread, const pthread_attr_t *kind, void *(*work)(void *), void *argument),
        (thread, kind, work, argument))
