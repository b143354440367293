/* A whole update of a row while it lies in the cache: its pass, its loss, its gradient and its step. */

/* The steps of Adam that rows take; `sizes`, `rate` and `steps`, with this one, are per agent. */
typedef struct {
    const int64_t *sizes;
    REAL *mean, *square;
    const REAL *rate, *steps;
} Steps;

typedef struct {
    Pass pass;
    Steps steps;
    const REAL *target, *weight;
    const int64_t *choice;
    double huber;
    REAL *losses;
} Regression;

enum { NO_SUCH_OUTPUT = 1 << 16 }; /* beside 1, for a row that lacked memory */

static int regress_row(const void *job, int64_t row) {
    const Regression *task = job;
    const Pass *pass = &task->pass;
    int64_t agent = row / pass->members, batch = pass->batch, outputs = pass->plan->outputs;
    int64_t count = pass->counts ? pass->counts[row] : batch, size = task->steps.sizes[agent];
    REAL *held = scratch(HELD, kept_by(pass->plan, row, count) + 2 * count * outputs + size + WIDTH);
    int64_t there = room_forward(pass, count, 1), back = room_backward(pass, count);
    REAL *memory = scratch(WORK, there > back ? there : back);
    if (!held || !memory) return 1;
    REAL *out = held + kept_by(pass->plan, row, count), *slope = out + count * outputs, *gradient = slope + count * outputs;
    forward_lines(pass, row, 0, count, count, out, held, memory);
    const REAL *target = task->target + agent * batch, *weight = task->weight + agent * batch, huber = (REAL)task->huber;
    const int64_t *choice = task->choice ? task->choice + agent * batch : NULL;
    for (int64_t b = 0; choice && b < count; b++)
        if (choice[b] < 0 || choice[b] >= outputs) return NO_SUCH_OUTPUT;
    REAL loss = 0;
    memset(slope, 0, count * outputs * sizeof(REAL));
    for (int64_t b = 0; b < count; b++) {
        int64_t at = b * outputs + (choice ? choice[b] : 0);
        REAL error = out[at] - target[b], near = error;
        if (huber > 0) near = error > huber ? huber : error < -huber ? -huber : error;
        loss += weight[b] * near * (2 * error - near);
        slope[at] = 2 * weight[b] * near;
    }
    task->losses[row] = loss;
    backward_lines(pass, row, count, held, slope, gradient, NULL, memory);
    step_row(size, (REAL *)pass->parameters + row * pass->apart, gradient, task->steps.mean + row * pass->apart,
             task->steps.square + row * pass->apart, task->steps.rate[agent], task->steps.steps[agent]);
    return 0;
}

/* A step of Adam for every row on the weighted squared error of its values, linear beyond `huber` where that is
 * above 0. `target` and `weight` are [agents, batch], `choice` which output is the value, or NULL where there is
 * one output; `losses` [rows] gets the losses. The rest is as in `forward` and `adam`. */
int regress(const Plan *plan, int64_t threads, int64_t rows, int64_t batch, const int64_t *counts, int64_t members,
            const REAL *parameters, int64_t apart, const REAL *x, int64_t x_agent, int64_t x_row,
            const REAL *extra, int64_t extra_agent, int64_t extra_row, const REAL *target, const REAL *weight,
            const int64_t *choice, double huber, REAL *losses, const int64_t *sizes, REAL *mean, REAL *square,
            const REAL *rate, const REAL *steps) {
    Regression task = {
        .pass = {.plan = plan, .batch = batch, .members = members, .widest = widest_of(plan, rows),
                 .largest = largest_of(plan, rows), .apart = apart, .x_agent = x_agent, .x_row = x_row, .extra_agent = extra_agent, .extra_row = extra_row,
                 .counts = counts, .parameters = parameters, .x = x, .extra = extra},
        .steps = {.sizes = sizes, .mean = mean, .square = square, .rate = rate, .steps = steps},
        .target = target, .weight = weight, .choice = choice, .huber = huber, .losses = losses};
    return spread(threads, rows, regress_row, &task);
}
