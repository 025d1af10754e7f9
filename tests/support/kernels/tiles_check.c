/* Products of tiles against float64, and the state in which AMX leaves a thread. */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "check.h"
#include "dispatch.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define BETWEEN_ROWS 32 /* numbers of each row, and behind each operand, that belong to no product */
#define TOLERANCE 0x1p-21
#define ALARM_US 200
#define NOT_A_NUMBER 0x7fc0

/* The left operand has `steps` times 32 values of each part in a row, the right one a tile of each part for every step.
 */
struct product {
    int rows, columns, terms, steps, add;
    uint16_t *left, *right;
    float *sums, *before;
};

static int left_row(const struct product *product) { return PARTS * STEP * product->steps + BETWEEN_ROWS; }

static int right_next(const struct product *product) { return PARTS * TILE_HALVES * product->steps + BETWEEN_ROWS; }

static int sums_row(const struct product *product) { return TILE_SIDE * product->columns + BETWEEN_ROWS; }

static size_t left_count(const struct product *product) {
    return (size_t)TILE_SIDE * product->rows * left_row(product);
}

static size_t right_count(const struct product *product) { return (size_t)product->columns * right_next(product); }

static size_t sums_count(const struct product *product) {
    return (size_t)TILE_SIDE * product->rows * sums_row(product);
}

static void *lines_for(size_t bytes) {
    void *lines = NULL;
    require(!posix_memalign(&lines, 64, bytes), "no memory for the check itself");
    return lines;
}

static float widened(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static uint16_t rounded(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static int parts_of(int terms) { return terms == 6 ? 3 : terms == 3 ? 2 : 1; }

/* Random numbers, each the sum of its parts. The parts behind them must not be read. */
static void fill_parts(uint16_t *first, int count, int terms) {
    for (int i = 0; i < count; i++) {
        float rest = (float)(rand() % 20001 - 10000) / 20000;
        for (int part = 0; part < parts_of(terms); part++) {
            first[part * count + i] = rounded(rest);
            rest -= widened(first[part * count + i]);
        }
    }
}

static void fill(struct product *product) {
    for (size_t i = 0; i < left_count(product); i++) product->left[i] = NOT_A_NUMBER;
    for (size_t i = 0; i < right_count(product); i++) product->right[i] = NOT_A_NUMBER;
    for (int step = 0; step < product->steps; step++) {
        for (int row = 0; row < TILE_SIDE * product->rows; row++)
            fill_parts(product->left + row * left_row(product) + PARTS * STEP * step, STEP, product->terms);
        for (int column = 0; column < product->columns; column++)
            fill_parts(product->right + column * right_next(product) + PARTS * TILE_HALVES * step, TILE_HALVES,
                       product->terms);
    }
    for (size_t i = 0; i < sums_count(product); i++) {
        const int inside = (int)(i % sums_row(product)) < TILE_SIDE * product->columns;
        product->sums[i] = inside && product->add ? (float)(rand() % 2001 - 1000) / 500 : NAN;
    }
    memcpy(product->before, product->sums, sums_count(product) * sizeof *product->sums);
}

static struct product product_of(int rows, int columns, int terms, int steps, int add) {
    struct product product = {rows, columns, terms, steps, add, NULL, NULL, NULL, NULL};
    product.left = lines_for(left_count(&product) * sizeof *product.left);
    product.right = lines_for(right_count(&product) * sizeof *product.right);
    product.sums = lines_for(sums_count(&product) * sizeof *product.sums);
    product.before = lines_for(sums_count(&product) * sizeof *product.before);
    fill(&product);
    return product;
}

static void free_product(const struct product *product) {
    free(product->left);
    free(product->right);
    free(product->sums);
    free(product->before);
}

static void multiply(const struct tiled_kernels *kernels, const struct product *product) {
    const struct left left = {product->left, left_row(product), PARTS * STEP, STEP};
    const struct right right = {product->right, PARTS * TILE_HALVES, right_next(product), TILE_HALVES};
    memcpy(product->sums, product->before, sums_count(product) * sizeof *product->sums);
    kernels->multiply(product->rows, product->columns, product->terms, left, right, product->steps, product->add,
                      product->sums, sums_row(product));
}

/* Adds the products of a value of the left operand and one of the right: of all parts but the smallest. */
static void add_terms(int terms, const uint16_t *left, const uint16_t *right, double *sum, double *size) {
    for (int i = 0; i < parts_of(terms); i++)
        for (int j = 0; i + j < parts_of(terms); j++) {
            const double term = (double)widened(left[i * STEP]) * widened(right[j * TILE_HALVES]);
            *sum += term;
            *size += fabs(term);
        }
}

/* Sets *sum to the exact sum of a row and a column, and *size to the sum of the magnitudes. */
static void expect_sum(const struct product *product, int row, int column, double *sum, double *size) {
    const uint16_t *left = product->left + row * left_row(product);
    const uint16_t *right = product->right + column / TILE_SIDE * right_next(product) + column % TILE_SIDE * 2;
    *sum = product->add ? product->before[row * sums_row(product) + column] : 0;
    *size = fabs(*sum);
    for (int step = 0; step < product->steps; step++, left += PARTS * STEP, right += PARTS * TILE_HALVES)
        for (int i = 0; i < STEP; i++)
            add_terms(product->terms, left + i, right + i / 2 * 2 * TILE_SIDE + i % 2, sum, size);
}

static void require_exact(const struct product *product) {
    double sum, size;
    for (int row = 0; row < TILE_SIDE * product->rows; row++)
        for (int column = 0; column < sums_row(product); column++) {
            const float *at = product->sums + row * sums_row(product) + column;
            if (column >= TILE_SIDE * product->columns) {
                require(isnan(*at), "a product of tiles writes beside its sums");
                continue;
            }
            expect_sum(product, row, column, &sum, &size);
            require(fabs(*at - sum) <= TOLERANCE * size, "a product of tiles is not exact"); /* false for NaN */
        }
}

static void check_products(const struct tiled_kernels *kernels) {
    static const int terms[] = {1, 3, 6}, steps[] = {1, 2, 5};
    for (int i = 0; i < 2 * 2 * 2 * COUNT(terms) * COUNT(steps); i++) {
        const int rest = i / 8;
        const struct product product = product_of(1 + (i & 1), 1 + (i >> 1 & 1), terms[rest % COUNT(terms)],
                                                  steps[rest / COUNT(terms)], i >> 2 & 1);
        multiply(kernels, &product);
        require_exact(&product);
        free_product(&product);
    }
}

void require_no_tiles_in_use(const char *what) {
#if defined(__x86_64__)
    unsigned a, b, c, d, low, high;
    if (tdfnet_amx_state() != TDFNET_AMX_USABLE) return;
    require(__get_cpuid_count(0xd, 1, &a, &b, &c, &d) && a >> 2 & 1, "xgetbv cannot say which state is in use");
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
    require(!(low & 0x60000), what); /* the tiles' configuration and data */
#else
    (void)what;
#endif
}

/* Lets the other thread run in the middle of a product. */
static void yield_on_alarm(int signal) {
    (void)signal;
    sched_yield();
}

static void *multiply_often(void *argument) {
    const struct tiled_kernels *kernels = argument;
    const struct product product = product_of(2, 2, 6, 8, 1);
    for (int i = 0; i < 30; i++) {
        multiply(kernels, &product);
        if (i % 10 == 0) require_exact(&product);
    }
    require_exact(&product);
    require_no_tiles_in_use("a thread keeps tiles after a product beside others");
    free_product(&product);
    return NULL;
}

static void check_side_by_side(const struct tiled_kernels *kernels) {
    const struct itimerval often = {{0, ALARM_US}, {0, ALARM_US}}, never = {{0, 0}, {0, 0}};
    struct sigaction before, yields = {.sa_handler = yield_on_alarm, .sa_flags = SA_RESTART};
    pthread_t threads[2];
    require(!sigaction(SIGALRM, &yields, &before) && !setitimer(ITIMER_REAL, &often, NULL), "alarm");
    for (int i = 0; i < COUNT(threads); i++)
        require(!pthread_create(&threads[i], NULL, multiply_often, (void *)(uintptr_t)kernels), "thread");
    for (int i = 0; i < COUNT(threads); i++) pthread_join(threads[i], NULL);
    require(!setitimer(ITIMER_REAL, &never, NULL) && !sigaction(SIGALRM, &before, NULL), "alarm");
}

void check_tiles(int isa) {
    const struct tiled_kernels *kernels = tiled_kernels_for(isa);
    srand(1);
    check_products(kernels);
    check_side_by_side(kernels);
    require_no_tiles_in_use("a thread keeps tiles after its products");
}
