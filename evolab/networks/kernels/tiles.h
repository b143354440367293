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

/* A tile has ROWS x VECTORS sums. With 32 registers (AVX-512, NEON) 24 of them are sums, 4 a line of B and the rest
 * entries of A: 24 products for 10 loads. With 16 registers (AVX2) 12 are sums, 3 a line of B and 1 an entry of A:
 * 12 products for 7 loads, as many as two loads a product's cycle allow. */
#if defined(__AVX512F__)
#define BYTES 64
#define ROWS 6
#define VECTORS 4
#elif defined(__AVX__)
#define BYTES 32
#define ROWS 4
#define VECTORS 3
#elif defined(__aarch64__)
#define BYTES 16
#define ROWS 6
#define VECTORS 4
#else
#define BYTES 16
#define ROWS 4
#define VECTORS 3
#endif

#define WIDTH ((int64_t)(BYTES / sizeof(REAL)))
#define SIZE_float 4
#define SIZE_double 8
#define SIZE_(real) SIZE_##real
#define SIZE(real) SIZE_(real)
#define LANES (BYTES / SIZE(REAL)) /* WIDTH, as the preprocessor knows it */
#define INLINE static inline __attribute__((always_inline))
typedef REAL vec __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));
typedef REAL four __attribute__((vector_size(4 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

/* a * b + c, rounded once where the processor can: left to themselves compilers differ. */
#if defined(__FMA__) || defined(__aarch64__)
#define FUSED(a, b, c) (sizeof(REAL) == 4 ? (REAL)fmaf((float)(a), (float)(b), (float)(c)) : (REAL)fma(a, b, c))
#else
#define FUSED(a, b, c) ((a) * (b) + (c))
#endif
#define ROOT(x) (sizeof(REAL) == 4 ? (REAL)sqrtf((float)(x)) : (REAL)sqrt(x))

INLINE int64_t padded(int64_t n) { return (n + WIDTH - 1) / WIDTH * WIDTH; }

typedef struct { const REAL *at; int64_t row, column; } Matrix; /* entry (m, k) at row * m + column * k */
typedef __typeof__((vec){0} < (vec){0}) mask;

/* What is done to C while it is in registers: `bias` [n] is where the sums begin, negative results become 0 where
 * `rectified`, and all become 0 where `gate`, laid out as C, is not above 0. NULL and 0 for none of it. */
typedef struct { const REAL *bias, *gate; int rectified; } Around;

INLINE void tile(const int rows, const int vectors, int64_t depth, Matrix a, const REAL *b, int64_t ldb,
                 Around around, REAL *c, int64_t ldc) {
    const REAL *bias = around.bias;
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
        for (int j = 0; j < vectors; j++) {
            vec result = sum[i][j];
            if (around.rectified) result = (vec)((mask)result & ~(result < 0));
            if (around.gate) result = (vec)((mask)result & ~(*(const vec *)(around.gate + i * ldc + j * WIDTH) <= 0));
            *(vec *)(c + i * ldc + j * WIDTH) = result;
        }
}

#define COLUMN_OF_TILES(vectors)                                                                  \
    static void column_##vectors(int64_t m, int64_t depth, Matrix a, const REAL *b, int64_t ldb,  \
                                 Around around, REAL *c, int64_t ldc) {                           \
        for (int64_t i = 0, rows; i < m; i += rows) {                                             \
            rows = m - i >= ROWS ? ROWS : m - i >= 2 ? 2 : 1;                                     \
            if (rows == ROWS) tile(ROWS, vectors, depth, a, b, ldb, around, c, ldc);              \
            else if (rows == 2) tile(2, vectors, depth, a, b, ldb, around, c, ldc);               \
            else tile(1, vectors, depth, a, b, ldb, around, c, ldc);                              \
            a.at += rows * a.row, c += rows * ldc;                                                \
            if (around.gate) around.gate += rows * ldc;                                           \
        }                                                                                         \
    }
COLUMN_OF_TILES(1)
COLUMN_OF_TILES(2)
COLUMN_OF_TILES(3)
COLUMN_OF_TILES(4)

/* Memory of this thread's own, kept for the next time: WORK for what a pass needs on its way, HELD for what has to
 * outlast a pass, PANEL for a product. NULL where there is none. */
enum { WORK, HELD, PANEL, PIECES };
static REAL *scratch(int piece, int64_t entries) {
    static __thread REAL *memory[PIECES];
    static __thread int64_t size[PIECES];
    if (entries > size[piece]) {
        free(memory[piece]);
        size[piece] = entries + entries / 2;
        memory[piece] = aligned_alloc(64, (size[piece] * sizeof(REAL) + 63) / 64 * 64);
        if (!memory[piece]) size[piece] = 0;
    }
    return memory[piece];
}

/* Lines of B this far apart, in bytes, fall on few places of the first cache and push one another out. */
enum { FAR = 1024 };

/* A column of B, its lines next to each other: worth a copy where many lines of C read it. */
static const REAL *panel(int64_t m, int64_t depth, const REAL *b, int64_t *ldb, int64_t width) {
    if (*ldb * (int64_t)sizeof(REAL) < FAR || m < 8 * ROWS) return b;
    REAL *to = scratch(PANEL, depth * width);
    if (!to) return b;
    for (int64_t k = 0; k < depth; k++)
        for (int64_t j = 0; j < width; j += WIDTH) *(vec *)(to + k * width + j) = *(const vec *)(b + k * *ldb + j);
    *ldb = width;
    return to;
}

/* C[m, n] = A B; n is a multiple of WIDTH, and so are ldb and ldc. */
static void product(int64_t m, int64_t n, int64_t depth, Matrix a, const REAL *b, int64_t ldb,
                    Around around, REAL *c, int64_t ldc) {
    int64_t left = n / WIDTH;
    while (left > 0) {
        int take = (int)(left >= 2 * VECTORS || left == VECTORS ? VECTORS : left > VECTORS ? (left + 1) / 2 : left); /* 3 + 2 beats 4 + 1 */
        int64_t ld = ldb;
        const REAL *own = panel(m, depth, b, &ld, take * WIDTH);
        if (take == 4) column_4(m, depth, a, own, ld, around, c, ldc);
        if (take == 3) column_3(m, depth, a, own, ld, around, c, ldc);
        if (take == 2) column_2(m, depth, a, own, ld, around, c, ldc);
        if (take == 1) column_1(m, depth, a, own, ld, around, c, ldc);
        left -= take;
        b += take * WIDTH;
        c += take * WIDTH;
        if (around.bias) around.bias += take * WIDTH;
        if (around.gate) around.gate += take * WIDTH;
    }
}

/* A sum along a line, which is taken in the same order whatever the width of a vector: as of 64 bytes, by halves. With
 * fused products a machine of any width computes the same bits. */
enum { TOGETHER = 64 / BYTES };
typedef struct { vec part[TOGETHER]; } Sum;

typedef REAL quarter __attribute__((vector_size(16)));
INLINE quarter halved(const Sum *s) {
    quarter parts[4];
    memcpy(parts, s, sizeof *s);
    return (parts[0] + parts[1]) + (parts[2] + parts[3]);
}
INLINE REAL total(Sum s) {
    quarter whole = halved(&s);
    REAL sum = 0;
    for (int64_t i = 0; i < 16 / (int64_t)sizeof(REAL); i++) sum += whole[i];
    return sum;
}
/* For each vector of a line of n entries: `at`, where it begins, and `p`, its part of a sum: a constant to the compiler,
 * without which sums lie in memory and not in registers. */
#define ALONG(n)                                                                                       \
    for (int64_t chunk = 0; chunk < (n); chunk += TOGETHER * WIDTH) _Pragma("GCC unroll 4")            \
        for (int64_t p = 0, at = chunk; p < TOGETHER; p++, at += WIDTH) if (at < (n))

/* Products of four pairs of lines of n entries, the bits of one after the other: their halves are summed side by side. */
INLINE four dot_products(int64_t n, const REAL *const a[4], const REAL *const b[4]) {
    Sum sums[4] = {0};
    ALONG(n) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) sums[i].part[p] += *(const vec *)(a[i] + at) * *(const vec *)(b[i] + at);
    }
    quarter whole[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) whole[i] = halved(&sums[i]);
    four found = {0};
#pragma GCC unroll 4
    for (int i = 0; i < 16 / (int)sizeof(REAL); i++) found += (four){whole[0][i], whole[1][i], whole[2][i], whole[3][i]};
    return found;
}

/* As memcpy and memset, for lines so short that a call costs more than they do. */
INLINE void copy(REAL *to, const REAL *from, int64_t n) {
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) *(vec *)(to + i) = *(const vec *)(from + i);
    for (; i + 4 <= n; i += 4) *(four *)(to + i) = *(const four *)(from + i);
    for (; i < n; i++) ((volatile REAL *)to)[i] = from[i]; /* volatile: or the compiler makes a call of it */
}
INLINE void clear(REAL *to, int64_t n) {
    for (int64_t i = 0; i < n; i++) ((volatile REAL *)to)[i] = 0;
}

/* Entries of a line padded with zeros to ld. */
INLINE void fill(REAL *to, const REAL *from, int64_t n, int64_t ld) {
    copy(to, from, n);
    clear(to + n, ld - n);
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#if LANES == 16
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif LANES == 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#elif LANES == 4
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#else
#define LOW 0, 2
#define HIGH 1, 3
#endif
#endif
#endif

#ifdef LOW
/* A square of vectors to its transpose: each round lays lines of the upper half between those of the lower one, which
 * moves one bit of an entry's place. */
INLINE void turn_square(vec here[LANES]) {
    vec next[LANES];
#pragma GCC unroll 4
    for (int round = 1; round < LANES; round *= 2) {
#pragma GCC unroll 8
        for (int j = 0; j < LANES / 2; j++) {
            next[2 * j] = __builtin_shufflevector(here[j], here[j + LANES / 2], LOW);
            next[2 * j + 1] = __builtin_shufflevector(here[j], here[j + LANES / 2], HIGH);
        }
#pragma GCC unroll 16
        for (int j = 0; j < LANES; j++) here[j] = next[j];
    }
}
#endif

/* W [units, inputs] to its transpose, lines padded with zeros. */
static void transpose(const REAL *w, int64_t units, int64_t inputs, REAL *to, int64_t ld) {
    for (int64_t u = 0; u < ld; u += WIDTH)
        for (int64_t i = 0; i < inputs; i += WIDTH) {
            int64_t lines = units - u < WIDTH ? units - u : WIDTH, length = inputs - i < WIDTH ? inputs - i : WIDTH;
            const REAL *from = w + u * inputs + i;
            REAL *place = to + i * ld + u;
#ifdef LOW
            vec here[LANES];
            if (lines == WIDTH && length == WIDTH) {
#pragma GCC unroll 16
                for (int j = 0; j < LANES; j++) here[j] = *(const vec *)(from + j * inputs);
                turn_square(here);
#pragma GCC unroll 16
                for (int j = 0; j < LANES; j++) *(vec *)(place + j * ld) = here[j];
                continue;
            }
            for (int j = 0; j < LANES; j++) { /* what stands behind a line is read where it is the next one, and not stored */
                here[j] = (vec){0};
                if (j < lines && from + j * inputs + WIDTH <= w + units * inputs) here[j] = *(const vec *)(from + j * inputs);
                else if (j < lines) copy((REAL *)&here[j], from + j * inputs, length);
            }
            turn_square(here);
            for (int j = 0; j < length; j++) *(vec *)(place + j * ld) = here[j];
#else
            for (int64_t k = 0; k < length; k++)
                for (int64_t j = 0; j < WIDTH; j++) place[k * ld + j] = j < lines ? from[j * inputs + k] : 0;
#endif
        }
}
