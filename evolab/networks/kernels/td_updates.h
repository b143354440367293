/* Whole updates by temporal differences, several in a row.
 *
 * No agent waits for another: a thread takes one, makes all its updates while it lies in the cache, and takes the
 * next. What one update computes is what the algorithm's own file says, operation by operation and in its order,
 * so that both give the same bits. */

#include "td_targets.h"
#include "gaussian.h"

static Steps steps_of(const Trained *net) {
    return (Steps){.sizes = net->sizes, .mean = net->mean, .square = net->square, .rate = net->rate, .steps = net->steps};
}

static void adam_step(const Trained *net, int64_t agent, const REAL *gradient) {
    net->steps[agent] += 1;
    step_row(net->sizes[agent], net->parameters + agent * net->apart, gradient, net->mean + agent * net->apart,
             net->square + agent * net->apart, net->rate[agent], net->steps[agent]);
}

#include "implicit.h"

/* Tie a policy to the data's actions `own` [count, actions]: the gradient of its own actions, of which `out` has the
 * values' share, gets that of their squared distance; `values` become the values, times `scale`, less it. */
static void tie(const Updates *job, Desk *desk, const REAL *own, REAL scale, REAL *values) {
    int64_t actions = job->actions;
    const REAL *weight = job->weight + desk->agent * job->batch;
    for (int64_t b = 0; b < desk->count; b++) {
        REAL distance = 0, share = weight[b] / (REAL)actions;
        for (int64_t i = b * actions; i < (b + 1) * actions; i++) {
            REAL error = desk->action[i] - own[i];
            distance += error * error, desk->out[i] += 2 * share * error;
        }
        values[b] = scale * values[b] - distance / (REAL)actions;
    }
}

/* What a value weighs in a policy's loss: 1, or so much over its mean size where the policy is tied to the data. */
static REAL scale_of(const Updates *job, const Desk *desk, const REAL *values) {
    const REAL *weight = job->weight + desk->agent * job->batch;
    REAL size = 0;
    if (!job->cloning) return 1;
    for (int64_t b = 0; b < desk->count; b++) size += weight[b] * (values[b] < 0 ? -values[b] : values[b]);
    return job->cloning[desk->agent] / (size < (REAL)1e-6 ? (REAL)1e-6 : size);
}

/* One step of the policy up the first value of its own actions, which `values` [batch] gets; `own` are the data's. */
static void improve(const Updates *job, Desk *desk, const REAL *x, const REAL *own, REAL *values) {
    int64_t agent = desk->agent, count = desk->count, n = count * job->actions;
    const Trained *net = &job->policy;
    const REAL *weight = job->weight + agent * job->batch;
    Pass actor = reading(desk->policy, job, x, NULL), critic = reading(desk->value, job, x, desk->action);
    REAL *gradient = desk->policy_kept + kept_by(net->plan, agent, count);
    forward_lines(&actor, agent, 0, count, count, desk->action, desk->policy_kept, desk->memory);
    squash(job, desk->action, n);
    forward_lines(&critic, agent * job->value.members, 0, count, count, values, desk->held, desk->memory);
    REAL scale = scale_of(job, desk, values);
    FREELY for (int64_t b = 0; b < count; b++) desk->line[b] = -scale * weight[b];
    backward_lines(&critic, agent * job->value.members, count, desk->held, desk->line, NULL, desk->out, desk->memory);
    if (job->cloning) tie(job, desk, own, scale, values);
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
    if (IMPLICIT(job)) {
        desk.states = pass_of(&job->states, job->states.parameters, agents);
        int64_t those = held_by_regression(&desk.states, agent, count, job->states.sizes[agent]), there = room_regression(&desk.states, count);
        if (those > held) held = those;
        if (room_forward(&desk.states, block, 0) > there) there = room_forward(&desk.states, block, 0);
        if (there > other) other = there;
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
        if (IMPLICIT(job)) job->values[(u * agents + agent) * 2] = value_data(job, &desk, x, next, own);
        else if (acts) values_of_policy(job, &desk, next, noise);
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
        if (IMPLICIT(job)) job->values[(u * agents + agent) * 2 + 1] = imitate(job, &desk, x, own);
        if (SOFT(job) || IMPLICIT(job)) targets_follow(job, &job->value, agent);
        if (IMPLICIT(job)) continue;
        if ((job->before + u + 1) % job->delay) continue;
        if (SOFT(job)) {
            improve_softly(job, &desk, x, noise, job->values + (moves++ * agents + agent) * 2);
            continue;
        }
        if (acts) {
            REAL *values = job->values + (moves++ * agents + agent) * batch;
            improve(job, &desk, x, own, values);
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
