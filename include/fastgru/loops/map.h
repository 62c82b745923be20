/* map: elementwise programs over the loops of a frame op, and copies. gather: rows by number.
 *
 * A chunk is as many whole innermost loops as fit FG_CHUNK elements, or a part of one. Operands that lie packed there
 * are read in place, a repeated element is one vector, others are packed first; each instruction then runs over the
 * whole chunk, the last one into the output.
 */
#ifndef FASTGRU_MAP_H
#define FASTGRU_MAP_H

#include "fastgru/math/elementary.h"
#include "nest.h"
#include "fastgru/math/vmath.h"

/* What an instruction reads: element i is at[i & mask]. */
typedef struct {
  const real *at;
  fg_idx mask;
} fg_source;
FG_INLINE const real *source(const fg_source *s, fg_idx i) { return s->at + (i & s->mask); }

typedef void micro_fn(real *out, const fg_source *a, const fg_source *b, const fg_source *c, const fg_micro *op,
                      fg_idx n);

FG_INLINE vr truth(vi mask) { return (vr)(mask & (vi)splat(1)); }

FG_INLINE vr lane_sqrt(vr x) {
  real s[FG_LANES];
  memcpy(s, &x, sizeof s);
  for (int i = 0; i < FG_LANES; i++) s[i] = square_root(s[i]);
  memcpy(&x, s, sizeof s);
  return x;
}

#define FG_ALL_WHOLE ((real)((whole)1 << FG_MANTISSA)) /* from here on every number is */
FG_INLINE vr nearest(vr x) {
  const vr unit = with_sign_of(splat(FG_ALL_WHOLE), x);
  return pick(magnitude(x) < FG_ALL_WHOLE, with_sign_of((x + unit) - unit, x), x);
}
FG_INLINE vr floor_of(vr x) {
  const vr r = nearest(x);
  return with_sign_of(r - truth(r > x), x);
}
FG_INLINE vr trunc_of(vr x) { return with_sign_of(floor_of(magnitude(x)), x); }

/* The remainder of magnitudes, exact: division bit by bit. */
static real remainder_of(real a, real b) {
  if (!(a < __builtin_inf()) || b != b || b == 0) return (a - a) / (a - a);
  if (a < b) return a;
  real part = b;
  while (part <= a * (real)0.5) part += part;
  for (; part >= b; part *= (real)0.5)
    if (a >= part) a -= part;
  return a;
}

FG_INLINE vr fmod_of(vr a, vr b) {
  vr r = magnitude(a), d = magnitude(b);
  for (int i = 0; i < FG_LANES; i++) r[i] = remainder_of(r[i], d[i]);
  return with_sign_of(r, a);
}

FG_INLINE vr mod_of(vr a, vr b) {
  const vr r = fmod_of(a, b);
  return pick(r == 0, with_sign_of(r, b), pick((r < 0) ^ (b < 0), r + b, r));
}

#define FG_MICRO(name, formula)                                                                           \
  static void name(real *out, const fg_source *sa, const fg_source *sb, const fg_source *sc, const fg_micro *op, \
                   fg_idx n) {                                                                            \
    fg_idx i = 0;                                                                                         \
    (void)op, (void)sb, (void)sc;                                                                         \
    for (; i + FG_LANES <= n; i += FG_LANES) {                                                            \
      const vr a = load(source(sa, i)), b = load(source(sb, i)), c = load(source(sc, i));                             \
      (void)b, (void)c;                                                                                   \
      store(out + i, formula);                                                                            \
    }                                                                                                     \
    if (i < n) {                                                                                          \
      const vr a = load_some(source(sa, i), n - i), b = load_some(source(sb, i), n - i);                  \
      const vr c = load_some(source(sc, i), n - i);                                                       \
      (void)b, (void)c;                                                                                   \
      store_some(out + i, formula, n - i);                                                                \
    }                                                                                                     \
  }

/* function, name, value from a, b, c: vectors */
#define FG_MICROS(row)                                                                   \
  row(FG_LINEAR, micro_linear, a)                                                        \
  row(FG_SIGMOID, micro_sigmoid, fg_sigmoid(a))                                          \
  row(FG_TANH, micro_tanh, fg_tanh(a))                                                   \
  row(FG_RELU, micro_relu, at_least(a, 0))                                               \
  row(FG_AFFINE, micro_affine, a * (real)op->alpha + (real)op->beta)                     \
  row(FG_ADD, micro_add, a + b)                                                          \
  row(FG_SUB, micro_sub, a - b)                                                          \
  row(FG_MUL, micro_mul, a * b)                                                          \
  row(FG_DIV, micro_div, a / b)                                                          \
  row(FG_MIN, micro_min, pick((a < b) | (a != a), a, b))                                 \
  row(FG_MAX, micro_max, pick((a > b) | (a != a), a, b))                                 \
  row(FG_MOD, micro_mod, mod_of(a, b))                                                   \
  row(FG_FMOD, micro_fmod, fmod_of(a, b))                                                \
  row(FG_EQUAL, micro_equal, truth(a == b))                                              \
  row(FG_LESS, micro_less, truth(a < b))                                                 \
  row(FG_LESS_EQUAL, micro_less_equal, truth(a <= b))                                    \
  row(FG_GREATER, micro_greater, truth(a > b))                                           \
  row(FG_GREATER_EQUAL, micro_greater_equal, truth(a >= b))                              \
  row(FG_AND, micro_and, truth((a != 0) & (b != 0)))                                     \
  row(FG_OR, micro_or, truth((a != 0) | (b != 0)))                                       \
  row(FG_XOR, micro_xor, truth((a != 0) ^ (b != 0)))                                     \
  row(FG_WHERE, micro_where, pick(a != 0, b, c))                                         \
  row(FG_NEG, micro_neg, -a)                                                             \
  row(FG_ABS, micro_abs, magnitude(a))                                                   \
  row(FG_SQRT, micro_sqrt, lane_sqrt(a))                                                 \
  row(FG_EXP, micro_exp, fg_whole_exp(a))                                                \
  row(FG_LOG, micro_log, fg_log(a, a))                                                   \
  row(FG_RECIPROCAL, micro_reciprocal, (real)1 / a)                                      \
  row(FG_FLOOR, micro_floor, floor_of(a))                                                \
  row(FG_CEIL, micro_ceil, -floor_of(-a))                                                \
  row(FG_ROUND, micro_round, nearest(a))                                                 \
  row(FG_TRUNC, micro_trunc, trunc_of(a))                                                \
  row(FG_SIGN, micro_sign, pick(a > 0, splat(1), pick(a < 0, splat(-1), a)))             \
  row(FG_SIN, micro_sin, fg_sin(a, a))                                                   \
  row(FG_COS, micro_cos, fg_cos(a, a))                                                   \
  row(FG_ERF, micro_erf, fg_erf(a))                                                      \
  row(FG_ATAN, micro_atan, fg_atan2(a, splat(1)))                                        \
  row(FG_ATAN2, micro_atan2, fg_atan2(a, b))                                             \
  row(FG_NOT, micro_not, truth(a == 0))                                                  \
  row(FG_ISNAN, micro_isnan, truth(a != a))
#define FG_DEFINE(function, name, formula) FG_MICRO(name, formula)
FG_MICROS(FG_DEFINE)

static void micro_activation(real *out, const fg_source *a, const fg_source *b, const fg_source *c, const fg_micro *op,
                             fg_idx n) {
  const fg_act act = {op->function, op->alpha, op->beta};
  (void)b, (void)c;
  for (fg_idx i = 0; i < n; i += FG_LANES) {
    const real *x = source(a, i);
    store_lanes(out + i, 1, fg_activation(&act, load_lanes(FG_PACKED, x, 1, n - i)), n - i);
  }
}

static void micro_fake_quantize(real *out, const fg_source *a, const fg_source *b, const fg_source *c,
                                const fg_micro *op, fg_idx n) {
  const fg_codes codes = codes_of((real)op->alpha, (real)op->beta);
  fg_idx i = 0;
  (void)b, (void)c;
  for (; i + FG_LANES <= n; i += FG_LANES) store(out + i, fg_fake_quantize(load(source(a, i)), &codes));
  if (i < n) store_some(out + i, fg_fake_quantize(load_some(source(a, i), n - i), &codes), n - i);
}

FG_MICRO(micro_square, a * a)
FG_MICRO(micro_root, pick(a == -(real)__builtin_inf(), -a, lane_sqrt(a + 0)))
FG_MICRO(micro_any_power, pick(b == 2, a * a, pick((b == (real)0.5) & (a > 0), lane_sqrt(a), fg_pow(a, b))))
static void micro_power(real *out, const fg_source *a, const fg_source *b, const fg_source *c, const fg_micro *op,
                        fg_idx n) {
  const real exponent = b->mask ? 0 : *b->at; /* of all elements alike */
  (exponent == 2 ? micro_square : exponent == (real)0.5 ? micro_root : micro_any_power)(out, a, b, c, op, n);
}

#define FG_ENTRY(function, name, formula) [function] = name,
static micro_fn *const micros[FG_FUNCTIONS] = {
    FG_MICROS(FG_ENTRY)[FG_POW] = micro_power,
    [FG_FAKE_QUANTIZE] = micro_fake_quantize,
    [FG_HARD_SIGMOID] = micro_activation,
    [FG_SOFTSIGN] = micro_activation,
    [FG_SOFTPLUS] = micro_activation,
    [FG_ELU] = micro_activation,
    [FG_LEAKY_RELU] = micro_activation,
    [FG_THRESHOLDED_RELU] = micro_activation,
    [FG_SCALED_TANH] = micro_activation,
    [FG_FAST_SIGMOID] = micro_activation,
    [FG_FAST_TANH] = micro_activation,
};

/* A running program. */
typedef struct {
  const fg_micro *program;
  int n, operands;
  fg_walk walks[2][FG_OPERANDS]; /* of a whole chunk, and of the last of the loop that chunks split */
  const real *held[FG_OPERANDS]; /* what a register was packed from */
  real registers[FG_OPERANDS + FG_PROGRAM][FG_CHUNK] __attribute__((aligned(64)));
} map_job;

static void map_chunk(map_job *job, int last, real *const *p, fg_idx n) {
  fg_source sources[FG_OPERANDS + FG_PROGRAM];
  const fg_walk *walks = job->walks[last];
  for (int o = 1; o < job->operands; o++) {
    fg_source *s = &sources[o - 1];
    const int repeated = walks[o].rank == 1 && walks[o].strides[0] == 0;
    *s = (fg_source){job->registers[o - 1], repeated ? 0 : -1};
    if (lies_packed(&walks[o])) s->at = p[o];
    else if (repeated) store(job->registers[o - 1], splat(*p[o]));
    else if (job->held[o] != p[o] || last) take(job->registers[o - 1], p[o], &walks[o], 0);
    job->held[o] = last ? NULL : p[o];
  }
  const int first = job->operands - 1, packed = lies_packed(&walks[0]);
  for (int i = 0; i < job->n; i++) {
    const fg_micro *op = &job->program[i];
    real *to = i + 1 == job->n && packed ? p[0] : job->registers[first + i];
    micros[op->function](to, &sources[op->a], &sources[op->b], &sources[op->c], op, n);
    sources[first + i] = (fg_source){to, -1};
  }
  if (!packed) put(p[0], sources[first + job->n - 1].at, &walks[0], 0);
}

/* One loop of a copy. */
typedef struct {
  fg_idx n, to, from;
} fg_copy;

#ifndef FG_DOUBLE
/* Four rows of four become four columns; both lie packed. Element by element, squares of 16 and 258 x 4 took
 * three times as long (Zen 3). */
FG_INLINE void transpose_four(real *out, fg_idx to, const real *x, fg_idx from) {
  typedef float v4 __attribute__((vector_size(16), may_alias, aligned(4)));
#if defined(__clang__)
#define FG_FOUR(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
  typedef int32_t v4i __attribute__((vector_size(16)));
#define FG_FOUR(a, b, ...) __builtin_shuffle(a, b, (v4i){__VA_ARGS__})
#endif
  const v4 a = *(const v4 *)x, b = *(const v4 *)(x + from), c = *(const v4 *)(x + 2 * from), d = *(const v4 *)(x + 3 * from);
  const v4 ab = FG_FOUR(a, b, 0, 4, 1, 5), cd = FG_FOUR(c, d, 0, 4, 1, 5);
  const v4 AB = FG_FOUR(a, b, 2, 6, 3, 7), CD = FG_FOUR(c, d, 2, 6, 3, 7);
  *(v4 *)out = FG_FOUR(ab, cd, 0, 1, 4, 5), *(v4 *)(out + to) = FG_FOUR(ab, cd, 2, 3, 6, 7);
  *(v4 *)(out + 2 * to) = FG_FOUR(AB, CD, 0, 1, 4, 5), *(v4 *)(out + 3 * to) = FG_FOUR(AB, CD, 2, 3, 6, 7);
#undef FG_FOUR
}
#endif

/* A square of a transposition: r and c are its loops. */
static void copy_square(real *out, const real *x, fg_copy r, fg_copy c) {
  fg_idx i = 0;
#ifndef FG_DOUBLE
  if (r.from == 1 && c.to == 1)
    for (; i + 4 <= r.n; i += 4) {
      fg_idx j = 0;
      for (; j + 4 <= c.n; j += 4)
        transpose_four(out + i * r.to + j, r.to, x + i + j * c.from, c.from);
      for (; j < c.n; j++)
        for (fg_idx k = i; k < i + 4; k++) out[k * r.to + j] = x[k + j * c.from];
    }
#endif
  for (; i < r.n; i++)
    for (fg_idx j = 0; j < c.n; j++) out[i * r.to + j * c.to] = x[i * r.from + j * c.from];
}

/* out[i, j] = x[j, i], by squares that stay in the L1 cache. */
static void copy_transposed(real *out, const real *x, const fg_nest *nest, int d) {
  enum { SIDE = 16 };
  fg_copy r = {nest->dims[d], nest->strides[0][d], nest->strides[1][d]};
  fg_copy c = {nest->dims[d + 1], nest->strides[0][d + 1], nest->strides[1][d + 1]};
  if (r.to == 1) {
    const fg_copy other = r;
    r = c, c = other;
  }
  for (fg_idx i = 0; i < r.n; i += SIDE)
    for (fg_idx j = 0; j < c.n; j += SIDE)
      copy_square(out + i * r.to + j * c.to, x + i * r.from + j * c.from,
                  (fg_copy){smaller(SIDE, r.n - i), r.to, r.from}, (fg_copy){smaller(SIDE, c.n - j), c.to, c.from});
}

/* By rows, or by squares where the two last loops are a transposition. */
static void copy_loops(real *out, const real *x, const fg_nest *nest, int d) {
  const fg_idx n = nest->dims[d], to = nest->strides[0][d], from = nest->strides[1][d];
  const int rows = d + 2 == nest->rank && nest->strides[0][d + 1] == 1 && nest->strides[1][d + 1] == 1;
  if (d + 2 == nest->rank && !rows && (to == 1 || from == 1))
    copy_transposed(out, x, nest, d);
  else if (d + 1 < nest->rank)
    for (fg_idx i = 0; i < n; i++) copy_loops(out + i * to, x + i * from, nest, d + 1);
  else
    copy_run(out, to, x, from, n);
}

static void copy(fg_nest *nest, real *out, const real *x) {
  nest->outer = nest->rank - 1;
  for (int d = 0; d < nest->outer; d++)
    if (nest->strides[1][d] == 1) move_inside(nest, d); /* beside the loop in which the output lies packed */
  copy_loops(out, x, nest, 0);
}

/* A single element, of which no loop is left, is a loop of one. */
static void keep_a_loop(fg_nest *nest) {
  if (nest->rank > 0) return;
  nest->rank = nest->outer = 1, nest->dims[0] = 1;
  for (int o = 0; o < nest->operands; o++) nest->strides[o][0] = 1;
}

/* One loop whose output lies packed, and every operand packed or repeated (`each` 1 or 0): what a recurrence over time
 * runs at each step. */
static void run_flat(const fg_micro *program, int n, int operands, fg_idx size, void *const *at, const fg_idx *each) {
  real registers[FG_PROGRAM][FG_CHUNK] __attribute__((aligned(64)));
  real repeated[FG_OPERANDS][FG_LANES] __attribute__((aligned(64)));
  fg_source sources[FG_OPERANDS + FG_PROGRAM];
  const int first = operands - 1;
  real *out = (real *)at[0];
  if (size == 0) return;
  for (int o = 0; o < first; o++) {
    sources[o] = (fg_source){(const real *)at[o + 1], -each[o + 1]};
    if (sources[o].mask) continue;
    store(repeated[o], splat(*sources[o].at));
    sources[o].at = repeated[o];
  }
  if (n == 0 && each[1]) memcpy(out, at[1], (size_t)size * sizeof(real));
  else if (n == 0)
    for (fg_idx i = 0; i < size; i++) out[i] = *sources[0].at;
  for (fg_idx left = n > 0 ? size : 0; left > 0; left -= FG_CHUNK) {
    const fg_idx some = smaller(left, FG_CHUNK);
    for (int i = 0; i < n; i++) {
      const fg_micro *op = &program[i];
      real *to = i + 1 == n ? out : registers[i];
      micros[op->function](to, &sources[op->a], &sources[op->b], &sources[op->c], op, some);
      sources[first + i] = (fg_source){to, -1};
    }
    for (int o = 0; o < first; o++) sources[o].at += FG_CHUNK & sources[o].mask;
    out += FG_CHUNK;
  }
}

/* A line made ready for many steps: of no more elements than a chunk. */
typedef struct {
  fg_source sources[FG_OPERANDS + FG_PROGRAM];
  real repeated[FG_OPERANDS][FG_LANES] __attribute__((aligned(64)));
} ready_line;

static void make_ready(ready_line *r, const fg_line *l, real (*registers)[FG_CHUNK]) {
  const int first = l->operands - 1;
  for (int o = 0; o < first; o++) r->sources[o] = (fg_source){r->repeated[o], -l->each[o + 1]};
  for (int i = 0; i < l->n; i++) r->sources[first + i] = (fg_source){registers[i], -1};
}

FG_INLINE void run_ready(ready_line *r, fg_line *l) {
  const int first = l->operands - 1, last = l->n - 1;
  fg_source *s = r->sources;
  real *out = (real *)l->at[0];
  l->at[0] = out + l->moves[0];
  for (int o = 0; o < first; o++) {
    const real *x = (const real *)l->at[o + 1];
    if (s[o].mask) s[o].at = x;
    else store(r->repeated[o], splat(*x)); /* anew at each step: it may be a state */
    l->at[o + 1] = (void *)(x + l->moves[o + 1]);
  }
  for (int i = 0; i <= last; i++) {
    const fg_micro *op = &l->program[i];
    real *to = i == last ? out : (real *)s[first + i].at;
    micros[op->function](to, &s[op->a], &s[op->b], &s[op->c], op, l->size);
  }
  if (last < 0 && s->mask) memcpy(out, s->at, (size_t)l->size * sizeof(real));
  else if (last < 0)
    for (fg_idx i = 0; i < l->size; i++) out[i] = *s->at;
}

static void lines(fg_line *line, int count, fg_idx steps) {
  ready_line ready[FG_LINES];
  real registers[FG_PROGRAM][FG_CHUNK] __attribute__((aligned(64)));
  int small = steps > 1;
  for (int i = 0; i < count; i++) small &= line[i].size > 0 && line[i].size <= FG_CHUNK;
  for (int i = 0; i < count && small; i++) make_ready(&ready[i], &line[i], registers);
  for (fg_idx t = 0; t < steps; t++)
    for (int i = 0; i < count; i++) {
      fg_line *l = &line[i];
      if (small) {
        run_ready(&ready[i], l);
        continue;
      }
      run_flat(l->program, l->n, l->operands, l->size, l->at, l->each);
      for (int o = 0; o < l->operands; o++) l->at[o] = (real *)l->at[o] + l->moves[o];
    }
}

/* Whether the nest is one such loop. Finding it by the walks of map took longer than 64 elements do. */
FG_INLINE int flat(const fg_nest *nest, fg_idx *each) {
  int found = nest->rank == 1 && nest->strides[0][0] == 1;
  for (int o = 0; o < nest->operands; o++) {
    each[o] = nest->strides[o][0];
    found &= each[o] == 0 || each[o] == 1;
  }
  return found;
}

static void map(const fg_nest *given, const fg_micro *program, int n, void *const *operands) {
  fg_nest nest;
  map_job job;
  real *p[FG_OPERANDS] = {0};
  fg_idx at[FG_RANK] = {0}, size = 1, each[FG_OPERANDS];
  if (flat(given, each)) {
    run_flat(program, n, given->operands, given->dims[0], operands, each);
    return;
  }
  if (elements(given, 0, given->rank) == 0) return;
  simplify(given, &nest);
  keep_a_loop(&nest);
  for (int o = 0; o < nest.operands; o++) p[o] = (real *)operands[o];
  if (n == 0) {
    copy(&nest, p[0], p[1]);
    return;
  }
  /* The loop that chunks split: outside of those that together are shorter than four cache lines. */
  int split = nest.rank - 1;
  while (split > 0 && size * nest.dims[split] < FG_CHUNK / 4) size *= nest.dims[split--];
  const fg_idx length = nest.dims[split], step = smaller(length, FG_CHUNK / size), rest = length % step;
  job.program = program, job.n = n, job.operands = nest.operands;
  for (int o = 0; o < nest.operands; o++) {
    nest.dims[split] = step, walk_of(&nest, o, split, nest.rank, &job.walks[0][o]);
    nest.dims[split] = rest, walk_of(&nest, o, split, nest.rank, &job.walks[1][o]);
    job.held[o] = NULL;
  }
  do {
    real *q[FG_OPERANDS];
    memcpy(q, p, sizeof q);
    for (fg_idx i = 0; i < length; i += step) {
      const int last = length - i < step;
      map_chunk(&job, last, q, size * (last ? rest : step));
      for (int o = 0; o < nest.operands; o++) q[o] += step * nest.strides[o][split];
    }
  } while (advance(&nest, split, at, p));
}

/* Element `id` of an axis of `count`; sets *outside if there is none. */
FG_INLINE fg_idx element_of(real id, fg_idx count, int *outside) {
  if (id >= (real)-count && id < (real)count) {
    const fg_idx i = (fg_idx)id, at = i < 0 ? i + count : i; /* -0.5 is element 0 */
    if (at >= 0) return at; /* of more than 2**24 elements, -count may have been rounded down */
  }
  *outside = 1;
  return id >= 0 ? count - 1 : 0;
}

static int gather(const fg_nest *given, fg_idx count, fg_idx stride, void *const *operands) {
  fg_nest nest;
  real *p[FG_OPERANDS] = {(real *)operands[0], (real *)operands[1], (real *)operands[2]};
  fg_idx at[FG_RANK] = {0};
  int outside = 0;
  if (elements(given, 0, given->rank) == 0) return 0;
  if (count == 0) return 1;
  simplify(given, &nest);
  keep_a_loop(&nest);
  const int d = nest.rank - 1;
  const fg_idx n = nest.dims[d], to = nest.strides[0][d], from = nest.strides[1][d], ids = nest.strides[2][d];
  do {
    if (ids == 0) {
      const real *row = p[1] + element_of(*p[2], count, &outside) * stride;
      for (fg_idx i = 0; i < n; i++) p[0][i * to] = row[i * from];
    } else {
      for (fg_idx i = 0; i < n; i++)
        p[0][i * to] = p[1][i * from + element_of(p[2][i * ids], count, &outside) * stride];
    }
  } while (advance(&nest, d, at, p));
  return outside;
}

#endif
