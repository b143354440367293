/* Layer normalisation and its gradient. */

#include <math.h>

/* Layer normalisation of each line of z [batch, ld], its first `units` entries, in place.
 * Source: Ba et al. 2016, Layer Normalization, eq. 3. */
static void normalise(REAL *z, int64_t batch, int64_t units, int64_t ld, const REAL *scale, const REAL *shift,
                      REAL *normal, REAL *inverse) {
    for (int64_t b = 0; b < batch; b++, z += ld, normal += ld) {
        Sum sum = {0}, square = {0};
        ALONG(ld) sum.part[p] += *(const vec *)(z + at);
        REAL mean = total(sum) / units;
        for (int64_t i = 0; i < ld; i += WIDTH) *(vec *)(normal + i) = *(const vec *)(z + i) - mean;
        for (int64_t i = units; i < ld; i++) normal[i] = 0;
        ALONG(ld) square.part[p] += *(const vec *)(normal + at) * *(const vec *)(normal + at);
        REAL factor = 1 / ROOT(total(square) / units + (REAL)1e-5);
        inverse[b] = factor;
        for (int64_t i = 0; i < ld; i += WIDTH) {
            *(vec *)(normal + i) *= factor;
            *(vec *)(z + i) = *(const vec *)(normal + i) * *(const vec *)(scale + i) + *(const vec *)(shift + i);
        }
    }
}

/* The gradient of what was normalised, written over that of the result, g [batch, ld]. */
static void unnormalise(REAL *g, int64_t batch, int64_t units, int64_t ld, const REAL *scale,
                        const REAL *normal, const REAL *inverse, REAL *to_scale) {
    memset(to_scale, 0, ld * sizeof(REAL));
    for (int64_t b = 0; b < batch; b++, g += ld, normal += ld) {
        Sum sum = {0}, along = {0};
        ALONG(ld) {
            vec own = *(const vec *)(normal + at), down = *(const vec *)(g + at);
            *(vec *)(to_scale + at) += down * own;
            *(vec *)(g + at) = down *= *(const vec *)(scale + at);
            sum.part[p] += down;
            along.part[p] += down * own;
        }
        REAL mean = total(sum) / units, slope = total(along) / units;
        for (int64_t i = 0; i < ld; i += WIDTH)
            *(vec *)(g + i) = (*(const vec *)(g + i) - mean - *(const vec *)(normal + i) * slope) * inverse[b];
        for (int64_t i = units; i < ld; i++) g[i] = 0;
    }
}
