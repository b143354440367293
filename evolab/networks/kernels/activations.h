/* Activations and their derivatives; every one maps 0 to 0. */

#include <math.h>

enum { IDENTITY, RELU, LEAKY_RELU, ELU, GELU, TANH, SILU };
#define READS_INPUT(kind) ((kind) == GELU || (kind) == SILU) /* the derivatives of the others need h alone */

INLINE REAL exponential(REAL x) {
    if (sizeof(REAL) == 8) return exp(x);
    /* 2^n * 2^f with f in [-0.5, 0.5] by Taylor's series: within 2e-7 of the value. */
    float y = x < -87.0f ? -87.0f : x;
    y = (y > 88.0f ? 88.0f : y) * 1.44269504f;
    float n = (y + 12582912.0f) - 12582912.0f, f = (y - n) * 0.693147181f;
    float p = 1.0f + f * (1.0f + f * (0.5f + f * (0.166666667f + f * (0.0416666667f + f * (0.00833333333f + f * 0.00138888889f)))));
    int32_t bits = ((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return (REAL)(p * power);
}

/* Phi(z) of the standard normal distribution, and its density times z. */
INLINE void normal(REAL z, REAL *below, REAL *slope) {
    REAL bell = exponential((REAL)-0.5 * z * z);
    *slope = z * bell * (REAL)0.3989422804014327;
    if (sizeof(REAL) == 8) {
        *below = (REAL)0.5 * (REAL)erfc(-z * 0.7071067811865476);
        return;
    }
    /* Abramowitz and Stegun 1964, 7.1.26: erf within 1.5e-7. */
    REAL size = z < 0 ? -z : z;
    REAL t = 1 / (1 + (REAL)(0.3275911 * 0.7071067811865476) * size);
    REAL rest = t * ((REAL)0.254829592 + t * ((REAL)-0.284496736 + t * ((REAL)1.421413741 + t * ((REAL)-1.453152027 + t * (REAL)1.061405429)))) * bell;
    *below = z < 0 ? (REAL)0.5 * rest : 1 - (REAL)0.5 * rest;
}

/* Entries don't depend on one another, whatever the compiler fears of the pointers. */
#ifdef __clang__
#define FREELY _Pragma("clang loop vectorize(assume_safety)")
#else
#define FREELY _Pragma("GCC ivdep")
#endif
#define EACH(entry) FREELY for (int64_t i = 0; i < n; i++) { entry; } break

/* h = f(z) for a whole matrix; h may be z. */
static void activate(int kind, const REAL *z, REAL *h, int64_t n) {
    switch (kind) {
    case RELU: EACH(h[i] = z[i] < 0 ? 0 : z[i]);
    case LEAKY_RELU: EACH(h[i] = z[i] < 0 ? (REAL)0.01 * z[i] : z[i]);
    case ELU: EACH(REAL e = exponential(z[i] < 0 ? z[i] : 0) - 1; h[i] = z[i] < 0 ? e : z[i]);
    case GELU: EACH(REAL below; REAL slope; normal(z[i], &below, &slope); h[i] = z[i] * below);
    case TANH: EACH(h[i] = 1 - 2 / (exponential(2 * z[i]) + 1));
    case SILU: EACH(h[i] = z[i] / (1 + exponential(-z[i])));
    default:
        if (h != z) memcpy(h, z, n * sizeof(REAL));
    }
}

/* g = g * f'(z), where h = f(z). */
static void descend(int kind, REAL *g, const REAL *z, const REAL *h, int64_t n) {
    switch (kind) {
    case RELU: EACH(g[i] = h[i] <= 0 ? 0 : g[i]);
    case LEAKY_RELU: EACH(g[i] *= h[i] > 0 ? (REAL)1 : (REAL)0.01);
    case ELU: EACH(g[i] *= h[i] > 0 ? 1 : h[i] + 1);
    case GELU: EACH(REAL below; REAL slope; normal(z[i], &below, &slope); g[i] *= below + slope);
    case TANH: EACH(g[i] *= 1 - h[i] * h[i]);
    case SILU: EACH(REAL s = 1 / (1 + exponential(-z[i])); g[i] *= s * (1 + z[i] * (1 - s)));
    default: break;
    }
}
