/* Perceptrons of different width, depth and activation, one row of parameters after another.
 *
 * A row is one network of one agent. It is computed at its own width: nothing that is padded in
 * the table is multiplied. Lines of scratch matrices are padded with zeros to whole vectors, and as
 * every activation maps 0 to 0, the padding stays zero.
 *
 * Compiled twice, with REAL as float and as double. */

#include "tiles.h"
#include "activations.h"
#include "adam.h"
#include "normalisation.h"
#include "threads.h"
#include "plan.h"

/* What all rows of a pass have in common; `starts` says where each row's kept entries begin. */
typedef struct {
    const Plan *plan;
    int64_t batch, members, widest, largest, apart, x_agent, x_row, extra_agent, extra_row, gradient_apart, size;
    const int64_t *counts, *starts;
    const REAL *parameters, *x, *extra, *grad;
    REAL *out, *keep, *gradient, *flowing;
} Pass;

enum { BLOCK = 256 }; /* samples at a time where nothing is kept, so that a large batch takes no memory */

static int64_t room_forward(const Pass *pass, int64_t block, int kept) {
    return pass->largest + pass->widest * (3 + (kept ? 1 : 5) * block) + padded(block);
}

/* The outputs `out` [count, outputs] of some samples of a row, from sample `first` on. */
static void forward_lines(const Pass *pass, int64_t row, int64_t first, int64_t count, int64_t block, REAL *out,
                          REAL *keep, REAL *memory) {
    const Plan *plan = pass->plan;
    const int64_t *shape = shape_of(plan, row);
    const REAL *own = pass->parameters + row * pass->apart;
    const REAL *x = pass->x + row / pass->members * pass->x_agent + first * pass->x_row;
    const REAL *extra = pass->extra + row / pass->members * pass->extra_agent + first * pass->extra_row;
    int64_t inputs = plan->features + plan->extra, widest = pass->widest, ld = padded(inputs), width = inputs;
    REAL *turned = memory, *bias = turned + pass->largest, *scale = bias + widest, *shift = scale + widest;
    REAL *wide = shift + widest, *lines = wide + block * widest, *spare = lines + 3 * block * widest; /* the last two: unkept */
    REAL *h = keep ? keep : lines, *next = h + count * ld;
    for (int64_t b = 0; b < count; b++) {
        copy(h + b * ld, x + b * pass->x_row, plan->features);
        copy(h + b * ld + plan->features, extra + b * pass->extra_row, plan->extra);
        clear(h + b * ld + inputs, ld - inputs);
    }
    for (int64_t l = 0; l < shape[DEPTH]; l++) {
        const int64_t *where = shape + LAYERS + OF_LAYER * l, units = UNITS_OF(shape, l), to = padded(units);
        transpose(own + where[WEIGHT], units, width, turned, to);
        fill(bias, own + where[BIAS], units, to);
        REAL *normal = spare, *inverse = spare + block * widest;
        if (keep && NORMALISED(plan)) normal = next, inverse = next + count * to, next = inverse + padded(count);
        REAL *z = keep ? next : lines + (1 + l % 2) * block * widest;
        int rectified = where[KIND] == RELU && !NORMALISED(plan);
        product(count, to, width, (Matrix){h, ld, 1}, turned, to, (Around){.bias = bias, .rectified = rectified}, z, to);
        if (NORMALISED(plan)) {
            fill(scale, own + where[SCALE], units, to);
            fill(shift, own + where[SHIFT], units, to);
            normalise(z, count, units, to, scale, shift, normal, inverse);
        }
        REAL *after = keep && READS_INPUT(where[KIND]) ? z + count * to : z;
        if (!rectified) activate((int)where[KIND], z, after, count * to);
        next = after + count * to;
        h = after, ld = to, width = units;
    }
    const REAL *head = own + shape[OUT_WEIGHT], *level = own + shape[OUT_BIAS];
    int64_t o_ld = padded(plan->outputs);
    if (plan->outputs * 2 * sizeof(REAL) < 64) { /* a few outputs: dot products, whose results lie one behind the other */
        for (int64_t o = 0; o < plan->outputs; o++) fill(turned + o * ld, head + o * width, width, ld);
        int64_t all = count * plan->outputs;
        REAL levels[64 / sizeof(REAL)]; /* again and again: four results may begin at any output */
        for (int64_t o = 0; o < plan->outputs + 4; o++) levels[o] = level[o % plan->outputs];
        for (int64_t i = 0, b = 0, o = 0; i < all; i += 4) {
            const REAL *lines_of[4], *weights[4];
            const four *beside = (const four *)(levels + o);
            for (int j = 0; j < 4; j++) {
                lines_of[j] = h + (b < count ? b : 0) * ld, weights[j] = turned + o * ld;
                if (++o == plan->outputs) o = 0, b++;
            }
            four found = dot_products(ld, lines_of, weights) + *beside;
            if (i + 4 <= all) *(four *)(out + i) = found;
            else copy(out + i, (const REAL *)&found, all - i);
        }
    } else {
        transpose(head, plan->outputs, width, turned, o_ld);
        fill(bias, level, plan->outputs, o_ld);
        product(count, o_ld, width, (Matrix){h, ld, 1}, turned, o_ld, (Around){.bias = bias}, wide, o_ld);
        for (int64_t b = 0; b < count; b++) copy(out + b * plan->outputs, wide + b * o_ld, plan->outputs);
    }
}

static int forward_row(const void *job, int64_t row) {
    const Pass *pass = job;
    int64_t count = pass->counts ? pass->counts[row] : pass->batch, outputs = pass->plan->outputs;
    int64_t block = pass->keep || count < BLOCK ? count : BLOCK;
    REAL *memory = scratch(WORK, room_forward(pass, block, pass->keep != NULL));
    REAL *out = pass->out + row * pass->batch * outputs, *keep = pass->keep ? pass->keep + pass->starts[row] : NULL;
    if (!memory) return 1;
    for (int64_t first = 0; first < count; first += block) {
        int64_t lines = count - first < block ? count - first : block;
        forward_lines(pass, row, first, lines, block, out + first * outputs, keep, memory);
    }
    memset(out + count * outputs, 0, (pass->batch - count) * outputs * sizeof(REAL));
    return 0;
}

/* Where the kept entries of each row begin. */
static void lay_out(const Plan *plan, int64_t rows, int64_t batch, int64_t *starts) {
    for (int64_t row = 0, at = 0; row < rows; at += kept_by(plan, row, batch), row++) starts[row] = at;
}

/* Outputs [rows, batch, outputs].
 * `x` is [agents, batch, features] and `extra` [agents, batch, extra], each read by `members` rows in
 * turn; `counts` is how many of a row's samples are its own, the outputs of the others being 0, or NULL
 * where all are; `keep` is [kept(...)] or NULL where no gradient is wanted. Gives how many rows lacked
 * memory. */
int forward(const Plan *plan, int64_t threads, int64_t rows, int64_t batch, const int64_t *counts, int64_t members,
            const REAL *parameters, int64_t apart, const REAL *x, int64_t x_agent, int64_t x_row,
            const REAL *extra, int64_t extra_agent, int64_t extra_row, REAL *out, REAL *keep) {
    int64_t starts[rows];
    lay_out(plan, rows, batch, starts);
    Pass pass = {.plan = plan, .batch = batch, .members = members, .widest = widest_of(plan, rows),
                 .largest = largest_of(plan, rows), .apart = apart, .x_agent = x_agent, .x_row = x_row, .extra_agent = extra_agent, .extra_row = extra_row,
                 .counts = counts, .starts = starts, .parameters = parameters, .x = x, .extra = extra,
                 .out = out, .keep = keep};
    return spread(threads, rows, forward_row, &pass);
}

/* The sums of the columns of g [batch, ld]. */
static void sum_columns(const REAL *g, int64_t batch, int64_t ld, REAL *to) {
    for (int64_t j = 0; j < ld; j += WIDTH) {
        vec sum = {0};
        for (int64_t b = 0; b < batch; b++) sum += *(const vec *)(g + b * ld + j);
        *(vec *)(to + j) = sum;
    }
}

/* Rows of w [units, inputs] padded with zeros; w itself where they are whole vectors. */
static const REAL *widen(const REAL *w, int64_t length, int64_t units, int64_t inputs, REAL *to, int64_t ld) {
    if (length == ld) return w;
    for (int64_t u = 0; u < units; u++) fill(to + u * ld, w + u * length, inputs, ld);
    return to;
}

/* The gradient of a weight [units, inputs] from that of its outputs, g [batch, ld], and its inputs h. */
static void outer(int64_t batch, Matrix g, int64_t units, const REAL *h, int64_t ld, int64_t inputs,
                  REAL *line, REAL *to) {
    if (inputs == ld) {
        product(units, ld, batch, g, h, ld, (Around){0}, to, ld);
        return;
    }
    product(units, ld, batch, g, h, ld, (Around){0}, line, ld);
    for (int64_t u = 0; u < units; u++) copy(to + u * inputs, line + u * ld, inputs);
}

/* What the gradient of a layer's results is 0 by where its activation is ReLU, whose results are h; NULL for others. */
INLINE const REAL *gate_of(const int64_t *shape, int64_t l, const REAL *h) {
    return shape[LAYERS + OF_LAYER * l + KIND] == RELU ? h : NULL;
}

static int64_t room_backward(const Pass *pass, int64_t count) { return 2 * (pass->largest + pass->widest * (1 + count)); }

/* The gradients of a row's parameters, into `slots` but where nothing belongs, and of its extra inputs, into
 * `flowing` [count, extra], from that of its outputs, g [count, outputs]. Either may be NULL. */
static void backward_lines(const Pass *pass, int64_t row, int64_t count, const REAL *keep, const REAL *g, REAL *slots,
                           REAL *flowing, REAL *memory) {
    const Plan *plan = pass->plan;
    int64_t inputs = plan->features + plan->extra, outputs = plan->outputs, widest = pass->widest;
    REAL *packed = memory, *line = packed + pass->largest, *sums = line + pass->largest, *scale = sums + widest;
    const int64_t *shape = shape_of(plan, row), depth = shape[DEPTH];
    const REAL *own = pass->parameters + row * pass->apart;
    const REAL *end[depth + 1]; /* where each layer's entries end, h the last */
    end[0] = keep + count * padded(inputs);
    for (int64_t l = 0; l < depth; l++) end[l + 1] = end[l] + kept_by_layer(plan, shape, l, count);
    int64_t width = UNITS_OF(shape, depth - 1), ld = padded(width);
    const REAL *h = end[depth] - count * ld;
    REAL *here = scale + widest, *below = here + count * widest;
    if (slots) {
        outer(count, (Matrix){g, 1, outputs}, outputs, h, ld, width, line, slots + shape[OUT_WEIGHT]);
        for (int64_t o = 0; o < outputs; o++) {
            REAL sum = 0;
            for (int64_t b = 0; b < count; b++) sum += g[b * outputs + o];
            slots[shape[OUT_BIAS] + o] = sum;
        }
    }
    const REAL *weight = widen(own + shape[OUT_WEIGHT], width, outputs, width, packed, ld);
    product(count, ld, outputs, (Matrix){g, outputs, 1}, weight, ld, (Around){.gate = gate_of(shape, depth - 1, h)}, here, ld);
    for (int64_t l = depth - 1; l >= 0; l--) {
        const int64_t *where = shape + LAYERS + OF_LAYER * l, units = width, from = ld;
        const REAL *z = h - (READS_INPUT(where[KIND]) ? count * from : 0), *normal = end[l], *inverse = normal + count * from;
        if (where[KIND] != RELU) descend((int)where[KIND], here, z, h, count * from);
        width = l ? UNITS_OF(shape, l - 1) : inputs, ld = padded(width);
        h = l ? end[l] - count * ld : keep;
        if (NORMALISED(plan)) {
            sum_columns(here, count, from, sums);
            if (slots) memcpy(slots + where[SHIFT], sums, units * sizeof(REAL));
            fill(scale, own + where[SCALE], units, from);
            unnormalise(here, count, units, from, scale, normal, inverse, sums);
            if (slots) memcpy(slots + where[SCALE], sums, units * sizeof(REAL));
        }
        if (slots) {
            outer(count, (Matrix){here, 1, from}, units, h, ld, width, line, slots + where[WEIGHT]);
            sum_columns(here, count, from, sums);
            memcpy(slots + where[BIAS], sums, units * sizeof(REAL));
        }
        if (l) {
            weight = widen(own + where[WEIGHT], width, units, width, packed, ld);
            product(count, ld, units, (Matrix){here, from, 1}, weight, ld, (Around){.gate = gate_of(shape, l - 1, h)}, below, ld);
        } else if (flowing) {
            int64_t e_ld = padded(plan->extra);
            weight = widen(own + where[WEIGHT] + plan->features, inputs, units, plan->extra, packed, e_ld);
            product(count, e_ld, units, (Matrix){here, from, 1}, weight, e_ld, (Around){0}, below, e_ld);
            for (int64_t b = 0; b < count; b++) copy(flowing + b * plan->extra, below + b * e_ld, plan->extra);
        }
        REAL *swap = here;
        here = below, below = swap;
    }
}

static int backward_row(const void *job, int64_t row) {
    const Pass *pass = job;
    int64_t batch = pass->batch, outputs = pass->plan->outputs, extra = pass->plan->extra;
    int64_t count = pass->counts ? pass->counts[row] : batch;
    REAL *memory = scratch(WORK, room_backward(pass, count));
    REAL *slots = pass->gradient ? pass->gradient + row * pass->gradient_apart : NULL;
    REAL *flowing = pass->flowing ? pass->flowing + row * batch * extra : NULL;
    if (!memory) return 1;
    if (slots) memset(slots, 0, pass->size * sizeof(REAL));
    backward_lines(pass, row, count, pass->keep + pass->starts[row], pass->grad + row * batch * outputs, slots, flowing, memory);
    if (flowing) memset(flowing + count * extra, 0, (batch - count) * extra * sizeof(REAL));
    return 0;
}

/* Gradients from that of the outputs, grad [rows, batch, outputs]. `gradient` [rows, size] gets that of
 * the parameters, zero where a row has none; `flowing` [rows, batch, extra] that of the extra inputs.
 * Either may be NULL, and `counts` is that of the forward pass. Gives how many rows lacked memory. */
int backward(const Plan *plan, int64_t threads, int64_t rows, int64_t batch, const int64_t *counts,
             const REAL *parameters, int64_t apart, REAL *keep, const REAL *grad, REAL *gradient,
             int64_t gradient_apart, int64_t size, REAL *flowing) {
    int64_t starts[rows];
    lay_out(plan, rows, batch, starts);
    Pass pass = {.plan = plan, .batch = batch, .widest = widest_of(plan, rows), .largest = largest_of(plan, rows),
                 .apart = apart, .counts = counts, .starts = starts, .parameters = parameters, .grad = grad, .keep = keep, .gradient = gradient,
                 .gradient_apart = gradient_apart, .size = size, .flowing = flowing};
    return spread(threads, rows, backward_row, &pass);
}

#include "quantiles.h"
#include "regression.h"
#include "td_updates.h"
#include "rollout_updates.h"
