/* Products of small matrices, which hardly pay for a library's call.
 *
 * All of them have the form C[m, n] = sum over k of A[m, k] * B[k, n], with the n of B next to each
 * other and padded to whole vectors: a tile of C stays in registers, a line of B is loaded once per
 * tile, and one entry of A at a time is multiplied with it. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif

#if defined(__AVX512F__)
#define BYTES 64
#define ROWS 6
#elif defined(__AVX__)
#define BYTES 32
#define ROWS 3
#else
#define BYTES 16
#define ROWS 3
#endif

#define WIDTH ((int64_t)(BYTES / sizeof(REAL)))
#define INLINE static inline __attribute__((always_inline))
typedef REAL vec __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));

#define ROOT(x) (sizeof(REAL) == 4 ? (REAL)sqrtf((float)(x)) : (REAL)sqrt(x))

INLINE int64_t padded(int64_t n) { return (n + WIDTH - 1) / WIDTH * WIDTH; }

typedef struct { const REAL *at; int64_t row, column; } Matrix; /* entry (m, k) at row * m + column * k */

INLINE void tile(const int rows, const int vectors, int64_t depth, Matrix a, const REAL *b, int64_t ldb,
                 const REAL *bias, REAL *c, int64_t ldc) {
    vec sum[8][4];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            sum[i][j] = bias ? *(const vec *)(bias + j * WIDTH) : (vec){0};
    for (int64_t k = 0; k < depth; k++) {
        vec line[4];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) line[j] = *(const vec *)(b + k * ldb + j * WIDTH);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            const REAL factor = a.at[i * a.row + k * a.column];
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) sum[i][j] += line[j] * factor;
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) *(vec *)(c + i * ldc + j * WIDTH) = sum[i][j];
}

#define COLUMN_OF_TILES(vectors)                                                                  \
    static void column_##vectors(int64_t m, int64_t depth, Matrix a, const REAL *b, int64_t ldb,  \
                                 const REAL *bias, REAL *c, int64_t ldc) {                        \
        int64_t i = 0;                                                                            \
        for (; i + ROWS <= m; i += ROWS, a.at += ROWS * a.row, c += ROWS * ldc)                   \
            tile(ROWS, vectors, depth, a, b, ldb, bias, c, ldc);                                  \
        for (; i + 2 <= m; i += 2, a.at += 2 * a.row, c += 2 * ldc)                               \
            tile(2, vectors, depth, a, b, ldb, bias, c, ldc);                                     \
        if (i < m) tile(1, vectors, depth, a, b, ldb, bias, c, ldc);                              \
    }
COLUMN_OF_TILES(1)
COLUMN_OF_TILES(2)
COLUMN_OF_TILES(3)
COLUMN_OF_TILES(4)

/* C[m, n] = A B (+ bias); n is a multiple of WIDTH, and so are ldb and ldc. */
static void product(int64_t m, int64_t n, int64_t depth, Matrix a, const REAL *b, int64_t ldb,
                    const REAL *bias, REAL *c, int64_t ldc) {
    int64_t left = n / WIDTH;
    while (left > 0) {
        int take = left == 5 ? 3 : left >= 4 ? 4 : (int)left; /* 3 + 2 beats 4 + 1 */
        if (take == 4) column_4(m, depth, a, b, ldb, bias, c, ldc);
        if (take == 3) column_3(m, depth, a, b, ldb, bias, c, ldc);
        if (take == 2) column_2(m, depth, a, b, ldb, bias, c, ldc);
        if (take == 1) column_1(m, depth, a, b, ldb, bias, c, ldc);
        left -= take;
        b += take * WIDTH;
        c += take * WIDTH;
        if (bias) bias += take * WIDTH;
    }
}

/* The sum of a vector's entries, by halves where it is long. */
INLINE REAL total(vec v) {
    REAL sum = 0;
#if BYTES > 16
    typedef REAL part __attribute__((vector_size(BYTES / 4)));
    part parts[4];
    memcpy(parts, &v, BYTES);
    part whole = (parts[0] + parts[1]) + (parts[2] + parts[3]);
    for (int i = 0; i < WIDTH / 4; i++) sum += whole[i];
#else
    for (int i = 0; i < WIDTH; i++) sum += v[i];
#endif
    return sum;
}

/* Entries of a line padded with zeros to ld. */
INLINE void fill(REAL *to, const REAL *from, int64_t n, int64_t ld) {
    memcpy(to, from, n * sizeof(REAL));
    memset(to + n, 0, (ld - n) * sizeof(REAL));
}
