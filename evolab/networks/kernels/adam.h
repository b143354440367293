/* Adam and Polyak averaging of rows of parameters, entry by entry. */

#include <math.h>

/* One step of Adam; `count` is the steps with this one. */
static void step_row(int64_t size, REAL *p, const REAL *g, REAL *m, REAL *v, REAL rate, REAL count) {
    const REAL first = (REAL)0.9, second = (REAL)0.999, tiny = (REAL)1e-8;
    REAL step = (REAL)(rate / (1 - pow(0.9, count))), root = (REAL)sqrt(1 - pow(0.999, count));
    FREELY for (int64_t i = 0; i < size; i++) {
        m[i] += (g[i] - m[i]) * (1 - first);
        v[i] = v[i] * second + g[i] * g[i] * (1 - second);
        p[i] -= step * m[i] / (ROOT(v[i]) / root + tiny);
    }
}

/* One step of Adam for rows of `sizes` entries; `rate` and `count`, the steps with this one, are per agent. */
void adam(int64_t rows, int64_t members, const int64_t *sizes, REAL *parameters, int64_t apart, const REAL *gradient,
          int64_t gradient_apart, REAL *mean, REAL *square, const REAL *rate, const REAL *count) {
    for (int64_t row = 0; row < rows; row++)
        step_row(sizes[row / members], parameters + row * apart, gradient + row * gradient_apart, mean + row * apart,
                 square + row * apart, rate[row / members], count[row / members]);
}

INLINE void follow_row(int64_t size, REAL *to, const REAL *from, REAL share) {
    FREELY for (int64_t i = 0; i < size; i++) to[i] += share * (from[i] - to[i]);
}

/* target += tau * (source - target) for rows of `sizes` entries; sizes and tau are per agent. */
void polyak_update(int64_t rows, int64_t members, const int64_t *sizes, REAL *target, const REAL *source, int64_t apart,
            const REAL *tau) {
    for (int64_t row = 0; row < rows; row++)
        follow_row(sizes[row / members], target + row * apart, source + row * apart, tau[row / members]);
}
