/* How rows of perceptrons are laid out, and how much of them is kept for a backward pass. */

/* The rows. `shape` holds per row its depth and the offsets of the output's weight and bias, then per
 * layer its width, its activation and the offsets of its weight, its bias, and the scale and shift of
 * its normalisation, -1 where there is none. */
typedef struct {
    int64_t layers, features, extra, outputs;
    const int64_t *shape;
} Plan;

enum { UNITS, KIND, WEIGHT, BIAS, SCALE, SHIFT, OF_LAYER };
enum { DEPTH, OUT_WEIGHT, OUT_BIAS, LAYERS };

INLINE const int64_t *shape_of(const Plan *plan, int64_t row) {
    return plan->shape + row * (LAYERS + OF_LAYER * plan->layers);
}

#define UNITS_OF(shape, l) ((shape)[LAYERS + OF_LAYER * (l) + UNITS])
#define NORMALISED(plan) ((plan)->shape[LAYERS + SCALE] >= 0)

/* Entries that layer l keeps for its backward pass: h, before it z where the derivative needs it, and
 * before that, where it is normalised, the normalised values and the inverse of each line's deviation. */
INLINE int64_t kept_by_layer(const Plan *plan, const int64_t *shape, int64_t l, int64_t batch) {
    const int64_t *where = shape + LAYERS + OF_LAYER * l, lines = batch * padded(where[UNITS]);
    return lines * (1 + READS_INPUT(where[KIND])) + (NORMALISED(plan) ? lines + padded(batch) : 0);
}

/* The same for a row: its inputs and its layers. */
static int64_t kept_by(const Plan *plan, int64_t row, int64_t batch) {
    const int64_t *shape = shape_of(plan, row);
    int64_t entries = padded(plan->features + plan->extra) * batch;
    for (int64_t l = 0; l < shape[DEPTH]; l++) entries += kept_by_layer(plan, shape, l, batch);
    return entries;
}

int64_t kept(const Plan *plan, int64_t rows, int64_t batch) {
    int64_t entries = WIDTH;
    for (int64_t row = 0; row < rows; row++) entries += kept_by(plan, row, batch);
    return entries;
}

/* The widest line of any matrix of these rows. */
static int64_t widest_of(const Plan *plan, int64_t rows) {
    int64_t widest = padded(plan->features + plan->extra);
    if (padded(plan->outputs) > widest) widest = padded(plan->outputs);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t l = 0, to; l < shape_of(plan, row)[DEPTH]; l++)
            if ((to = padded(UNITS_OF(shape_of(plan, row), l))) > widest) widest = to;
    return widest;
}

/* Entries of the largest matrix of these rows, its lines padded whichever way it is turned. */
static int64_t largest_of(const Plan *plan, int64_t rows) {
    int64_t largest = 0;
    for (int64_t row = 0; row < rows; row++) {
        const int64_t *shape = shape_of(plan, row);
        int64_t from = padded(plan->features + plan->extra);
        for (int64_t l = 0; l <= shape[DEPTH]; l++) {
            int64_t to = padded(l < shape[DEPTH] ? UNITS_OF(shape, l) : plan->outputs);
            if (from * to > largest) largest = from * to;
            from = to;
        }
    }
    return largest;
}
