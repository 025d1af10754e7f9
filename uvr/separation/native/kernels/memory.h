/* Memory for the kernels: float arrays that start on a cache line. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>

/* Zeros; NULL when there is no memory. To be given back with free(). */
float *new_floats(size_t count);

/* Memory that is written before it is read: nothing is in it, and the system need not find it before it is used. */
float *scratch_floats(size_t count);

/* A copy of `count` floats followed by zeros up to `room`; zeros only for NULL. */
float *copy_floats(const float *from, size_t count, size_t room);

#endif
