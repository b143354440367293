/* Everything that an agent learns from a rollout by clipped policy gradients: what the acting policy thought of it, its
 * advantages, and all passes over it in minibatches, while it lies in the cache. `algorithms/ppo.py` says what it means. */

/* Samples are [agents, steps, ...], `steps` those of `environments` side by side; hyperparameters [agents]. With deviations
 * the policy is a Gaussian around tanh of its outputs, clipped to [-1, 1]; without, a softmax over them. */
typedef struct {
    int64_t agents, batch, environments, features, actions, epochs, parts; /* `batch` are the steps, `parts` the minibatches of a pass */
    const REAL *observation, *next_observation, *action;
    const int64_t *choice, *order; /* [epochs, agents, steps] */
    const REAL *reward, *terminated, *ended, *valid;
    const REAL *discount, *trace, *clip, *entropy_weight, *value_weight, *most_norm;
    Squash squash;
    Trained policy, value, deviations;
    REAL *losses; /* [epochs, parts, agents, 4]: of the policy and of the value, the entropy, and how far the policy went */
} Rollouts;

enum { NOTED = 4, LINE = 64 / sizeof(REAL) };
typedef struct {
    const Rollouts *job;
    int64_t agent, outputs;
    Gaussian gaussian;
} Policy;

/* Log-probability of one action given the policy's outputs, which become, unless `slope` is NULL, how it changes with them;
 * `entropy` gets that of the policy, and `by_entropy` [outputs] how that changes, where outputs say it. */
static REAL likelihood(Policy *own, REAL *out, const REAL *action, int64_t choice, REAL *slope, REAL *by_deviation, REAL *entropy, REAL *by_entropy) {
    const Rollouts *job = own->job;
    REAL found = 0;
    if (!job->deviations.parameters) {
        REAL most = out[0], sum = 0, mean = 0;
        for (int64_t o = 1; o < own->outputs; o++) most = out[o] > most || out[o] != out[o] ? out[o] : most;
        for (int64_t o = 0; o < own->outputs; o++) sum += exponential(out[o] - most);
        REAL level = most + LOG(sum);
        found = out[choice] - level;
        if (!slope) return found;
        for (int64_t o = 0; o < own->outputs; o++) slope[o] = exponential(out[o] - level), mean = FUSED(slope[o], out[o] - level, mean);
        for (int64_t o = 0; o < own->outputs; o++) {
            by_entropy[o] = -slope[o] * (out[o] - level - mean);
            slope[o] = (o == choice) - slope[o];
        }
        *entropy = -mean;
        return found;
    }
    return gaussian_likelihood(&own->gaussian, out, action, slope, by_deviation);
}

static void look_again(Policy *own) {
    const Trained *net = &own->job->deviations;
    if (net->parameters) look_at_deviations(&own->gaussian, net->parameters + own->agent * net->apart, own->job->actions, -(REAL)INFINITY);
}

/* Outputs [batch, outputs] of a network for observations x, a block at a time, nothing kept. */
static void look_over(Pass pass, const Rollouts *job, int64_t agent, const REAL *x, REAL *out, REAL *memory) {
    int64_t block = job->batch < BLOCK ? job->batch : BLOCK;
    pass.x = x, pass.x_agent = job->batch * job->features, pass.x_row = job->features;
    for (int64_t first = 0; first < job->batch; first += block)
        forward_lines(&pass, agent, first, job->batch - first < block ? job->batch - first : block, block,
                      out + first * pass.plan->outputs, NULL, memory);
}

/* Generalised advantage estimates; `advantage` holds what followed is worth, and `goal` what was acted on. */
static void estimate(const Rollouts *job, int64_t agent, REAL *advantage, REAL *goal) {
    int64_t from = agent * job->batch;
    REAL discount = job->discount[agent], decay = discount * job->trace[agent];
    for (int64_t i = job->batch - 1; i >= 0; i--) {
        REAL valid = job->valid[from + i], later = i + job->environments < job->batch ? advantage[i + job->environments] : 0;
        REAL delta = (job->reward[from + i] + discount * (1 - job->terminated[from + i]) * advantage[i] - goal[i]) * valid;
        advantage[i] = FUSED(decay * (1 - job->ended[from + i]) * valid, later, delta); /* or compilers choose which product is rounded */
        goal[i] += advantage[i];
    }
}

static REAL square_sum(REAL *numbers, int64_t n) {
    clear(numbers + n, padded(n) - n);
    Sum sum = {0};
    ALONG(padded(n)) sum.part[p] += *(const vec *)(numbers + at) * *(const vec *)(numbers + at);
    return total(sum);
}

/* What a minibatch has been gathered into, `count` samples, and what is computed of them. */
typedef struct {
    int64_t count;
    REAL *x, *action, *weight, *before, *advantage, *goal, *out, *value, *actor_kept, *critic_kept, *gradient[3], *memory;
    int64_t *choice;
} Part;

/* The weighted advantages to mean 0 and deviation 1. Sums of products are fused by name here and below: a compiler that
 * makes vectors of the products rounds them, and whether it does depends on the width. */
static void standardise(Part *part) {
    REAL sum = 0, mean = 0, square = 0;
    for (int64_t b = 0; b < part->count; b++) sum += part->weight[b];
    for (int64_t b = 0; b < part->count; b++) part->weight[b] /= sum > 1 ? sum : 1, mean = FUSED(part->weight[b], part->advantage[b], mean);
    for (int64_t b = 0; b < part->count; b++) {
        part->advantage[b] -= mean;
        square = FUSED(part->weight[b] * part->advantage[b], part->advantage[b], square);
    }
    REAL wide = ROOT(square) + (REAL)1e-8;
    for (int64_t b = 0; b < part->count; b++) part->advantage[b] /= wide;
}

static void gather(const Rollouts *job, int64_t agent, const int64_t *order, const REAL *before, const REAL *advantage,
                   const REAL *goal, Part *part) {
    int64_t from = agent * job->batch;
    for (int64_t b = 0; b < part->count; b++) {
        int64_t i = order[b];
        copy(part->x + b * job->features, job->observation + (from + i) * job->features, job->features);
        if (job->choice) part->choice[b] = job->choice[from + i];
        else copy(part->action + b * job->actions, job->action + (from + i) * job->actions, job->actions);
        part->weight[b] = job->valid[from + i], part->before[b] = before[i], part->advantage[b] = advantage[i], part->goal[b] = goal[i];
    }
    standardise(part);
}

/* Losses of a minibatch; outputs become how the whole loss changes with them. */
static void weigh_up(Policy *own, Part *part, REAL *losses) {
    const Rollouts *job = own->job;
    int64_t outputs = own->outputs, agent = own->agent, actions = job->actions;
    REAL low = 1 - job->clip[agent], high = 1 + job->clip[agent], entropies = job->entropy_weight[agent], of_value = job->value_weight[agent];
    REAL *by_wide = part->gradient[2], actor = 0, critic = 0, chaos = 0, went = 0, counted = 0;
    REAL each[MOST_ACTIONS], slope[outputs], by_entropy[outputs];
    if (job->deviations.parameters) {
        for (int64_t a = 0; a < actions; a++) by_wide[a] = 0;
        for (int64_t a = 0; a < actions; a++) chaos += own->gaussian.log_deviation[a] + HALF_LOG_TWO_PI + (REAL)0.5;
    }
    REAL fixed = chaos;
    chaos = 0;
    for (int64_t b = 0; b < part->count; b++) {
        REAL weight = part->weight[b], gained = part->advantage[b], *out = part->out + b * outputs, entropy = fixed;
        REAL now = likelihood(own, out, part->action + b * actions, job->choice ? part->choice[b] : 0, slope, each, &entropy, by_entropy);
        REAL change = now - part->before[b], ratio = exponential(change), within_limits = within(ratio, low, high);
        if (ratio != ratio) within_limits = ratio;
        int clipped = (ratio > high && gained > 0) || (ratio < low && gained < 0);
        REAL steep = clipped ? 0 : -weight * ratio * gained, error = part->value[b] - part->goal[b];
        actor = FUSED(-weight, lesser(ratio * gained, within_limits * gained), actor), critic = FUSED(weight * error, error, critic);
        chaos = FUSED(weight, entropy, chaos), went = FUSED(weight, ratio - 1 - change, went), counted += weight;
        if (job->deviations.parameters) {
            for (int64_t a = 0; a < actions; a++) out[a] = steep * slope[a], by_wide[a] += steep * each[a];
        } else {
            for (int64_t o = 0; o < outputs; o++) out[o] = FUSED(steep, slope[o], -(entropies * weight * by_entropy[o]));
        }
        part->value[b] = of_value * 2 * weight * error;
    }
    if (job->deviations.parameters)
        for (int64_t a = 0; a < actions; a++) by_wide[a] -= entropies * counted;
    losses[0] = actor, losses[1] = critic, losses[2] = chaos, losses[3] = went;
}

/* One step of all networks along their gradients, whose common norm is limited. */
static void step_together(const Rollouts *job, int64_t agent, Part *part) {
    const Trained *nets[3] = {&job->policy, &job->value, &job->deviations};
    int64_t networks = job->deviations.parameters ? 3 : 2;
    REAL square = 0;
    for (int64_t n = 0; n < networks; n++) square += square_sum(part->gradient[n], nets[n]->sizes[agent]);
    REAL scale = job->most_norm[agent] / (ROOT(square) + (REAL)1e-6);
    for (int64_t n = 0; n < networks; n++) {
        if (!(scale >= 1)) FREELY for (int64_t i = 0; i < nets[n]->sizes[agent]; i++) part->gradient[n][i] *= scale;
        adam_step(nets[n], agent, part->gradient[n]);
    }
}

/* `entries` of the memory that `at` points into, on whole lines of the cache. */
INLINE REAL *cut_off(REAL **at, int64_t entries) {
    REAL *here = *at;
    *at += (entries + 2 * LINE - 1) / LINE * LINE; /* a line to spare, for what is padded */
    return here;
}

static int learn_rollout(const Rollouts *job, int64_t agent) {
    int64_t steps = job->batch, outputs = job->policy.plan->outputs, most = (steps + job->parts - 1) / job->parts;
    Pass actor = pass_of(&job->policy, job->policy.parameters, job->agents);
    Pass critic = pass_of(&job->value, job->value.parameters, job->agents);
    int64_t block = steps < BLOCK ? steps : BLOCK, kept[2] = {kept_by(actor.plan, agent, most), kept_by(critic.plan, agent, most)}, room = 0;
    for (int n = 0; n < 2; n++) {
        const Pass *pass = n ? &critic : &actor;
        int64_t needs[2] = {room_forward(pass, block, 0), room_regression(pass, most)};
        for (int i = 0; i < 2; i++) room = needs[i] > room ? needs[i] : room;
    }
    int64_t sizes = job->policy.sizes[agent] + job->value.sizes[agent] + job->actions;
    int64_t all = steps * (3 + outputs) + most * (job->features + job->actions + outputs + 7) + kept[0] + kept[1] + sizes + 36 * LINE;
    REAL *at = scratch(HELD, all), *memory = scratch(WORK, room);
    int64_t *choice = malloc(most * sizeof *choice);
    if (!at || !memory || !choice) return free(choice), 1;
    REAL *before = cut_off(&at, steps), *advantage = cut_off(&at, steps), *goal = cut_off(&at, steps), *out = cut_off(&at, steps * outputs);
    Part part = {.memory = memory, .choice = choice};
    REAL **of_sample[] = {&part.weight, &part.before, &part.advantage, &part.goal, &part.value};
    for (int i = 0; i < 5; i++) *of_sample[i] = cut_off(&at, most);
    part.x = cut_off(&at, most * job->features), part.action = cut_off(&at, most * job->actions), part.out = cut_off(&at, most * outputs);
    part.actor_kept = cut_off(&at, kept[0]), part.critic_kept = cut_off(&at, kept[1]);
    part.gradient[0] = cut_off(&at, job->policy.sizes[agent]), part.gradient[1] = cut_off(&at, job->value.sizes[agent]);
    part.gradient[2] = cut_off(&at, job->actions);
    Policy own = {.job = job, .agent = agent, .outputs = outputs};
    const REAL *x = job->observation;
    int failed = chosen_wrongly(job->choice ? job->choice + agent * steps : NULL, steps, outputs) ? NO_SUCH_OUTPUT : 0;
    if (!failed) {
        look_again(&own);
        look_over(actor, job, agent, x, out, memory);
        if (job->deviations.parameters) squashed(job->squash, out, steps * outputs);
        for (int64_t i = 0; i < steps; i++)
            before[i] = likelihood(&own, out + i * outputs, job->action + (agent * steps + i) * job->actions,
                                   job->choice ? job->choice[agent * steps + i] : 0, NULL, NULL, NULL, NULL);
        look_over(critic, job, agent, x, goal, memory);
        look_over(critic, job, agent, job->next_observation, advantage, memory);
        estimate(job, agent, advantage, goal);
    }
    for (int64_t e = 0; !failed && e < job->epochs; e++) {
        const int64_t *order = job->order + (e * job->agents + agent) * steps;
        for (int64_t p = 0; p < job->parts; p++, order += part.count) {
            part.count = steps / job->parts + (p < steps % job->parts);
            gather(job, agent, order, before, advantage, goal, &part);
            actor.x = critic.x = part.x, actor.x_row = critic.x_row = job->features;
            forward_lines(&actor, agent, 0, part.count, part.count, part.out, part.actor_kept, memory);
            if (job->deviations.parameters) squashed(job->squash, part.out, part.count * outputs);
            forward_lines(&critic, agent, 0, part.count, part.count, part.value, part.critic_kept, memory);
            look_again(&own);
            weigh_up(&own, &part, job->losses + ((e * job->parts + p) * job->agents + agent) * NOTED);
            backward_lines(&actor, agent, part.count, part.actor_kept, part.out, part.gradient[0], NULL, memory);
            backward_lines(&critic, agent, part.count, part.critic_kept, part.value, part.gradient[1], NULL, memory);
            step_together(job, agent, &part);
        }
    }
    free(choice);
    return failed;
}

typedef struct { const Rollouts *job; int64_t agent; } RolloutTurn;

static int take_rollout(const void *turns, int64_t row) {
    const RolloutTurn *turn = (const RolloutTurn *)turns + row;
    return learn_rollout(turn->job, turn->agent);
}

/* What several groups of agents learn from their rollouts. Gives the sum of what failed. */
int learn_rollouts(int64_t threads, int64_t jobs, const Rollouts *const *each) {
    int64_t rows = 0;
    for (int64_t j = 0; j < jobs; j++) rows += each[j]->agents;
    RolloutTurn turns[rows];
    for (int64_t j = 0, row = 0; j < jobs; j++)
        for (int64_t agent = 0; agent < each[j]->agents; agent++) turns[row++] = (RolloutTurn){each[j], agent};
    return spread(threads, rows, take_rollout, turns);
}
