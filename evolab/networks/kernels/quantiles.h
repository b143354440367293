/* How far the quantiles of a distribution are from samples of another: see `QuantileError` in `algorithms/losses.py`. */

INLINE vec pick(mask where, vec a, vec b) { return (vec)(((mask)a & where) | ((mask)b & ~where)); }

/* The loss of one line's quantiles `own` [quantiles] against its first `kept` samples; `slope` gets how it changes with them. */
static REAL quantile_line(int64_t quantiles, const REAL *own, int64_t kept, const REAL *samples, REAL huber, REAL weight,
                          REAL *slope) {
    REAL loss = 0, scale = weight / ((REAL)(quantiles * kept) * huber);
    const vec none = {0}, most = none + huber, least = none - huber;
    for (int64_t first = 0; first < quantiles; first += WIDTH) {
        int64_t lines = quantiles - first < WIDTH ? quantiles - first : WIDTH;
        vec at = none, below = none, sum = none, cost = none;
        for (int64_t i = 0; i < lines; i++)
            at[i] = own[first + i], below[i] = 1 - (REAL)(2 * (first + i) + 1) / (REAL)(2 * quantiles);
        vec tilt = 1 - 2 * below; /* what a sample above counts more than one below */
        for (int64_t j = 0; j < kept; j++) {
            vec error = samples[j] - at, near = pick(error > most, most, error);
            near = pick(near < least, least, near);
            vec counted = below * near + tilt * pick(near < none, none, near);
            sum += counted, cost += counted * (error - (REAL)0.5 * near);
        }
        for (int64_t i = 0; i < lines; i++) slope[first + i] = -scale * sum[i], loss += scale * cost[i];
    }
    return loss;
}

/* What the outputs of one agent's network are compared with, line by line. Without `quantiles` a line has one sample, which
 * the chosen output regresses on; with them each choice has so many outputs, which are compared with the first `kept` of
 * the line's `samples`. */
typedef struct {
    const REAL *target, *weight; /* [count, samples], [count] */
    const int64_t *choice;       /* [count], or NULL for the first */
    REAL huber;
    int64_t quantiles, samples, kept;
    REAL upper; /* what an output below its target weighs, one above 1 less that; 0 where all weigh the same */
    REAL *errors; /* [count], to which the sizes of the errors are added; of distributions those of their means; or NULL */
} Goal;

static REAL mean_of(const REAL *numbers, int64_t count) {
    REAL sum = 0;
    for (int64_t i = 0; i < count; i++) sum += numbers[i];
    return sum / (REAL)count;
}

/* The loss of `out` [count, outputs], and in `slope` how it changes with them. */
static REAL compare_lines(const Goal *goal, int64_t count, int64_t outputs, const REAL *out, REAL *slope) {
    REAL loss = 0, huber = goal->huber;
    memset(slope, 0, count * outputs * sizeof(REAL));
    for (int64_t b = 0; b < count; b++) {
        int64_t chosen = goal->choice ? goal->choice[b] : 0, at = b * outputs + chosen * (goal->quantiles ? goal->quantiles : 1);
        if (goal->quantiles) {
            if (goal->errors) {
                REAL error = mean_of(goal->target + b * goal->samples, goal->kept) - mean_of(out + at, goal->quantiles);
                goal->errors[b] += error < 0 ? -error : error;
            }
            if (goal->weight[b] != 0)
                loss += quantile_line(goal->quantiles, out + at, goal->kept, goal->target + b * goal->samples, huber,
                                      goal->weight[b], slope + at);
            continue;
        }
        REAL error = out[at] - goal->target[b], near = error, weight = goal->weight[b];
        if (goal->upper > 0) weight *= error < 0 ? goal->upper : 1 - goal->upper;
        if (goal->errors) goal->errors[b] += error < 0 ? -error : error;
        if (huber > 0) near = error > huber ? huber : error < -huber ? -huber : error;
        loss = FUSED(weight * near, 2 * error - near, loss);
        slope[at] = 2 * weight * near;
    }
    return loss;
}

typedef struct {
    Goal goal;
    int64_t members, batch, outputs;
    const int64_t *kept;
    const REAL *out;
    REAL *losses, *slope;
} Comparison;

INLINE int chosen_wrongly(const int64_t *choice, int64_t count, int64_t outputs) {
    for (int64_t b = 0; choice && b < count; b++)
        if (choice[b] < 0 || choice[b] >= outputs) return 1;
    return 0;
}

enum { NO_SUCH_OUTPUT = 1 << 16 }; /* beside 1, for a row that lacked memory */

static int compare_row(const void *job, int64_t row) {
    const Comparison *task = job;
    int64_t agent = row / task->members, batch = task->batch, all = batch * task->outputs;
    Goal goal = task->goal;
    goal.target += agent * batch * goal.samples, goal.weight += agent * batch;
    if (goal.choice) goal.choice += agent * batch;
    if (task->kept) goal.kept = task->kept[agent];
    if (chosen_wrongly(goal.choice, batch, task->outputs / goal.quantiles)) return NO_SUCH_OUTPUT;
    task->losses[row] = compare_lines(&goal, batch, task->outputs, task->out + row * all, task->slope + row * all);
    return 0;
}

/* The losses [agents, members] of `out` [agents, members, batch, outputs] and how they change with them, `slope`.
 * `target` is [agents, batch, samples], `weight` and `choice` [agents, batch], `kept` [agents]; the last two may be NULL. */
int quantile_error(int64_t threads, int64_t agents, int64_t members, int64_t batch, int64_t outputs, int64_t quantiles,
                   int64_t samples, const REAL *out, const REAL *target, const REAL *weight, const int64_t *choice,
                   const int64_t *kept, double huber, REAL *losses, REAL *slope) {
    Comparison task = {.goal = {.target = target, .weight = weight, .choice = choice, .huber = (REAL)huber,
                                .quantiles = quantiles, .samples = samples, .kept = samples},
                       .members = members, .batch = batch, .outputs = outputs, .kept = kept, .out = out,
                       .losses = losses, .slope = slope};
    return spread(threads, agents * members, compare_row, &task);
}
