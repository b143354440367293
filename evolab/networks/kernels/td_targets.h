/* Targets of updates by temporal differences: what next states are worth, by choices or by a policy's actions. */

/* tanh of n numbers; NULL for that of the activations. */
typedef void (*Squash)(const int *n, const REAL *from, REAL *to);

/* One network of every agent, its target, and its Adam. `plan` has a row for each of an agent's `members`. */
typedef struct {
    const Plan *plan;
    int64_t members, apart;
    REAL *parameters, *target;
    const int64_t *sizes;
    REAL *mean, *square, *steps;
    const REAL *rate;
} Trained;

/* `updates` of `agents`. Samples are [updates, agents, batch, ...], hyperparameters [agents]. Without a policy, values
 * are those of choices, [.., actions]; with one, `actions` are entries of an action, and every `delay` updates, counted
 * from `before`, the policy moves and all targets follow. */
typedef struct {
    int64_t agents, updates, batch, features, actions, before, delay, greedy_online;
    const int64_t *counts; /* [agents], samples of their own, or NULL for all */
    const REAL *observation, *next_observation, *action;
    const int64_t *choice;
    const REAL *reward, *terminated, *weight, *noise; /* `weight` is [agents, batch]; `noise` may be NULL */
    const REAL *discount, *ahead; /* of a step; and [updates, agents, batch] of all steps to the next state, or NULL for one */
    const REAL *tau, *noise_scale, *noise_limit;
    double huber;
    Squash squash;
    Trained value, policy;
    REAL *losses; /* [updates, agents, members of the value] */
    REAL *values; /* [updates in which the policy moves, agents, batch], of its own actions; if soft, its losses [.., 2] */
    /* Where the policy draws its actions, the logarithm of its temperature, else a plan-less network with no parameters;
     * `noise` is then [updates, agents, batch, 2, actions]: of the next action, and of the policy's own. */
    Trained temperature;
    const REAL *entropy; /* [agents], that is aimed at per entry of an action */
    double least, most;  /* logarithms of the policy's deviations */
    int64_t quantiles;   /* of each value, where values are distributions; 0 where they are numbers */
    const REAL *dropped; /* [agents], share of all critics' quantiles that targets leave out; NULL for none */
    REAL *errors; /* [agents, batch], gets sizes of the errors of a single update, the mean over the members; NULL for none */
    const uint8_t *permitted; /* [updates, agents, batch, actions], 0 for choices that the next state forbids; NULL for none */
    const REAL *cloning; /* [agents], what the value weighs beside the distance from the data's actions; NULL for the value alone */
    Trained states; /* where next states have values of their own, these, else a network without parameters; `values` are
                     * then [updates, agents, 2], their loss and the policy's, which has neither target nor delay */
    Trained deviations;                  /* of that policy, their logarithms */
    const REAL *expectile, *advantage;   /* [agents], that the values of states follow, and what an advantage weighs in imitation */
} Updates;

#define SOFT(job) ((job)->temperature.parameters != NULL)

/* Numbers of each value, and of each target: the quantiles of one choice, or of all critics. */
INLINE int64_t each_of(const Updates *job) { return job->quantiles ? job->quantiles : 1; }
INLINE int64_t samples_of(const Updates *job) {
    return job->quantiles && job->policy.plan ? job->quantiles * job->value.members : each_of(job);
}

static Pass pass_of(const Trained *net, const REAL *parameters, int64_t rows) {
    Pass pass = {.plan = net->plan, .members = net->members, .apart = net->apart, .parameters = parameters,
                 .widest = widest_of(net->plan, rows), .largest = largest_of(net->plan, rows)};
    return pass;
}

/* `pass` over the observations x [agents, batch, features], beside which are `extra` [batch, actions] of one agent. */
static Pass reading(Pass pass, const Updates *job, const REAL *x, const REAL *extra) {
    pass.batch = job->batch, pass.x = x, pass.x_agent = job->batch * job->features, pass.x_row = job->features;
    pass.extra = extra, pass.extra_row = job->actions;
    return pass;
}

static void squashed(Squash by, REAL *values, int64_t n) {
    int count = (int)n;
    if (by) by(&count, values, values);
    else activate(TANH, values, values, n);
}
static void squash(const Updates *job, REAL *values, int64_t n) { squashed(job->squash, values, n); }

#define EXP(x) (sizeof(REAL) == 4 ? (REAL)expf((float)(x)) : (REAL)exp(x))
#define LOG1P(x) (sizeof(REAL) == 4 ? (REAL)log1pf((float)(x)) : (REAL)log1p(x))

/* The lesser number, and NaN where one is. */
INLINE REAL lesser(REAL a, REAL b) { return a < b || a != a ? a : b; }
INLINE REAL within(REAL x, REAL low, REAL high) { return x < low ? low : x > high ? high : x; }

/* Memory of one agent's updates: `kept` of both networks' passes, and lines of a number or some per sample. */
typedef struct {
    Pass value, value_target, policy, policy_target, states;
    int64_t agent, count;
    REAL *held, *policy_kept, *action, *out, *line, *target, *memory;
    REAL *surprise, *deviation, *flowing, *other; /* where the policy draws its actions */
} Desk;

INLINE REAL temperature_of(const Updates *job, int64_t agent) {
    return EXP(job->temperature.parameters[agent * job->temperature.apart]);
}

/* The means of `each` numbers behind one another; `means` [count] may be where the numbers are. */
static REAL *means_of(const REAL *numbers, int64_t count, int64_t each, REAL *means) {
    for (int64_t i = 0; i < count; i++) {
        REAL sum = 0;
        for (int64_t j = 0; j < each; j++) sum += numbers[i * each + j];
        means[i] = sum / (REAL)each;
    }
    return means;
}

/* In rising order, as most are already. */
static void sort(REAL *numbers, int64_t count) {
    for (int64_t i = 1; i < count; i++) {
        REAL moved = numbers[i];
        int64_t at = i;
        for (; at > 0 && numbers[at - 1] > moved; at--) numbers[at] = numbers[at - 1];
        numbers[at] = moved;
    }
}

/* [count, quantiles], the values of the next states by the target's best choice, or by the network's own, of those that are
 * `permitted` [count, actions] if not NULL. */
static void values_of_choices(const Updates *job, Desk *desk, const REAL *next, const uint8_t *permitted) {
    int64_t outputs = job->actions, count = desk->count, own = count < BLOCK ? count : BLOCK, each = each_of(job);
    Pass by = reading(desk->value_target, job, next, NULL), online = reading(desk->value, job, next, NULL);
    for (int64_t first = 0; first < count; first += own) {
        int64_t lines = count - first < own ? count - first : own;
        REAL *values = desk->out + first * outputs * each, *asked = values;
        forward_lines(&by, desk->agent, first, lines, own, values, NULL, desk->memory);
        if (job->greedy_online) {
            asked = desk->action + first * outputs * each;
            forward_lines(&online, desk->agent, first, lines, own, asked, NULL, desk->memory);
        }
        if (job->quantiles) asked = means_of(asked, lines * outputs, each, desk->action + first * outputs * each);
        for (int64_t b = 0; b < lines; b++) {
            const REAL *line = asked + b * outputs;
            const uint8_t *may = permitted ? permitted + (first + b) * outputs : NULL;
            int64_t best = 0;
            while (may && !may[best] && best < outputs - 1) best++;
            for (int64_t o = best + 1; o < outputs; o++) {
                if (may && !may[o]) continue;
                if (line[o] > line[best] || (line[o] != line[o] && line[best] == line[best])) best = o;
            }
            memcpy(desk->line + (first + b) * each, values + (b * outputs + best) * each, each * sizeof(REAL));
        }
    }
}

/* Actions [count, actions] drawn from a squashed Gaussian, and their log-density [count]; `out` [count, 2, actions] are
 * means and logarithms of deviations, of which the deviations [count, actions] are kept. */
static void draw_actions(const Updates *job, int64_t count, const REAL *out, const REAL *noise, REAL *action, REAL *surprise,
                         REAL *deviation) {
    int64_t actions = job->actions;
    REAL least = (REAL)job->least, most = (REAL)job->most;
    for (int64_t b = 0; b < count; b++)
        for (int64_t a = 0; a < actions; a++) deviation[b * actions + a] = within(out[(2 * b + 1) * actions + a], least, most);
    for (int64_t b = 0; b < count; b++) {
        REAL sum = 0;
        for (int64_t a = 0; a < actions; a++) {
            REAL n = noise[2 * b * actions + a], spread = deviation[b * actions + a];
            REAL raw = out[2 * b * actions + a] + exponential(spread) * n, size = raw < 0 ? -raw : raw;
            /* log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)), which does not overflow */
            REAL soft = (raw < 0 ? -2 * raw : 0) + LOG1P(exponential(-2 * size));
            sum += (REAL)-0.5 * n * n - spread - (REAL)0.9189385332046727 - 2 * ((REAL)0.6931471805599453 - raw - soft);
            action[b * actions + a] = raw;
        }
        surprise[b] = sum;
    }
    FREELY for (int64_t i = 0; i < count * actions; i++) deviation[i] = exponential(deviation[i]);
    squash(job, action, count * actions);
}

/* `line` [count] gets the least of the values that the critics of `critic` give; of distributions [count, members, quantiles]. */
static void least_values(const Updates *job, Desk *desk, const Pass *critic) {
    int64_t count = desk->count, block = count < BLOCK ? count : BLOCK, each = each_of(job), samples = samples_of(job);
    for (int64_t m = 0; m < job->value.members; m++) {
        for (int64_t first = 0; first < count; first += block)
            forward_lines(critic, desk->agent * job->value.members + m, first, count - first < block ? count - first : block,
                          block, desk->out + first * each, NULL, desk->memory);
        if (job->quantiles)
            for (int64_t b = 0; b < count; b++)
                memcpy(desk->line + b * samples + m * each, desk->out + b * each, each * sizeof(REAL));
        else if (m == 0) memcpy(desk->line, desk->out, count * sizeof(REAL));
        else FREELY for (int64_t b = 0; b < count; b++) desk->line[b] = lesser(desk->line[b], desk->out[b]);
    }
}

/* [count], the least value of the target policy's next actions, which `noise` [count, actions] may smooth; of distributions
 * [count, members, quantiles] all values in rising order. */
static void values_of_policy(const Updates *job, Desk *desk, const REAL *next, const REAL *noise) {
    int64_t count = desk->count, actions = job->actions, block = count < BLOCK ? count : BLOCK;
    int64_t samples = samples_of(job);
    Pass actor = reading(desk->policy_target, job, next, NULL), critic = reading(desk->value_target, job, next, desk->action);
    REAL *asked = SOFT(job) ? desk->out : desk->action;
    for (int64_t first = 0; first < count; first += block)
        forward_lines(&actor, desk->agent, first, count - first < block ? count - first : block, block,
                      asked + first * actor.plan->outputs, NULL, desk->memory);
    if (!SOFT(job)) squash(job, desk->action, count * actions);
    if (SOFT(job)) {
        draw_actions(job, count, desk->out, noise, desk->action, desk->surprise, desk->deviation);
    } else if (noise) {
        REAL scale = job->noise_scale[desk->agent], limit = job->noise_limit[desk->agent];
        FREELY for (int64_t i = 0; i < count * actions; i++)
            desk->action[i] = within(desk->action[i] + within(noise[i] * scale, -limit, limit), -1, 1);
    }
    least_values(job, desk, &critic);
    if (!SOFT(job)) return;
    REAL temperature = temperature_of(job, desk->agent);
    if (job->quantiles)
        for (int64_t b = 0; b < count; b++) {
            REAL cost = temperature * desk->surprise[b];
            sort(desk->line + b * samples, samples);
            for (int64_t j = 0; j < samples; j++) desk->line[b * samples + j] -= cost;
        }
    else FREELY for (int64_t b = 0; b < count; b++) desk->line[b] -= temperature * desk->surprise[b];
}

/* target = reward + discount * (1 - terminated) * value. Two loops: fused, they would round once less. */
static void temporal_difference(const Updates *job, Desk *desk, int64_t at) {
    const REAL *reward = job->reward + at, *terminated = job->terminated + at, discount = job->discount[desk->agent];
    const REAL *ahead = job->ahead ? job->ahead + at : NULL;
    int64_t samples = samples_of(job);
    if (samples > 1) {
        for (int64_t b = 0; b < desk->count; b++) {
            REAL future = (ahead ? ahead[b] : discount) * (1 - terminated[b]);
            for (int64_t j = b * samples; j < (b + 1) * samples; j++) desk->target[j] = reward[b] + future * desk->line[j];
        }
        return;
    }
    if (ahead) {
        FREELY for (int64_t b = 0; b < desk->count; b++) desk->line[b] *= ahead[b] * (1 - terminated[b]);
    } else {
        FREELY for (int64_t b = 0; b < desk->count; b++) desk->line[b] *= discount * (1 - terminated[b]);
    }
    FREELY for (int64_t b = 0; b < desk->count; b++) desk->target[b] = reward[b] + desk->line[b];
}
