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
    Goal goal;
    REAL *losses;
} Regression;

/* Entries that the regression of a row on `count` samples holds, and those that it needs on its way. */
static int64_t held_by_regression(const Pass *pass, int64_t row, int64_t count, int64_t size) {
    return kept_by(pass->plan, row, count) + 2 * count * pass->plan->outputs + size + WIDTH;
}

static int64_t room_regression(const Pass *pass, int64_t count) {
    int64_t there = room_forward(pass, count, 1), back = room_backward(pass, count);
    return there > back ? there : back;
}

/* The loss of a row on `count` samples, along whose gradient it has taken its step. */
static REAL regress_lines(const Pass *pass, const Steps *steps, int64_t row, int64_t count, const Goal *goal, REAL *held,
                          REAL *memory) {
    int64_t agent = row / pass->members, outputs = pass->plan->outputs;
    REAL *out = held + kept_by(pass->plan, row, count), *slope = out + count * outputs, *gradient = slope + count * outputs;
    forward_lines(pass, row, 0, count, count, out, held, memory);
    REAL loss = compare_lines(goal, count, outputs, out, slope);
    backward_lines(pass, row, count, held, slope, gradient, NULL, memory);
    step_row(steps->sizes[agent], (REAL *)pass->parameters + row * pass->apart, gradient, steps->mean + row * pass->apart,
             steps->square + row * pass->apart, steps->rate[agent], steps->steps[agent]);
    return loss;
}

static int regress_row(const void *job, int64_t row) {
    const Regression *task = job;
    const Pass *pass = &task->pass;
    int64_t agent = row / pass->members, batch = pass->batch, count = pass->counts ? pass->counts[row] : batch;
    REAL *held = scratch(HELD, held_by_regression(pass, row, count, task->steps.sizes[agent]));
    REAL *memory = scratch(WORK, room_regression(pass, count));
    if (!held || !memory) return 1;
    Goal goal = task->goal;
    goal.target += agent * batch, goal.weight += agent * batch;
    if (goal.choice) goal.choice += agent * batch;
    if (chosen_wrongly(goal.choice, count, pass->plan->outputs)) return NO_SUCH_OUTPUT;
    task->losses[row] = regress_lines(pass, &task->steps, row, count, &goal, held, memory);
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
        .goal = {.target = target, .weight = weight, .choice = choice, .huber = (REAL)huber, .samples = 1}, .losses = losses};
    return spread(threads, rows, regress_row, &task);
}
