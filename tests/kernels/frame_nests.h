/* Random nests for tests/kernels/frame_check.c: operands that lie anyhow, each in memory of its own, and what a kernel must
 * have written. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastgru/fastgru.h"
#include "fastgru/math/vec.h"

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
  nest.outer = nest.rank - random_below((folded_at_most < nest.rank ? folded_at_most : nest.rank) + 1);
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
  for (int d = to - 1; d >= from && nest->dims[d] > 0; d--)
    at += number % nest->dims[d] * nest->strides[o][d], number /= nest->dims[d];
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
