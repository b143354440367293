/* Gaussian actions that were clipped to [-1, 1], around means there: see `algorithms/clipped_gaussian.py`. */

enum { MOST_ACTIONS = 64 };
#define LOG(x) (sizeof(REAL) == 4 ? (REAL)logf((float)(x)) : (REAL)log(x))
#define HALF_LOG_TWO_PI ((REAL)0.9189385332046727)
#define EDGE ((REAL)(1 - 1e-6)) /* beyond it an action counts as clipped */

/* log of the normal distribution's share below x, and how it changes with x; in double precision, as few actions need it. */
static double log_normal(double x, double *slope) {
    double found = x > -1 ? log1p(-0.5 * erfc(x * 0.70710678118654752)) : log(0.5 * erfc(-x * 0.70710678118654752));
    if (x < -30) { /* before erfc underflows; by its asymptotic series */
        double far = 1 / (x * x);
        found = -0.5 * x * x - log(-x) - 0.91893853320467274 + log1p(-far * (1 - far * (3 - far * (15 - far * 105))));
    }
    *slope = exp(-0.5 * x * x - 0.91893853320467274 - found);
    return found;
}

/* Deviations of an agent's actions, the same whatever it observes. */
typedef struct {
    int64_t actions;
    REAL log_deviation[MOST_ACTIONS], deviation[MOST_ACTIONS];
} Gaussian;

/* From their logarithms [actions], of which those below `least` count as much. */
static void look_at_deviations(Gaussian *own, const REAL *logs, int64_t actions, REAL least) {
    own->actions = actions;
    for (int64_t a = 0; a < actions; a++) {
        own->log_deviation[a] = logs[a] < least ? least : logs[a];
        own->deviation[a] = exponential(own->log_deviation[a]);
    }
}

/* Log-probability of one action given its means, which `squash` made; unless it is NULL, `slope` becomes how that changes
 * with what was squashed, and `by_deviation` with the logarithms of the deviations. */
INLINE REAL gaussian_likelihood(const Gaussian *own, const REAL *means, const REAL *action, REAL *slope, REAL *by_deviation) {
    REAL found = 0;
    for (int64_t a = 0; a < own->actions; a++) {
        REAL mean = means[a], wide = own->deviation[a], log_wide = own->log_deviation[a], size = action[a] < 0 ? -action[a] : action[a];
        REAL by_mean, by_wide;
        if (size >= EDGE) {
            REAL sign = action[a] < 0 ? -1 : 1;
            double x = ((double)sign * (double)mean - 1) / (double)wide, steep;
            found += (REAL)log_normal(x, &steep);
            by_mean = (REAL)(steep * (double)sign / (double)wide), by_wide = (REAL)(-steep * x);
        } else {
            REAL z = (action[a] - mean) / wide;
            found += (REAL)-0.5 * z * z - log_wide - HALF_LOG_TWO_PI;
            by_mean = z / wide, by_wide = z * z - 1;
        }
        if (slope) slope[a] = by_mean * (1 - mean * mean), by_deviation[a] = by_wide;
    }
    return found;
}
