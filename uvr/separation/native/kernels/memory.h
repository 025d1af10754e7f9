/* Float arrays aligned to a cache line. Free them with free(). */
#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>

/* `count` zeros; NULL if there is not enough memory. */
float *new_floats(size_t count);

/* Uninitialised memory; NULL if there is not enough. The system provides each page at its first use. */
float *scratch_floats(size_t count);

/* A copy of `count` floats, padded with zeros up to `capacity`; only zeros if `from` is NULL. NULL if there is not
 * enough memory. */
float *copy_floats(const float *from, size_t count, size_t capacity);

#endif
