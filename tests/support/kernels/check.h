/* A program that uses the public interface of the kernels in every way that is allowed, to be compiled with sanitizers:
 * what they find ends it. It ends with 0 when all is well, and with 1 on a wrong status or result.
 *
 * Every array has exactly the size that the headers ask for, so that an access behind its end is found. */
#ifndef CHECK_H
#define CHECK_H

#include <stddef.h>

#include "tdfnet.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* Ends the program unless the status is the expected one. */
void expect(int status, int expected, const char *what);

/* Ends the program unless `holds`. */
void require(int holds, const char *what);

/* Memory that never fails on purpose; the caller frees it. */
void *room_for(size_t bytes);

/* Random numbers between -0.5 and 0.5; the caller frees them. */
float *numbers(size_t count);

/* The same, aligned to 64 bytes. */
float *aligned_numbers(size_t count);

/* Ends the program unless all numbers are finite. */
void require_finite(const float *array, size_t count, const char *what);

/* Calls attempt() again and again. In the n-th call, the n-th allocation, or start of a thread, fails, until a call has
 * fewer of them. attempt() returns a status, and frees all that it made. */
void with_every_failure(int (*attempt)(void), const char *what);

/* Ends the program if this thread has tiles of AMX in use, which costs 8 kB at each switch of threads. */
void require_no_tiles_in_use(const char *what);

/* Products of tiles, layers of a ConvTDFNet, of a RoFormer, and the transforms of both. */
void check_tiles(int isa);
void check_tdfnet(int isa);
void check_roformer(int isa);
void check_stft(int isa);

/* One network called by two threads, while others are made and freed. */
void check_tdfnets_side_by_side(void);
void check_roformers_side_by_side(void);

#endif
