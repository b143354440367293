/* Whole updates by temporal differences, several in a row.
 *
 * No agent waits for another: a thread takes one, makes all its updates while it lies in the cache, and takes the
 * next. What one update computes is what the algorithm's own file says, operation by operation and in its order,
 * so that both give the same bits. */

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

static void squash(const Updates *job, REAL *values, int64_t n) {
    int count = (int)n;
    if (job->squash) job->squash(&count, values, values);
    else activate(TANH, values, values, n);
}

#define EXP(x) (sizeof(REAL) == 4 ? (REAL)expf((float)(x)) : (REAL)exp(x))
#define LOG1P(x) (sizeof(REAL) == 4 ? (REAL)log1pf((float)(x)) : (REAL)log1p(x))

/* The lesser number, and NaN where one is. */
INLINE REAL lesser(REAL a, REAL b) { return a < b || a != a ? a : b; }
INLINE REAL within(REAL x, REAL low, REAL high) { return x < low ? low : x > high ? high : x; }

/* Memory of one agent's updates: `kept` of both networks' passes, and lines of a number or some per sample. */
typedef struct {
    Pass value, value_target, policy, policy_target;
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

/* [count], the least value of the target policy's next actions, which `noise` [count, actions] may smooth; of distributions
 * [count, members, quantiles] all values in rising order. */
static void values_of_policy(const Updates *job, Desk *desk, const REAL *next, const REAL *noise) {
    int64_t count = desk->count, actions = job->actions, block = count < BLOCK ? count : BLOCK;
    int64_t each = each_of(job), samples = samples_of(job);
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
    for (int64_t m = 0; m < job->value.members; m++) {
        for (int64_t first = 0; first < count; first += block)
            forward_lines(&critic, desk->agent * job->value.members + m, first, count - first < block ? count - first : block,
                          block, desk->out + first * each, NULL, desk->memory);
        if (job->quantiles)
            for (int64_t b = 0; b < count; b++)
                memcpy(desk->line + b * samples + m * each, desk->out + b * each, each * sizeof(REAL));
        else if (m == 0) memcpy(desk->line, desk->out, count * sizeof(REAL));
        else FREELY for (int64_t b = 0; b < count; b++) desk->line[b] = lesser(desk->line[b], desk->out[b]);
    }
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

static Steps steps_of(const Trained *net) {
    return (Steps){.sizes = net->sizes, .mean = net->mean, .square = net->square, .rate = net->rate, .steps = net->steps};
}

static void adam_step(const Trained *net, int64_t agent, const REAL *gradient) {
    net->steps[agent] += 1;
    step_row(net->sizes[agent], net->parameters + agent * net->apart, gradient, net->mean + agent * net->apart,
             net->square + agent * net->apart, net->rate[agent], net->steps[agent]);
}

/* One step of the policy up the first value of its own actions, which `values` [batch] gets. */
static void improve(const Updates *job, Desk *desk, const REAL *x, REAL *values) {
    int64_t agent = desk->agent, count = desk->count, n = count * job->actions;
    const Trained *net = &job->policy;
    const REAL *weight = job->weight + agent * job->batch;
    Pass actor = reading(desk->policy, job, x, NULL), critic = reading(desk->value, job, x, desk->action);
    REAL *gradient = desk->policy_kept + kept_by(net->plan, agent, count);
    forward_lines(&actor, agent, 0, count, count, desk->action, desk->policy_kept, desk->memory);
    squash(job, desk->action, n);
    forward_lines(&critic, agent * job->value.members, 0, count, count, values, desk->held, desk->memory);
    FREELY for (int64_t b = 0; b < count; b++) desk->line[b] = -weight[b];
    backward_lines(&critic, agent * job->value.members, count, desk->held, desk->line, NULL, desk->out, desk->memory);
    FREELY for (int64_t i = 0; i < n; i++) desk->out[i] *= 1 - desk->action[i] * desk->action[i]; /* fused, as torch's */
    backward_lines(&actor, agent, count, desk->policy_kept, desk->out, gradient, NULL, desk->memory);
    adam_step(net, agent, gradient);
}

/* One step of a policy that draws its actions up their least value and entropy, and of its temperature towards the
 * entropy that is aimed at; `losses` [2] of both. `noise` is that of the next actions, behind which its own stands. */
static void improve_softly(const Updates *job, Desk *desk, const REAL *x, const REAL *noise, REAL *losses) {
    int64_t agent = desk->agent, count = desk->count, actions = job->actions, n = count * actions, members = job->value.members;
    const REAL *weight = job->weight + agent * job->batch;
    Pass actor = reading(desk->policy, job, x, NULL), critic = reading(desk->value, job, x, desk->action);
    int64_t kept = kept_by(job->value.plan, agent * members, count);
    REAL *gradient = desk->policy_kept + kept_by(job->policy.plan, agent, count), temperature = temperature_of(job, agent);
    forward_lines(&actor, agent, 0, count, count, desk->out, desk->policy_kept, desk->memory);
    REAL *logs = desk->other; /* of the deviations as they came, to see which were cut */
    for (int64_t b = 0; b < count; b++) copy(logs + b * actions, desk->out + (2 * b + 1) * actions, actions);
    draw_actions(job, count, desk->out, noise + actions, desk->action, desk->surprise, desk->deviation);
    int64_t each = each_of(job), lines = count * each;
    REAL *values = desk->target; /* [members, count, each] */
    for (int64_t m = 0; m < members; m++)
        forward_lines(&critic, agent * members + m, 0, count, count, values + m * lines, desk->held + m * kept, desk->memory);
    REAL loss = 0, entropy = 0;
    for (int64_t b = 0; b < count; b++) {
        if (job->quantiles) {
            REAL sum = 0, share = -weight[b] / (REAL)(members * each);
            for (int64_t m = 0; m < members; m++)
                for (int64_t j = m * lines + b * each; j < m * lines + (b + 1) * each; j++) sum += values[j], values[j] = share;
            loss += weight[b] * (temperature * desk->surprise[b] - sum / (REAL)(members * each));
            entropy -= weight[b] * desk->surprise[b];
            continue;
        }
        REAL least = values[b];
        int64_t ties = 0;
        for (int64_t m = 1; m < members; m++) least = lesser(least, values[m * count + b]);
        for (int64_t m = 0; m < members; m++) ties += values[m * count + b] == least;
        for (int64_t m = 0; m < members; m++)
            values[m * count + b] = values[m * count + b] == least ? -weight[b] / (REAL)ties : least != least ? least : 0;
        loss += weight[b] * (temperature * desk->surprise[b] - least);
        entropy -= weight[b] * desk->surprise[b];
    }
    for (int64_t m = 0; m < members; m++) {
        REAL *to = m ? desk->out : desk->flowing;
        backward_lines(&critic, agent * members + m, count, desk->held + m * kept, values + m * lines, NULL, to, desk->memory);
        if (m) FREELY for (int64_t i = 0; i < n; i++) desk->flowing[i] += to[i];
    }
    for (int64_t b = 0; b < count; b++)
        for (int64_t a = 0; a < actions; a++) {
            int64_t at = b * actions + a;
            REAL acted = desk->action[at], own = weight[b] * temperature;
            REAL raw = desk->flowing[at] * (1 - acted * acted) + own * 2 * acted;
            desk->out[2 * b * actions + a] = raw;
            desk->out[(2 * b + 1) * actions + a] =
                logs[at] < (REAL)job->least || logs[at] > (REAL)job->most
                    ? 0 : raw * desk->deviation[at] * noise[(2 * b + 1) * actions + a] - own;
        }
    backward_lines(&actor, agent, count, desk->policy_kept, desk->out, gradient, NULL, desk->memory);
    adam_step(&job->policy, agent, gradient);
    REAL slope = temperature * (entropy - job->entropy[agent] * (REAL)actions);
    adam_step(&job->temperature, agent, &slope);
    losses[0] = loss, losses[1] = slope;
}

static void targets_follow(const Updates *job, const Trained *net, int64_t agent) {
    for (int64_t row = agent * net->members; row < (agent + 1) * net->members; row++)
        follow_row(net->sizes[agent], net->target + row * net->apart, net->parameters + row * net->apart, job->tau[agent]);
}

/* All updates of one agent; 0, or what failed. */
static int learn_agent(const Updates *job, int64_t agent) {
    int64_t agents = job->agents, batch = job->batch, actions = job->actions, members = job->value.members;
    int64_t count = job->counts ? job->counts[agent] : batch, acts = job->policy.plan != NULL, moves = 0;
    Desk desk = {.agent = agent, .count = count};
    desk.value = pass_of(&job->value, job->value.parameters, agents * members);
    desk.value_target = pass_of(&job->value, job->value.target, agents * members);
    int64_t held = held_by_regression(&desk.value, agent * members, count, job->value.sizes[agent]), kept = 0;
    int64_t room = room_regression(&desk.value, count), other = 0, block = count < BLOCK ? count : BLOCK;
    if (room_forward(&desk.value, block, 0) > room) room = room_forward(&desk.value, block, 0);
    if (acts) {
        desk.policy = pass_of(&job->policy, job->policy.parameters, agents);
        desk.policy_target = pass_of(&job->policy, SOFT(job) ? job->policy.parameters : job->policy.target, agents);
        kept = kept_by(job->policy.plan, agent, count) + job->policy.sizes[agent] + WIDTH;
        other = room_regression(&desk.policy, count);
        if (room_forward(&desk.policy, block, 0) > other) other = room_forward(&desk.policy, block, 0);
    }
    int64_t outputs = acts && 2 * actions > each_of(job) ? 2 * actions : acts ? each_of(job) : 2 * actions * each_of(job);
    int64_t wide = padded(count * outputs), long_line = padded(members * count * each_of(job)), kept_samples = samples_of(job);
    if (job->dropped) {
        REAL left_out = (REAL)rint((REAL)kept_samples * job->dropped[agent]);
        kept_samples -= left_out > kept_samples - 1 ? kept_samples - 1 : (int64_t)left_out;
    }
    if (acts && members * kept_by(job->value.plan, agent * members, count) > held)
        held = members * kept_by(job->value.plan, agent * members, count);
    held = padded(held), kept = padded(kept);
    desk.held = scratch(HELD, held + kept + 5 * wide + 3 * long_line);
    desk.memory = scratch(WORK, room > other ? room : other);
    if (!desk.held || !desk.memory) return 1;
    desk.policy_kept = desk.held + held, desk.action = desk.policy_kept + kept, desk.out = desk.action + wide;
    desk.deviation = desk.out + wide, desk.flowing = desk.deviation + wide, desk.other = desk.flowing + wide;
    desk.line = desk.other + wide, desk.target = desk.line + long_line, desk.surprise = desk.target + long_line;
    Steps steps = steps_of(&job->value);
    for (int64_t u = 0; u < job->updates; u++) {
        int64_t at = (u * agents + agent) * batch, common = u * agents * batch;
        const REAL *x = job->observation + common * job->features, *next = job->next_observation + common * job->features;
        const int64_t *choice = job->choice ? job->choice + at : NULL;
        const REAL *own = acts ? job->action + at * actions : NULL, *noise = job->noise ? job->noise + at * actions * (SOFT(job) ? 2 : 1) : NULL;
        if (chosen_wrongly(choice, count, actions)) return NO_SUCH_OUTPUT;
        if (acts) values_of_policy(job, &desk, next, noise);
        else values_of_choices(job, &desk, next, job->permitted ? job->permitted + at * actions : NULL);
        temporal_difference(job, &desk, at);
        Pass pass = reading(desk.value, job, x, own);
        Goal goal = {.target = desk.target, .weight = job->weight + agent * batch, .choice = choice, .huber = (REAL)job->huber,
                     .quantiles = job->quantiles, .samples = samples_of(job), .kept = kept_samples,
                     .errors = job->errors ? job->errors + agent * batch : NULL};
        if (goal.errors) memset(goal.errors, 0, count * sizeof(REAL));
        job->value.steps[agent] += 1;
        for (int64_t m = 0; m < members; m++)
            job->losses[(u * agents + agent) * members + m] =
                regress_lines(&pass, &steps, agent * members + m, count, &goal, desk.held, desk.memory);
        for (int64_t b = 0; goal.errors && b < count; b++) goal.errors[b] /= (REAL)members;
        if (SOFT(job)) targets_follow(job, &job->value, agent);
        if ((job->before + u + 1) % job->delay) continue;
        if (SOFT(job)) {
            improve_softly(job, &desk, x, noise, job->values + (moves++ * agents + agent) * 2);
            continue;
        }
        if (acts) {
            REAL *values = job->values + (moves++ * agents + agent) * batch;
            improve(job, &desk, x, values);
            memset(values + count, 0, (batch - count) * sizeof(REAL));
            targets_follow(job, &job->policy, agent);
        }
        targets_follow(job, &job->value, agent);
    }
    return 0;
}

typedef struct { const Updates *job; int64_t agent; } Turn;

static int take_turn(const void *turns, int64_t row) {
    const Turn *turn = (const Turn *)turns + row;
    return learn_agent(turn->job, turn->agent);
}

/* The updates of several groups of agents, those of the first first. Gives the sum of what failed. */
int learn(int64_t threads, int64_t jobs, const Updates *const *each) {
    int64_t rows = 0;
    for (int64_t j = 0; j < jobs; j++) rows += each[j]->agents;
    Turn turns[rows];
    for (int64_t j = 0, row = 0; j < jobs; j++)
        for (int64_t agent = 0; agent < each[j]->agents; agent++) turns[row++] = (Turn){each[j], agent};
    return spread(threads, rows, take_turn, turns);
}
