/* The kernels of frame ops on one compiler target: random nests against plain loops that keep the documented order of
 * every sum, so that results must agree to the bit, and a hash of all results on the last line.
 * tests/kernels/test_frame_kernels.py builds it together with tests/kernels/frame_kernels.c, whose table is FG_TABLE. */
#include "frame_nests.h"

extern const fg_kernels FG_TABLE;

static real sign_of(real a) { return a > 0 ? 1 : a < 0 ? -1 : a; }
static real floor_mod(real a, real b) {
  const real r = (real)EXACT(fmod)(a, b);
  return r == 0 ? (real)EXACT(copysign)(0, b) : (r < 0) != (b < 0) ? r + b : r;
}

/* Functions of one correct result; what they take from 1 to 3 registers. */
#define PLAIN(row)                                                                                                     \
  row(FG_ADD, a + b) row(FG_SUB, a - b) row(FG_MUL, a * b) row(FG_DIV, a / b) row(FG_MIN, a < b || a != a ? a : b)     \
  row(FG_MAX, a > b || a != a ? a : b) row(FG_MOD, floor_mod(a, b)) row(FG_FMOD, (real)EXACT(fmod)(a, b))              \
  row(FG_EQUAL, a == b) row(FG_LESS, a < b) row(FG_LESS_EQUAL, a <= b) row(FG_GREATER, a > b)                          \
  row(FG_GREATER_EQUAL, a >= b) row(FG_AND, a != 0 && b != 0) row(FG_OR, a != 0 || b != 0)                             \
  row(FG_XOR, (a != 0) != (b != 0)) row(FG_WHERE, a != 0 ? b : c) row(FG_NEG, -a) row(FG_ABS, (real)EXACT(fabs)(a))    \
  row(FG_SQRT, ROOT(a)) row(FG_RECIPROCAL, 1 / a) row(FG_FLOOR, (real)EXACT(floor)(a))                    \
  row(FG_CEIL, (real)EXACT(ceil)(a)) row(FG_ROUND, (real)EXACT(nearbyint)(a)) row(FG_TRUNC, (real)EXACT(trunc)(a))     \
  row(FG_SIGN, sign_of(a)) row(FG_NOT, a == 0) row(FG_ISNAN, a != a) row(FG_LINEAR, a) row(FG_RELU, a < 0 ? 0 : a)
#define CODE(function, value) function,
#define VALUE(function, value) case function: return value;
static const int plain[] = {PLAIN(CODE)};

static real value_of(int function, real a, real b, real c) {
  switch (function) {
    PLAIN(VALUE)
    default: abort();
  }
}

static void check_map(void) {
  void *p[FG_OPERANDS];
  fg_nest nest = random_nest(2 + random_below(4), 0);
  fg_micro program[FG_PROGRAM];
  const int reads = nest.operands - 1, n = random_below(20) == 0 ? FG_PROGRAM : random_below(5);
  for (int i = 0; i < n; i++) {
    const int registers = reads + i, function = plain[random_below(sizeof plain / sizeof plain[0])];
    program[i] = (fg_micro){function, random_below(registers), random_below(registers), random_below(registers), 0, 0};
  }
  const int in_place = random_below(4) == 0;
  if (in_place) memcpy(nest.strides[1], nest.strides[0], sizeof nest.strides[0]);
  fill(p, nest.operands, 0);
  if (in_place) memcpy(buffers[1], buffers[0], sizeof buffers[0]), p[1] = p[0];
  EACH_OUTPUT(i) {
    real r[FG_OPERANDS + FG_PROGRAM];
    for (int o = 0; o < reads; o++) r[o] = AT(o + 1, i, 0);
    for (int k = 0; k < n; k++)
      r[reads + k] = value_of(program[k].function, r[program[k].a], r[program[k].b], r[program[k].c]);
    WANTED(i) = r[n ? reads + n - 1 : 0];
  }
  tighten(&nest, p, 0);
  FG_TABLE.map(&nest, program, n, p);
  loosen(&nest, p);
  compare("map", &nest);
}

static real fold_value(int function, real lane, real x) {
  switch (function) {
    case FG_FOLD_MAX: return x > lane || x != x ? x : lane;
    case FG_FOLD_MIN: return x < lane || x != x ? x : lane;
    case FG_FOLD_PROD: return lane * x;
    case FG_FOLD_SUM_SQUARE: return FUSED(x, x, lane);
    case FG_FOLD_SUM_ABS: return lane + (real)EXACT(fabs)(x);
    default: return lane + x;
  }
}

static real fold_tree(int function, real *lanes) {
  if (function >= FG_FOLD_SUM_SQUARE) function = FG_FOLD_SUM;
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] = fold_value(function, lanes[i], lanes[i + half]);
  return lanes[0];
}

static void check_reduce(void) {
  void *p[FG_OPERANDS];
  const fg_nest nest = random_nest(2, FG_RANK);
  const int function = random_below(6);
  const real start[] = {0, -INFINITY, INFINITY, 1, 0, 0};
  fill(p, 2, 0);
  EACH_OUTPUT(i) {
    real lanes[16];
    for (int j = 0; j < 16; j++) lanes[j] = start[function];
    for (fg_idx k = 0; k < count(&nest, nest.outer, nest.rank); k++)
      lanes[k % 16] = fold_value(function, lanes[k % 16], AT(1, i, k));
    WANTED(i) = fold_tree(function, lanes);
  }
  tighten(&nest, p, 0);
  FG_TABLE.reduce(&nest, function, p);
  loosen(&nest, p);
  compare((const char *[]){"sum", "max", "min", "prod", "sum of squares", "sum of magnitudes"}[function], &nest);
}

static void check_arg_reduce(void) {
  void *p[FG_OPERANDS];
  const fg_nest nest = random_nest(2, 1);
  const int least = random_below(2), last = random_below(2);
  if (nest.outer + 1 != nest.rank || nest.dims[nest.outer] == 0) return;
  fill(p, 2, 0);
  for (int i = 0; i < BUFFER && random_below(2); i++) buffers[1][i] = (real)(int)buffers[1][i]; /* ties */
  EACH_OUTPUT(i) {
    real best = AT(1, i, 0), at = 0;
    for (fg_idx k = 1; k < nest.dims[nest.outer]; k++) {
      const real x = AT(1, i, k);
      const int equal = x == best || (x != x && best != best), better = least ? x < best : x > best;
      if (equal ? last : best == best && (better || x != x)) best = x, at = (real)k;
    }
    WANTED(i) = at;
  }
  tighten(&nest, p, 0);
  FG_TABLE.arg_reduce(&nest, least, last, p);
  loosen(&nest, p);
  compare("arg_reduce", &nest);
}

static void check_gather(void) {
  void *p[FG_OPERANDS];
  const fg_nest nest = random_nest(3, 0);
  const int size = 1 + random_below(9), wild = random_below(4) == 0;
  const fg_idx stride = random_below(30) - 10;
  int outside = 0;
  fill(p, 3, 1);
  for (int i = 0; i < BUFFER; i++) buffers[2][i] = (real)(random_below(2 * size + 4 * wild) - size - 2 * wild);
  EACH_OUTPUT(i) {
    fg_idx id = (fg_idx)AT(2, i, 0);
    outside |= id < -size || id >= size;
    id = id >= size ? size - 1 : id >= 0 ? id : id < -size ? 0 : id + size;
    WANTED(i) = (&AT(1, i, 0))[id * stride];
  }
  tighten(&nest, p, size * (stride < 0 ? -stride : stride));
  const int got = FG_TABLE.gather(&nest, size, stride, p);
  loosen(&nest, p);
  if (got != outside) fail("gather's result", &nest, 0, (real)got, (real)outside);
  compare("gather", &nest);
}

/* Half of the time as the kernels like it: both factors packed or repeated along a loop of their choice. */
static void lay_out_product(fg_nest *nest) {
  const int along = random_below(2) ? nest->outer - 1 : nest->rank - 1;
  if (along < 0 || random_below(2)) return;
  const int step = 1 + (random_below(4) == 0);
  for (int o = 1; o <= 2; o++) {
    fg_idx size = nest->dims[along] * step;
    for (int d = nest->rank - 1; d >= 0; d--) {
      const int unused = d == along ? 0 : random_below(3) == 0;
      nest->strides[o][d] = unused ? 0 : d == along ? step : size;
      if (d != along && !unused) size *= nest->dims[d];
    }
  }
  if (along >= nest->outer && nest->outer > 0 && random_below(3) == 0) /* windows, one to three elements apart */
    nest->strides[1][nest->outer - 1] = 1 + random_below(3);
  if (along < nest->outer && random_below(3)) nest->strides[1 + random_below(2)][along] = 0;
}

static int lies_packed(const fg_nest *nest, int o) {
  fg_idx size = 1;
  for (int d = nest->rank - 1; d >= nest->outer; size *= nest->dims[d--])
    if (nest->dims[d] != 1 && nest->strides[o][d] != size) return 0;
  return 1;
}

static real product_sum(const fg_nest *given, fg_idx i, real bias, exact *size) {
  const fg_nest nest = *given;
  const fg_idx *along = nest.outer ? &nest.strides[0][nest.outer - 1] : NULL, a = along ? along[FG_RANK] : 0;
  const fg_idx b = along ? along[2 * FG_RANK] : 0;
  const int across = a == 1 || a == 2 || b == 1 || b == 2;
  const int dot = !across && lies_packed(&nest, 1) && lies_packed(&nest, 2);
  real lanes[16] = {0}, total = bias, part = 0;
  const fg_idx K = count(&nest, nest.outer, nest.rank);
  exact sum = bias;
  *size = EXACT(fabs)(sum);
  for (fg_idx k = 0; k < K; k++) {
    const real a = AT(1, i, k), b = AT(2, i, k);
    sum += (exact)a * b, *size += EXACT(fabs)((exact)a * b);
    if (dot) lanes[k % 16] = FUSED(a, b, lanes[k % 16]);
    else part = FUSED(a, b, part);
    if (!dot && (k % 32 == 31 || k + 1 == K)) total += part, part = 0;
  }
  const real result = dot ? bias + fold_tree(FG_FOLD_SUM, lanes) : total;
  *size = EXACT(fabs)(result - sum) / (*size + 1);
  return result;
}

static void check_contract(void) {
  void *p[FG_OPERANDS];
  fg_nest nest = random_nest(3 + random_below(2), FG_RANK);
  const fg_act act = {random_below(2) ? FG_RELU : FG_LINEAR, 0, 0};
  lay_out_product(&nest);
  for (int d = nest.outer; d < nest.rank && nest.operands > 3; d++) nest.strides[3][d] = 0;
  fill(p, nest.operands, 1);
  EACH_OUTPUT(i) {
    exact error;
    const real sum = product_sum(&nest, i, nest.operands > 3 ? AT(3, i, 0) : 0, &error);
    WANTED(i) = act.kind == FG_RELU && sum < 0 ? 0 : sum;
    if (error > 64 * (sizeof(real) == 4 ? 0x1p-24 : 0x1p-53)) fail("the reference", &nest, i, sum, (real)error);
  }
  tighten(&nest, p, 0);
  FG_TABLE.contract(&nest, &act, p);
  loosen(&nest, p);
  compare("contract", &nest);
}

/* An activation of a program is that of a layer. */
static void check_activation(void) {
  void *p[FG_OPERANDS];
  const fg_idx n = random_below(600);
  const fg_nest nest = {1, 1, 0, 2, {n}, {{1}, {1}}};
  const fg_act act = {random_below(FG_AFFINE + 1), random_below(9) * 0.25 - 1, random_below(9) * 0.25 - 1};
  const fg_micro program = {act.kind, 0, 0, 0, act.alpha, act.beta};
  fill(p, 2, 0);
  const fg_rows x = {p[1], 0, n}, y = {want + MIDDLE, 0, n};
  const fg_span rows = {1, 0, 1, NULL, 0};
  FG_TABLE.activate(&act, NULL, &x, &y, n, &rows);
  FG_TABLE.map(&nest, &program, 1, p);
  compare("activation", &nest);
}

/* y_t = relu(s + x_t * k_t), s = y_t, forwards or backwards, in calls of any number of steps. */
static void check_lines(void) {
  void *p[FG_OPERANDS];
  const fg_idx n = random_below(600), steps = random_below(6), move = random_below(2) ? n : -n, each = random_below(2);
  const fg_nest nest = {1, 1, 0, 4, {n * steps}, {{move < 0 ? -1 : 1}, {1}, {1}, {1}}};
  const fg_micro program[] = {{FG_MUL, 0, 1, 0, 0, 0}, {FG_ADD, 2, 3, 0, 0, 0}, {FG_RELU, 4, 0, 0, 0, 0}};
  fill(p, 4, 0);
  fg_line line[] = {{program, 3, 4, n, {p[0], p[1], p[2], p[3]}, {1, 1, each, 1}, {move, n, 1, 0}},
                    {NULL, 0, 2, n, {p[3], p[0]}, {1, 1}, {0, move}}};
  static real s[600];
  memcpy(s, p[3], sizeof s);
  for (fg_idx t = 0; t < steps; t++)
    for (fg_idx i = 0; i < n; i++) {
      const real v = s[i] + ((real *)p[1])[t * n + i] * ((real *)p[2])[t + i * each];
      s[i] = want[MIDDLE + t * move + i] = v < 0 ? 0 : v;
    }
  for (fg_idx t = 0; t < steps;) {
    const fg_idx some = 1 + random_below((int)(steps - t));
    FG_TABLE.lines(line, 2, some);
    t += some;
  }
  compare("lines", &nest);
  for (fg_idx i = 0; i < n; i++)
    if (!same(s[i], ((real *)p[3])[i])) fail("the state of lines", &nest, i, ((real *)p[3])[i], s[i]);
}

static void (*const checks[])(void) = {
    check_activation, check_map, check_lines, check_reduce, check_arg_reduce, check_gather, check_contract,
};

int main(int argc, char **argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 300;
  for (unsigned c = 0; c < sizeof checks / sizeof checks[0]; c++)
    for (int i = 0; i < rounds; i++) checks[c]();
  printf("hash %016llx\n", (unsigned long long)hash);
  return failures != 0;
}
