/* Prints the bits of whole updates: the same on every machine with fused products, whatever its vectors' width.
 *
 *     gcc -O3 -fno-math-errno -fno-trapping-math -pthread -march=native widths.c -lm && ./a.out
 */
#define REAL float
#include "../../../evolab/networks/kernels/perceptron.c"
#include <stdio.h>

enum { AGENTS = 3, MEMBERS = 2, FEATURES = 5, ACTIONS = 2, BATCH = 37, UPDATES = 5, ROOM = 20000 };
static uint64_t state = 1;
static REAL drawn(void) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (REAL)((int64_t)(state >> 40) - (1 << 23)) / (1 << 23);
}
static REAL *some(int64_t n) {
    REAL *to = malloc(n * sizeof(REAL));
    for (int64_t i = 0; i < n; i++) to[i] = drawn();
    return to;
}

/* Rows of two layers, of `units` and `units + 7`, with the offsets of their parts one behind the other. */
static void lay(int64_t *shape, int64_t units, int64_t kind, int64_t inputs, int64_t outputs, int normal, int64_t *size) {
    int64_t at = 0, widths[2] = {units, units + 7};
    shape[DEPTH] = 2;
    for (int l = 0; l < 2; l++) {
        int64_t *where = shape + LAYERS + OF_LAYER * l;
        where[UNITS] = widths[l], where[KIND] = kind;
        where[WEIGHT] = at, at += widths[l] * inputs;
        where[BIAS] = at, at += widths[l];
        where[SCALE] = normal ? at : -1, at += normal ? widths[l] : 0;
        where[SHIFT] = normal ? at : -1, at += normal ? widths[l] : 0;
        inputs = widths[l];
    }
    shape[OUT_WEIGHT] = at, at += outputs * inputs;
    shape[OUT_BIAS] = at, at += outputs;
    *size = at;
}

static Trained network(Plan *plan, int64_t members, int64_t kind, int normal) {
    int64_t *shape = malloc(AGENTS * members * (LAYERS + 2 * OF_LAYER) * sizeof *shape), *sizes = malloc(AGENTS * sizeof *sizes);
    for (int64_t row = 0; row < AGENTS * members; row++)
        lay(shape + row * (LAYERS + 2 * OF_LAYER), 21 + 16 * (row / members), kind, plan->features + plan->extra, plan->outputs, normal,
            sizes + row / members);
    plan->layers = 2, plan->shape = shape;
    int64_t n = AGENTS * members * ROOM;
    Trained net = {.plan = plan, .members = members, .apart = ROOM, .parameters = some(n), .target = some(n), .sizes = sizes,
                   .mean = calloc(n, sizeof(REAL)), .square = calloc(n, sizeof(REAL)), .steps = calloc(AGENTS, sizeof(REAL))};
    REAL *rate = some(AGENTS);
    for (int i = 0; i < AGENTS; i++) rate[i] = (REAL)1e-3 * (2 + rate[i]);
    for (int64_t i = 0; i < n; i++) net.parameters[i] *= (REAL)0.2, net.target[i] *= (REAL)0.2;
    net.rate = rate;
    return net;
}

static uint64_t digest(uint64_t so_far, const REAL *values, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, 4);
        so_far = (so_far ^ bits) * 1099511628211ULL;
    }
    return so_far;
}

int main(void) {
    for (int64_t kind = IDENTITY; kind <= SILU; kind++)
        for (int normal = 0; normal < 2; normal++) {
            Plan critic = {.features = FEATURES, .extra = ACTIONS, .outputs = 1}, actor = {.features = FEATURES, .outputs = ACTIONS};
            Trained value = network(&critic, MEMBERS, kind, normal), policy = network(&actor, 1, kind, normal);
            int64_t samples = UPDATES * AGENTS * BATCH, counts[AGENTS] = {37, 20, 29};
            REAL *hyper = some(4 * AGENTS), *weight = some(AGENTS * BATCH), *terminated = calloc(samples, sizeof(REAL));
            for (int i = 0; i < 4 * AGENTS; i++) hyper[i] = (REAL)0.5 + (REAL)0.1 * hyper[i];
            for (int i = 0; i < AGENTS * BATCH; i++) weight[i] = (REAL)1 / BATCH;
            Updates job = {
                .agents = AGENTS, .updates = UPDATES, .batch = BATCH, .features = FEATURES, .actions = ACTIONS, .delay = 2,
                .counts = counts, .observation = some(samples * FEATURES), .next_observation = some(samples * FEATURES),
                .action = some(samples * ACTIONS), .reward = some(samples), .terminated = terminated, .weight = weight,
                .noise = some(samples * ACTIONS), .discount = hyper, .tau = hyper + AGENTS, .noise_scale = hyper + 2 * AGENTS,
                .noise_limit = hyper + 3 * AGENTS, .value = value, .policy = policy,
                .losses = calloc(UPDATES * AGENTS * MEMBERS, sizeof(REAL)), .values = calloc(samples, sizeof(REAL))};
            const Updates *jobs[] = {&job};
            if (learn(2, 1, jobs)) return 1;
            uint64_t seen = digest(digest(1, value.parameters, AGENTS * MEMBERS * ROOM), policy.parameters, AGENTS * ROOM);
            printf("%d %d %016llx %.9g %.9g\n", (int)kind, normal, (unsigned long long)digest(seen, value.target, AGENTS * MEMBERS * ROOM),
                   job.losses[0], job.losses[UPDATES * AGENTS * MEMBERS - 1]);
        }
    return 0;
}
