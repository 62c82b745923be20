/* Ops on whole rows: activation, softmax, layer norm, affine, add, multiply.
 *
 * Sums run over 16 virtual lanes, folded in a fixed tree, whatever the width of the vectors: the same
 * bits on every instruction set.
 */
#ifndef FASTGRU_ROWWISE_H
#define FASTGRU_ROWWISE_H

#include "tile.h"
#include "vmath.h"

#define FG_FOLD 16 /* virtual lanes of a sum; a multiple of every FG_LANES */
#define FG_PARTS (FG_FOLD / FG_LANES)

FG_INLINE real fold(const vr *part) {
  real s[FG_FOLD];
  memcpy(s, part, sizeof s);
  for (int half = FG_FOLD / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) s[i] += s[i + half];
  return s[0];
}

#define FG_FOR_ROWS(i) for (fg_idx i = 0; i < rows->count; i++)
#define FG_FOR_LANES(j) for (fg_idx j = 0; j < n; j += FG_LANES)

static void activate(const fg_act *act, const void *bias, const fg_rows *x, const fg_rows *y, fg_idx n,
                     const fg_span *rows) {
  FG_FOR_ROWS(i) {
    const real *in = row_at(x, rows, i);
    real *out = row_at(y, rows, i);
    FG_FOR_LANES(j) {
      vr v = load_some(in + j, n - j);
      if (bias) v = v + load_some((const real *)bias + j, n - j);
      store_some(out + j, fg_activation(act, v), n - j);
    }
  }
}

/* exp(x - max) / sum; a row with a NaN becomes NaN, as does one whose maximum is infinite. */
static void softmax(const fg_rows *x, const fg_rows *y, fg_idx n, const fg_span *rows) {
  FG_FOR_ROWS(i) {
    const real *in = row_at(x, rows, i);
    real *out = row_at(y, rows, i);
    real top = in[0];
    for (fg_idx j = 1; j < n; j++)
      if (!(in[j] <= top)) top = in[j];
    const real poison = (top - top) * (real)0; /* NaN where top is not finite */
    vr sum[FG_PARTS] = {{0}};
    int part = 0;
    FG_FOR_LANES(j) {
      store_some(out + j, fg_exp(load_some(in + j, n - j) - top) + poison, n - j);
      sum[part] += load_some(out + j, n - j); /* short rows read zeros behind their end */
      part = (part + 1) % FG_PARTS;
    }
    const real total = fold(sum);
    FG_FOR_LANES(j) store_some(out + j, load_some(out + j, n - j) / total, n - j);
  }
}

static void layer_norm(const void *scale, const void *shift, double eps, const fg_rows *x, const fg_rows *y, fg_idx n,
                       const fg_span *rows) {
  FG_FOR_ROWS(i) {
    const real *in = row_at(x, rows, i);
    real *out = row_at(y, rows, i);
    vr sum[FG_PARTS] = {{0}}, squares[FG_PARTS] = {{0}};
    int part = 0;
    FG_FOR_LANES(j) {
      sum[part] += load_some(in + j, n - j);
      part = (part + 1) % FG_PARTS;
    }
    const real mean = fold(sum) / (real)n;
    part = 0;
    FG_FOR_LANES(j) {
      store_some(out + j, load_some(in + j, n - j) - mean, n - j);
      const vr d = load_some(out + j, n - j);
      squares[part] += d * d;
      part = (part + 1) % FG_PARTS;
    }
    const real root = square_root(fold(squares) / (real)n + (real)eps);
    FG_FOR_LANES(j) {
      const vr v = load_some(out + j, n - j) / root * load_some((const real *)scale + j, n - j);
      store_some(out + j, v + load_some((const real *)shift + j, n - j), n - j);
    }
  }
}

static void affine(const void *scale, const void *shift, const fg_rows *x, const fg_rows *y, fg_idx n,
                   const fg_span *rows) {
  FG_FOR_ROWS(i) {
    const real *in = row_at(x, rows, i);
    real *out = row_at(y, rows, i);
    FG_FOR_LANES(j)
      store_some(out + j, load_some(in + j, n - j) * load_some((const real *)scale + j, n - j) +
                              load_some((const real *)shift + j, n - j), n - j);
  }
}

#define FG_MERGE(name, operation)                                                            \
  static void name(const fg_rows *x, const fg_rows *y, fg_idx n, const fg_span *rows) {      \
    FG_FOR_ROWS(i) {                                                                         \
      const real *in = row_at(x, rows, i);                                                   \
      real *out = row_at(y, rows, i);                                                        \
      FG_FOR_LANES(j)                                                                        \
        store_some(out + j, load_some(out + j, n - j) operation load_some(in + j, n - j), n - j); \
    }                                                                                        \
  }
FG_MERGE(add, +)
FG_MERGE(multiply, *)

#endif
