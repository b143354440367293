/* What implicit Q-learning has in the place of next actions: values of states that follow the better ones of the data's
 * actions, and a policy that imitates these. `algorithms/iql.py` says what it means. */

#define IMPLICIT(job) ((job)->states.parameters != NULL)
#define MOST_WEIGHT ((REAL)100) /* of a sample in imitation */

/* [batch], the values of states; nothing is kept. */
static void value_states(const Updates *job, Desk *desk, const REAL *x, REAL *values) {
    int64_t count = desk->count, block = count < BLOCK ? count : BLOCK;
    Pass pass = reading(desk->states, job, x, NULL);
    for (int64_t first = 0; first < count; first += block)
        forward_lines(&pass, desk->agent, first, count - first < block ? count - first : block, block, values + first, NULL,
                      desk->memory);
}

/* One step of the values of states towards an upper expectile of what the data's actions `own` [count, actions] are worth by
 * the target critics; gives its loss. Then `surprise` [count] is what each sample counts in imitation, and `line` [count]
 * the value of its next state. */
static REAL value_data(const Updates *job, Desk *desk, const REAL *x, const REAL *next, const REAL *own) {
    int64_t agent = desk->agent, count = desk->count;
    Pass critic = reading(desk->value_target, job, x, own), states = reading(desk->states, job, x, NULL);
    REAL *worth = desk->surprise, *values = desk->flowing, heavy = job->advantage[agent];
    Steps steps = steps_of(&job->states);
    least_values(job, desk, &critic);
    memcpy(worth, desk->line, count * sizeof(REAL));
    Goal goal = {.target = worth, .weight = job->weight + agent * job->batch, .samples = 1, .kept = 1, .upper = job->expectile[agent]};
    job->states.steps[agent] += 1;
    REAL loss = regress_lines(&states, &steps, agent, count, &goal, desk->held, desk->memory);
    value_states(job, desk, x, values);
    for (int64_t b = 0; b < count; b++) {
        REAL counts = exponential(heavy * (worth[b] - values[b]));
        worth[b] = counts > MOST_WEIGHT ? MOST_WEIGHT : counts;
    }
    value_states(job, desk, next, desk->line);
    return loss;
}

/* One step of the policy, and of its deviations, towards the data's actions, each counting as `surprise` says; its loss. */
static REAL imitate(const Updates *job, Desk *desk, const REAL *x, const REAL *own) {
    int64_t agent = desk->agent, count = desk->count, actions = job->actions;
    const REAL *weight = job->weight + agent * job->batch, *logs = job->deviations.parameters + agent * job->deviations.apart;
    Pass actor = reading(desk->policy, job, x, NULL);
    REAL *gradient = desk->policy_kept + kept_by(job->policy.plan, agent, count), loss = 0, least = (REAL)job->least;
    REAL slope[MOST_ACTIONS], each[MOST_ACTIONS], by_wide[MOST_ACTIONS] = {0};
    Gaussian gaussian;
    look_at_deviations(&gaussian, logs, actions, least);
    forward_lines(&actor, agent, 0, count, count, desk->out, desk->policy_kept, desk->memory);
    squash(job, desk->out, count * actions);
    for (int64_t b = 0; b < count; b++) {
        REAL steep = -weight[b] * desk->surprise[b], *out = desk->out + b * actions;
        loss += steep * gaussian_likelihood(&gaussian, out, own + b * actions, slope, each);
        for (int64_t a = 0; a < actions; a++) out[a] = steep * slope[a], by_wide[a] += steep * each[a];
    }
    for (int64_t a = 0; a < actions; a++)
        if (logs[a] < least) by_wide[a] = 0;
    backward_lines(&actor, agent, count, desk->policy_kept, desk->out, gradient, NULL, desk->memory);
    adam_step(&job->policy, agent, gradient);
    adam_step(&job->deviations, agent, by_wide);
    return loss;
}
