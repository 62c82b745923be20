/* Ops on whole rows: activation, softmax, layer norm, affine, add, multiply.
 *
 * Sums run over chains of 16 virtual lanes, folded in a fixed tree, whatever the width of the vectors: the same
 * bits on every instruction set.
 */
#ifndef FASTGRU_ROWWISE_H
#define FASTGRU_ROWWISE_H

#include "fastgru/gemm/tile.h"
#include "fastgru/math/vmath.h"

#define FG_FOLD 16 /* virtual lanes of a sum; a multiple of every FG_LANES */
#define FG_PARTS (FG_FOLD / FG_LANES)

/* Chains of a sum, of which each takes every fourth fold of a row: one alone waits for the addition before it. Two of
 * doubles, of which four would not fit 16 registers. */
enum { FG_CHAINS = sizeof(real) == 4 ? 4 : 2 };
typedef vr fg_sum[FG_CHAINS * FG_PARTS];

/* The upper half onto the lower each time. */
FG_INLINE real fold(vr *part) {
  FG_UNROLL for (int c = FG_CHAINS / 2; c > 0; c /= 2) FG_EACH(i, c * FG_PARTS) part[i] += part[i + c * FG_PARTS];
  FG_UNROLL for (int p = FG_PARTS / 2; p > 0; p /= 2) FG_EACH(i, p) part[i] += part[i + p];
  FG_UNROLL for (int half = FG_LANES / 2; half > 0; half /= 2) {
    vr upper = part[0];
    FG_EACH(i, FG_LANES) upper[i] = part[0][(i + half) % FG_LANES];
    part[0] += upper;
  }
  return part[0][0];
}

#define FG_FOR_ROWS(i) for (fg_idx i = 0; i < rows->count; i++)
#define FG_FOR_FOLDS(j) for (fg_idx j = 0; j < n; j += FG_FOLD)

/* FG_FOLD numbers in registers, of which the first n exist; the others are zero. */
FG_INLINE void load_fold(vr *v, const real *p, fg_idx n) {
  if (n >= FG_FOLD)
    FG_EACH(i, FG_PARTS) v[i] = load(p + i * FG_LANES);
  else
    FG_EACH(i, FG_PARTS) v[i] = load_some(p + i * FG_LANES, n - i * FG_LANES);
}

FG_INLINE void store_fold(real *p, const vr *v, fg_idx n) {
  if (n >= FG_FOLD)
    FG_EACH(i, FG_PARTS) store(p + i * FG_LANES, v[i]);
  else
    FG_EACH(i, FG_PARTS) store_some(p + i * FG_LANES, v[i], n - i * FG_LANES);
}

/* Zeros behind the first n. */
FG_INLINE void cut_fold(vr *v, fg_idx n) {
  if (n < FG_FOLD) FG_EACH(i, FG_PARTS) v[i] = (vr)((vi)v[i] & first_lanes(n - i * FG_LANES));
}

/* Without a call where the formula is shorter than one. */
FG_INLINE vr activated(const fg_act *act, vr v) {
  if (act->kind == FG_LINEAR) return v;
  return act->kind == FG_RELU ? at_least(v, 0) : fg_activation(act, v);
}

/* The same where `kind` is known when this is compiled, and the codes before the loop over rows. */
FG_INLINE vr activated_as(const fg_act *act, const fg_codes *codes, int kind, vr v) {
  if (kind == FG_LINEAR) return v;
  if (kind == FG_RELU) return at_least(v, 0);
  return kind == FG_FAKE_QUANTIZE ? fg_fake_quantize(v, codes) : fg_activation(act, v);
}

FG_INLINE void activate_rows(const fg_act *act, int kind, const real *bias, const fg_rows *x, const fg_rows *y, fg_idx n,
                             const fg_span *rows) {
  const fg_codes codes = codes_of((real)act->alpha, (real)act->beta);
  FG_FOR_ROWS(i) {
    const real *in = row_at(x, rows, i);
    real *out = row_at(y, rows, i);
    fg_idx j = 0;
    for (; j + FG_LANES <= n; j += FG_LANES) {
      vr v = load(in + j);
      if (bias) v = v + load(bias + j);
      store(out + j, activated_as(act, &codes, kind, v));
    }
    if (j < n) {
      vr v = load_some(in + j, n - j);
      if (bias) v = v + load_some(bias + j, n - j);
      store_some(out + j, activated_as(act, &codes, kind, v), n - j);
    }
  }
}

static void activate(const fg_act *act, const void *bias, const fg_rows *x, const fg_rows *y, fg_idx n,
                     const fg_span *rows) {
  switch (act->kind) {
    case FG_LINEAR: activate_rows(act, FG_LINEAR, (const real *)bias, x, y, n, rows); break;
    case FG_RELU: activate_rows(act, FG_RELU, (const real *)bias, x, y, n, rows); break;
    case FG_FAKE_QUANTIZE: activate_rows(act, FG_FAKE_QUANTIZE, (const real *)bias, x, y, n, rows); break;
    default: activate_rows(act, act->kind, (const real *)bias, x, y, n, rows); break;
  }
}

/* NaN only where the row starts with one. */
FG_INLINE real largest(const real *x, fg_idx n) {
  vr top[FG_PARTS], v[FG_PARTS];
  FG_EACH(i, FG_PARTS) top[i] = splat(x[0]);
  fg_idx j = 0;
  for (; j + FG_FOLD <= n; j += FG_FOLD) {
    load_fold(v, x + j, FG_FOLD);
    FG_EACH(i, FG_PARTS) top[i] = pick(v[i] > top[i], v[i], top[i]);
  }
  real lanes[FG_FOLD], largest = x[0];
  store_fold(lanes, top, FG_FOLD);
  for (int i = 0; i < FG_FOLD; i++) largest = lanes[i] > largest ? lanes[i] : largest;
  for (; j < n; j++) largest = x[j] > largest ? x[j] : largest;
  return largest;
}

/* y = exp(x - top), and sum += it. */
FG_INLINE void exp_fold(vr *sum, const real *x, real *y, fg_idx n, real top, real poison) {
  vr v[FG_PARTS];
  load_fold(v, x, n);
  FG_EACH(p, FG_PARTS) v[p] = fg_exp(v[p] - top) + poison;
  cut_fold(v, n);
  FG_EACH(p, FG_PARTS) sum[p] += v[p];
  store_fold(y, v, n);
}

/* exp(x - max) / sum; a row with a NaN becomes NaN, as its sum does, and so does one whose maximum is infinite. */
static void softmax(const fg_rows *x, const fg_rows *y, fg_idx n, const fg_span *rows) {
  FG_FOR_ROWS(i) {
    const real *in = row_at(x, rows, i);
    real *out = row_at(y, rows, i);
    const real top = largest(in, n), poison = (top - top) * (real)0; /* NaN where top is not finite */
    fg_sum sum;
    vr v[FG_PARTS];
    fg_idx j = 0;
    FG_EACH(k, FG_CHAINS * FG_PARTS) sum[k] = (vr){0};
    for (; j + FG_CHAINS * FG_FOLD <= n; j += FG_CHAINS * FG_FOLD)
      FG_EACH(c, FG_CHAINS) exp_fold(sum + c * FG_PARTS, in + j + c * FG_FOLD, out + j + c * FG_FOLD, FG_FOLD, top, poison);
    FG_EACH(c, FG_CHAINS) if (j + c * FG_FOLD < n)
      exp_fold(sum + c * FG_PARTS, in + j + c * FG_FOLD, out + j + c * FG_FOLD, n - j - c * FG_FOLD, top, poison);
    const real total = fold(sum);
    FG_FOR_FOLDS(j) {
      load_fold(v, out + j, n - j);
      FG_EACH(p, FG_PARTS) v[p] /= total;
      store_fold(out + j, v, n - j);
    }
  }
}

/* sum += one fold of x, or of (x - mean)^2. */
FG_INLINE void add_fold(vr *sum, const real *x, fg_idx n, real mean, int squares) {
  vr v[FG_PARTS];
  load_fold(v, x, n);
  if (!squares) {
    FG_EACH(p, FG_PARTS) sum[p] += v[p];
    return;
  }
  FG_EACH(p, FG_PARTS) v[p] -= mean;
  cut_fold(v, n);
  FG_EACH(p, FG_PARTS) sum[p] += v[p] * v[p];
}

/* The sum of x, or of (x - mean)^2. */
FG_INLINE real sum_row(const real *x, fg_idx n, real mean, int squares) {
  fg_sum sum;
  fg_idx j = 0;
  FG_EACH(i, FG_CHAINS * FG_PARTS) sum[i] = (vr){0};
  for (; j + FG_CHAINS * FG_FOLD <= n; j += FG_CHAINS * FG_FOLD)
    FG_EACH(c, FG_CHAINS) add_fold(sum + c * FG_PARTS, x + j + c * FG_FOLD, FG_FOLD, mean, squares);
  if (j == n) return fold(sum);
  FG_EACH(c, FG_CHAINS) if (j + c * FG_FOLD < n)
    add_fold(sum + c * FG_PARTS, x + j + c * FG_FOLD, n - j - c * FG_FOLD, mean, squares);
  return fold(sum);
}

static void layer_norm(const void *scale, const void *shift, double eps, const fg_rows *x, const fg_rows *y, fg_idx n,
                       const fg_span *rows) {
  FG_FOR_ROWS(i) {
    const real *in = row_at(x, rows, i);
    real *out = row_at(y, rows, i);
    vr v[FG_PARTS], by[FG_PARTS], more[FG_PARTS];
    const real mean = sum_row(in, n, 0, 0) / (real)n;
    const real inverse = 1 / square_root(sum_row(in, n, mean, 1) / (real)n + (real)eps);
    FG_FOR_FOLDS(j) {
      load_fold(v, in + j, n - j);
      load_fold(by, (const real *)scale + j, n - j);
      load_fold(more, (const real *)shift + j, n - j);
      FG_EACH(p, FG_PARTS) v[p] = (v[p] - mean) * inverse * by[p] + more[p];
      store_fold(out + j, v, n - j);
    }
  }
}

static void affine(const void *scale, const void *shift, const fg_rows *x, const fg_rows *y, fg_idx n,
                   const fg_span *rows) {
  FG_FOR_ROWS(i) {
    const real *in = row_at(x, rows, i);
    real *out = row_at(y, rows, i);
    vr v[FG_PARTS], by[FG_PARTS], more[FG_PARTS];
    FG_FOR_FOLDS(j) {
      load_fold(v, in + j, n - j);
      load_fold(by, (const real *)scale + j, n - j);
      load_fold(more, (const real *)shift + j, n - j);
      FG_EACH(p, FG_PARTS) v[p] = v[p] * by[p] + more[p];
      store_fold(out + j, v, n - j);
    }
  }
}

#define FG_MERGE(name, operation)                                                        \
  static void name(const fg_rows *x, const fg_rows *y, fg_idx n, const fg_span *rows) {  \
    FG_FOR_ROWS(i) {                                                                     \
      const real *in = row_at(x, rows, i);                                               \
      real *out = row_at(y, rows, i);                                                    \
      vr v[FG_PARTS], more[FG_PARTS];                                                    \
      FG_FOR_FOLDS(j) {                                                                  \
        load_fold(v, out + j, n - j), load_fold(more, in + j, n - j);                    \
        FG_EACH(p, FG_PARTS) v[p] = v[p] operation more[p];                              \
        store_fold(out + j, v, n - j);                                                   \
      }                                                                                  \
    }                                                                                    \
  }
FG_MERGE(add, +)
FG_MERGE(multiply, *)

#endif
