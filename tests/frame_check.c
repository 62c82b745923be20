/* The kernels of frame ops on one compiler target: random nests against plain loops that keep the documented order of
 * every sum, so that results must agree to the bit; functions against libm; a hash of all results on the last line.
 * tests/test_frame_kernels.py builds it together with fastgru/_native/kernels.c, whose table is FG_TABLE. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastgru/fastgru.h"
#include "fastgru/vec.h"

extern const fg_kernels FG_TABLE;

#ifdef FG_DOUBLE
typedef long double exact;
#define EXACT(f) f##l
#define FUSED fma
#define ROOT sqrt
#else
typedef double exact;
#define EXACT(f) f
#define FUSED fmaf
#define ROOT sqrtf
#endif
#if !defined(__FMA__) && !defined(__aarch64__)
#undef FUSED
#define FUSED(a, b, c) ((a) * (b) + (c))
#endif
enum { BUFFER = 1 << 16, MIDDLE = BUFFER / 2, LARGEST = 4000 };

static uint32_t state = 1;
static uint64_t hash = 14695981039346656037u;
static int failures;
static real buffers[FG_OPERANDS][BUFFER], want[BUFFER], noise[2 * BUFFER];

static uint32_t random_bits(void) {
  state = state * 1664525u + 1013904223u;
  return state >> 8;
}
static int random_below(int n) { return (int)(random_bits() % (uint32_t)n); }
static real random_value(void) {
  static const real odd[] = {0, -0.0, 1, -1, INFINITY, -INFINITY, NAN, 0.5, 2, 3};
  if (random_below(40) == 0) return odd[random_below(10)];
  const real low = (real)random_bits() * (real)0x1p-45;
  return (real)((int)random_bits() - (1 << 23)) * (real)0x1p-21 + low;
}

static void mix(real v) { /* all NaN alike */
  uint64_t word = 0;
  if (v != v) v = (real)1e30;
  memcpy(&word, &v, sizeof v), hash = (hash ^ word) * 1099511628211u;
}

/* The written operand has an element of its own for each position of the outer loops; the others lie anyhow. */
static void random_strides(fg_nest *nest, int o) {
  fg_idx size = 1;
  int order[FG_RANK];
  for (int d = 0; d < nest->rank; d++) order[d] = d;
  for (int d = nest->rank - 1; d > 0 && random_below(2); d--) {
    const int e = random_below(d + 1), t = order[d];
    order[d] = order[e], order[e] = t;
  }
  for (int i = nest->rank - 1; i >= 0; i--) {
    const int d = order[i], folded = o == 0 && d >= nest->outer, repeated = o > 0 && random_below(5) == 0;
    nest->strides[o][d] = folded || repeated ? 0 : random_below(6) ? size : -size;
    if (!folded && !repeated) size *= nest->dims[d] + (nest->dims[d] > 3 && random_below(5) == 0);
    if (o > 0 && random_below(12) == 0) size = 1; /* windows that overlap */
  }
}

static fg_nest random_nest(int operands, int folded_at_most) {
  fg_nest nest = {.operands = operands, .rank = random_below(7)};
  nest.outer = nest.rank - (folded_at_most < nest.rank ? random_below(folded_at_most + 1) : random_below(nest.rank + 1));
  int size = 1;
  for (int d = 0; d < nest.rank; d++) {
    const int long_one = random_below(8) == 0, n = 1 + random_below(long_one ? 150 : 7);
    nest.dims[d] = size * n <= LARGEST ? n : 1, size *= (int)nest.dims[d];
    if (random_below(300) == 0) nest.dims[d] = 0;
  }
  for (int o = 0; o < operands; o++) random_strides(&nest, o);
  return nest;
}

static fg_idx place(const fg_nest *nest, int o, fg_idx number, int from, int to) {
  fg_idx at = 0;
  for (int d = to - 1; d >= from; d--) at += number % nest->dims[d] * nest->strides[o][d], number /= nest->dims[d];
  return at;
}

static fg_idx count(const fg_nest *nest, int from, int to) {
  fg_idx n = 1;
  for (int d = from; d < to; d++) n *= nest->dims[d];
  return n;
}

static void fail(const char *what, const fg_nest *nest, fg_idx at, real got, real expected) {
  if (failures++ >= 5) return;
  printf("%s: element %ld is %.9g, must be %.9g; loops", what, (long)at, (double)got, (double)expected);
  for (int d = 0; d < nest->rank; d++) {
    printf(" %ld(", (long)nest->dims[d]);
    for (int o = 0; o < nest->operands; o++) printf(o ? " %ld" : "%ld", (long)nest->strides[o][d]);
    printf(d < nest->outer ? ")" : ")folded");
  }
  printf("\n");
}

static int same(real a, real b) { return memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b); }

/* The operands, in the middle of their buffers, full of noise, in which `tame` leaves no infinity and no NaN. */
static void fill(void **p, int operands, int tame) {
  static int filled;
  if (!filled)
    for (int i = 0; i < 2 * BUFFER; i++) noise[i] = random_value();
  filled = 1;
  for (int o = 0; o < operands; o++) {
    memcpy(buffers[o], noise + random_below(BUFFER), sizeof buffers[o]);
    for (int i = 0; i < BUFFER && tame; i++)
      if (buffers[o][i] - buffers[o][i] != 0) buffers[o][i] = 1;
    p[o] = buffers[o] + MIDDLE;
  }
  memcpy(want, buffers[0], sizeof want);
}

/* Each operand in memory of its own, of no element more, for address sanitizers; `more` around operand 1. */
static fg_idx firsts[FG_OPERANDS], sizes[FG_OPERANDS];
static void tighten(const fg_nest *nest, void **p, fg_idx more) {
  for (int o = 0; o < nest->operands; o++) {
    fg_idx low = o == 1 ? -more : 0, high = o == 1 ? more : 0;
    for (int d = 0; d < nest->rank; d++) {
      const fg_idx reach = (nest->dims[d] - 1) * nest->strides[o][d];
      if (nest->dims[d] > 0) *(reach < 0 ? &low : &high) += reach;
    }
    firsts[o] = low, sizes[o] = high - low + 1;
    if (o == 1 && p[1] == buffers[0] + MIDDLE) continue;
    real *copy = malloc((size_t)sizes[o] * sizeof(real));
    memcpy(copy, buffers[o] + MIDDLE + low, (size_t)sizes[o] * sizeof(real));
    p[o] = copy - low;
  }
  if (nest->operands > 1 && p[1] == buffers[0] + MIDDLE) p[1] = p[0];
}
static void loosen(const fg_nest *nest, void **p) {
  memcpy(buffers[0] + MIDDLE + firsts[0], (real *)p[0] + firsts[0], (size_t)sizes[0] * sizeof(real));
  for (int o = 0; o < nest->operands; o++)
    if (o != 1 || p[1] != p[0]) free((real *)p[o] + firsts[o]);
}

static void compare(const char *what, const fg_nest *nest) {
  for (int i = 0; i < BUFFER; i++)
    if (!same(buffers[0][i], want[i])) {
      fail(what, nest, i - MIDDLE, buffers[0][i], want[i]);
      break;
    }
  const fg_idx n = count(nest, 0, nest->outer);
  for (fg_idx i = 0; i < n; i++) mix(buffers[0][MIDDLE + place(nest, 0, i, 0, nest->outer)]);
}

#define EACH_OUTPUT(i) for (fg_idx i = 0, outputs_ = count(&nest, 0, nest.outer); i < outputs_; i++)
#define AT(o, i, k) \
  (buffers[o][MIDDLE + place(&nest, o, i, 0, nest.outer) + place(&nest, o, k, nest.outer, nest.rank)])
#define WANTED(i) (want[MIDDLE + place(&nest, 0, i, 0, nest.outer)])

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
  for (int o = 1; o <= 2; o++) {
    fg_idx size = nest->dims[along];
    for (int d = nest->rank - 1; d >= 0; d--) {
      const int unused = d == along ? 0 : random_below(3) == 0;
      nest->strides[o][d] = unused ? 0 : d == along ? 1 : size;
      if (d != along && !unused) size *= nest->dims[d];
    }
  }
  if (along < nest->outer && random_below(2)) nest->strides[1 + random_below(2)][along] = 0;
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

static void (*const checks[])(void) = {check_map, check_reduce, check_arg_reduce, check_gather, check_contract};

int main(int argc, char **argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 300;
  for (unsigned c = 0; c < sizeof checks / sizeof checks[0]; c++)
    for (int i = 0; i < rounds; i++) checks[c]();
  printf("%s hash %016llx\n", FG_TABLE.isa, (unsigned long long)hash);
  return failures != 0;
}
