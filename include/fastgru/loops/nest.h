/* Walking the loops of a frame op: simplified once, then stepped over, gathered and scattered. */
#ifndef FASTGRU_NEST_H
#define FASTGRU_NEST_H

#include "fastgru/fastgru.h"
#include "fastgru/math/vec.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { FG_CHUNK = 1024 / (int)sizeof(real) }; /* elements worked on at once: 32 such registers fit the L1 cache */

/* a * b + c, rounded once where the target can: by name, since the compiler fuses only what it leaves in one block of
 * code. */
FG_INLINE vr fused(vr a, vr b, vr c) {
#if defined(__AVX512F__) && !defined(FG_DOUBLE)
  return (vr)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX512F__)
  return (vr)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__) && !defined(FG_DOUBLE)
  return (vr)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__FMA__)
  return (vr)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__) && !defined(FG_DOUBLE)
  return (vr)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#elif defined(__aarch64__)
  return (vr)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
  return a * b + c;
#endif
}

/* The even elements of 2 L - 1: first and second overlap by one, so that no element more is read. */
#ifdef __clang__
#define FG_SHUFFLE(first, second, ...) __builtin_shufflevector(first, second, __VA_ARGS__)
#else
#define FG_SHUFFLE(first, second, ...) __builtin_shuffle(first, second, (vi){__VA_ARGS__})
#endif
FG_INLINE vr even_elements(const real *p) {
  const vr first = load(p), second = load(p + FG_LANES - 1);
#if FG_BYTES == 64 && !defined(FG_DOUBLE)
  return FG_SHUFFLE(first, second, 0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31);
#elif FG_BYTES == 64 || (FG_BYTES == 32 && !defined(FG_DOUBLE))
  return FG_SHUFFLE(first, second, 0, 2, 4, 6, 9, 11, 13, 15);
#elif FG_BYTES == 32 || !defined(FG_DOUBLE)
  return FG_SHUFFLE(first, second, 0, 2, 5, 7);
#else
  return FG_SHUFFLE(first, second, 0, 3);
#endif
}

FG_INLINE fg_idx smaller(fg_idx a, fg_idx b) { return a < b ? a : b; }

FG_INLINE fg_idx elements(const fg_nest *nest, int from, int to) {
  fg_idx n = 1;
  for (int d = from; d < to; d++) n *= nest->dims[d];
  return n;
}

/* Whether loop d continues loop `last` of `made` for every operand, so that both are one. */
FG_INLINE int continues(const fg_nest *made, int last, const fg_nest *given, int d) {
  for (int o = 0; o < given->operands; o++)
    if (made->strides[o][last] != given->strides[o][d] * given->dims[d]) return 0;
  return 1;
}

/* The same elements in the same order by fewer loops: none of length 1, adjacent ones joined. Output loops and folded
 * ones stay apart. */
static void simplify(const fg_nest *given, fg_nest *made) {
  made->operands = given->operands, made->rank = made->outer = 0;
  for (int d = 0; d < given->rank; d++) {
    if (d == given->outer) made->outer = made->rank;
    if (given->dims[d] == 1) continue;
    const int first = d < given->outer ? 0 : made->outer, last = made->rank - 1;
    const int joined = made->rank > first && continues(made, last, given, d), at = joined ? last : made->rank++;
    made->dims[at] = given->dims[d] * (joined ? made->dims[last] : 1);
    for (int o = 0; o < given->operands; o++) made->strides[o][at] = given->strides[o][d];
  }
  if (given->outer == given->rank) made->outer = made->rank;
}

/* Moves the operands to the next position of the first `loops` loops; 0 behind the last. */
FG_INLINE int advance(const fg_nest *nest, int loops, fg_idx *at, real **p) {
  for (int d = loops - 1; d >= 0; d--) {
    const fg_idx back = ++at[d] < nest->dims[d] ? 0 : nest->dims[d];
    for (int o = 0; o < nest->operands; o++) p[o] += nest->strides[o][d] * (1 - back);
    if (!back) return 1;
    at[d] = 0;
  }
  return 0;
}

/* The same nest with output loop d after all other output loops. */
FG_INLINE void move_inside(fg_nest *nest, int d) {
  for (; d + 1 < nest->outer; d++) {
    const fg_idx n = nest->dims[d];
    nest->dims[d] = nest->dims[d + 1], nest->dims[d + 1] = n;
    for (int o = 0; o < nest->operands; o++) {
      const fg_idx stride = nest->strides[o][d];
      nest->strides[o][d] = nest->strides[o][d + 1], nest->strides[o][d + 1] = stride;
    }
  }
}

/* How elements lie along the lanes of a vector. */
enum fg_lay { FG_REPEATED, FG_PACKED, FG_EVERY_OTHER, FG_SCATTERED, FG_LAYS };

FG_INLINE int lay_of(fg_idx stride) { return stride >= 0 && stride <= 2 ? (int)stride : FG_SCATTERED; }

static __attribute__((noinline)) vr collect(const real *p, fg_idx stride, fg_idx n) {
  real v[FG_LANES] = {0};
  for (int i = 0; i < smaller(n, FG_LANES); i++) v[i] = p[i * stride];
  return load(v);
}

FG_INLINE vr load_lanes(int lay, const real *p, fg_idx stride, fg_idx n) {
  const int any = lay == FG_SCATTERED;
  if (lay == FG_REPEATED || (any && stride == 0)) return splat(*p);
  if (lay == FG_PACKED || (any && stride == 1)) return n < FG_LANES ? load_some(p, n) : load(p);
  if (any || n < FG_LANES) return collect(p, stride, n);
  return even_elements(p);
}

FG_INLINE void store_lanes(real *p, fg_idx stride, vr v, fg_idx n) {
  if (stride == 1 && n >= FG_LANES) store(p, v);
  else if (stride == 1) store_some(p, v, n);
  else
    for (int i = 0; i < smaller(n, FG_LANES); i++) p[i * stride] = v[i];
}

/* Some loops as one operand walks them, joined where it can; no loop at all is a loop of 1. */
typedef struct {
  int rank;
  fg_idx dims[FG_RANK], strides[FG_RANK];
} fg_walk;

/* Loops from .. to - 1 of operand o. */
static void walk_of(const fg_nest *nest, int o, int from, int to, fg_walk *walk) {
  walk->rank = 0;
  for (int d = from; d < to; d++) {
    const fg_idx n = nest->dims[d], stride = nest->strides[o][d];
    if (n == 1) continue;
    const int last = walk->rank - 1, joined = last >= 0 && walk->strides[last] == stride * n;
    const int at = joined ? last : walk->rank++;
    walk->dims[at] = n * (joined ? walk->dims[last] : 1);
    walk->strides[at] = stride;
  }
  if (walk->rank == 0) walk->rank = 1, walk->dims[0] = 1, walk->strides[0] = 0;
}

FG_INLINE int lies_packed(const fg_walk *walk) { return walk->rank == 1 && walk->strides[0] == 1; }

/* out[i * to] = x[i * from]: side by side, reversed and any other way are loops of their own, which the compiler makes
 * vectors of where it can. */
static void copy_run(real *restrict out, fg_idx to, const real *restrict x, fg_idx from, fg_idx n) {
  if (to == 1 && from == 1 && n >= 16) memcpy(out, x, (size_t)n * sizeof(real));
  else if (to == 1 && from == -1)
    for (fg_idx i = 0; i < n; i++) out[i] = x[-i];
  else
    for (fg_idx i = 0; i < n; i++) out[i * to] = x[i * from];
}

/* Packs what loops d and up walk; returns the end of it. GCC writes
 * eight levels of it into one function: kept from that, a copy of runs of 3 took 8 to 17 % longer (Zen 3). */
static real *take(real *to, const real *from, const fg_walk *walk, int d) {
  const fg_idx n = walk->dims[d], stride = walk->strides[d];
  if (d + 1 < walk->rank) {
    for (fg_idx i = 0; i < n; i++) to = take(to, from + i * stride, walk, d + 1);
    return to;
  }
  copy_run(to, 1, from, stride, n);
  return to + n;
}

/* The other way. */
static const real *put(real *to, const real *from, const fg_walk *walk, int d) {
  const fg_idx n = walk->dims[d], stride = walk->strides[d];
  if (d + 1 < walk->rank) {
    for (fg_idx i = 0; i < n; i++) from = put(to + i * stride, from, walk, d + 1);
    return from;
  }
  copy_run(to, stride, from, 1, n);
  return from + n;
}

/* A multiple of the virtual lanes and of FG_CHAIN. More terms are numbered anew for every tile: 3x3 over 64 channels
 * (576 terms), 358 us with 512 held, 341 so (Zen 4, AVX-512). */
enum { FG_TERMS_HELD = 2048 };

/* Where the folded elements of one output lie, numbered in the order of the loops, in operands 1 and 2. */
typedef struct {
  fg_idx count;
  fg_idx first; /* number of the first one held, or -1 */
  int operands;
  fg_walk walks[2];
  fg_idx offset[2][FG_TERMS_HELD];
} fg_terms;

static void find_terms(const fg_nest *nest, int operands, fg_terms *terms) {
  terms->count = elements(nest, nest->outer, nest->rank), terms->first = -1, terms->operands = operands;
  for (int o = 0; o < operands; o++) walk_of(nest, o + 1, nest->outer, nest->rank, &terms->walks[o]);
}

static void find_offsets(const fg_walk *walk, fg_idx number, fg_idx n, fg_idx *offset) {
  const int inner = walk->rank - 1;
  const fg_idx stride = walk->strides[inner];
  fg_idx at[FG_RANK], here = 0;
  for (int d = inner; d >= 0; d--) {
    at[d] = number % walk->dims[d], number /= walk->dims[d];
    here += at[d] * walk->strides[d];
  }
  for (fg_idx k = 0; k < n;) {
    const fg_idx run = smaller(n - k, walk->dims[inner] - at[inner]);
    for (fg_idx j = 0; j < run; j++) offset[k + j] = here + j * stride;
    k += run, here += run * stride, at[inner] += run;
    for (int d = inner; d > 0 && at[d] == walk->dims[d]; d--) {
      here += walk->strides[d - 1] - walk->strides[d] * walk->dims[d];
      at[d] = 0, at[d - 1]++;
    }
  }
}

/* Holds terms first, first + 1, ...; returns how many. */
static fg_idx hold_terms(fg_terms *terms, fg_idx first) {
  const fg_idx n = smaller(terms->count - first, FG_TERMS_HELD);
  for (int o = 0; o < terms->operands && terms->first != first; o++)
    find_offsets(&terms->walks[o], first, n, terms->offset[o]);
  terms->first = first;
  return n;
}

#endif
