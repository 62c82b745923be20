/* The product: R rows times P panels of G vectors, held in registers over the whole inner dimension.
 *
 * The sum of an output element runs over k in ascending chains of FG_CHAIN fused multiply-adds, each
 * added to the total as it ends. That order does not depend on R, P, the batch, or the place of the row
 * in it: it is the package's promise of one summation order; keep it.
 *
 * Measured on Zen 4 with bench/kernels.c: one row of I=H=64..256 streams its weights at 93-105 GB/s, a
 * plateau taken to be the L2 cache's 32 bytes a cycle (no peak was measured apart); 32 rows of H=256 run at
 * 104 (three gates) and 101 GFLOP/s, of the 112 that the best product reaches. Software prefetch 512 to
 * 2048 bytes ahead gained nothing there and lost 25 % at H=512, so there is none.
 */
#ifndef FASTGRU_TILE_H
#define FASTGRU_TILE_H

#include "fastgru.h"
#include "vec.h"

/* Chains of 32 instead of one of K: the encoder of g2p_en (K=256) errs by 1.0e-6 instead of 3.5e-6, at no cost
 * in speed where the tile leaves registers free (512-bit, four rows: 112 GFLOP/s either way). */
enum { FG_CHAIN = 32 };

/* Rows of a batch tile by gates: R x G accumulators, G weights and one broadcast must fit the register
 * file, 32 registers with AVX-512 and NEON, 16 else. Measured with AVX-512, 64 rows, K=256, GFLOP/s for
 * 4, 5, 6 rows: three gates 112, 107, 93; four gates 113, 106, 90 (GCC 12 spills). */
#if defined(__AVX512F__) || defined(__aarch64__)
#define FG_ROWS(G) ((G) >= 3 ? 4 : 8)
#else
#define FG_ROWS(G) ((G) == 4 ? 2 : (G) == 3 ? 4 : (G) == 2 ? 4 : 8)
#endif
/* Panels of one row taken together: at least 8 chains in flight hide the latency of the multiply-add. */
#define FG_PANELS(G) ((G) >= 3 ? 2 : (G) == 2 ? 4 : 8)

/* acc[(r * P + p) * G + g] += sum over k of a[r][k] * w[p][k][g], w: (P, K, G, L) */
FG_INLINE void tile(int R, int P, int G, vr *acc, const real *const *a, const real *w, fg_idx K) {
  const fg_idx panel = K * G * FG_LANES;
  for (fg_idx from = 0; from < K; from += FG_CHAIN) {
    const fg_idx to = from + FG_CHAIN < K ? from + FG_CHAIN : K;
    vr part[32];
    FG_UNROLL for (int i = 0; i < R * P * G; i++) part[i] = splat(0);
    for (fg_idx k = from; k < to; k++) {
      vr v[32];
      FG_UNROLL for (int p = 0; p < P; p++)
        FG_UNROLL for (int g = 0; g < G; g++) v[p * G + g] = *(const vr *)(w + p * panel + (k * G + g) * FG_LANES);
      FG_UNROLL for (int r = 0; r < R; r++) {
        const vr x = splat(a[r][k]);
        FG_UNROLL for (int i = 0; i < P * G; i++) part[r * P * G + i] += x * v[i];
      }
    }
    FG_UNROLL for (int i = 0; i < R * P * G; i++) acc[i] += part[i];
  }
}

/* Start of the chains: the bias of the panels, or zero. bias: (P, G, L) or NULL */
FG_INLINE void tile_start(int R, int P, int G, vr *acc, const real *bias) {
  FG_UNROLL for (int i = 0; i < P * G; i++) {
    const vr b = bias ? *(const vr *)(bias + i * FG_LANES) : splat(0);
    FG_UNROLL for (int r = 0; r < R; r++) acc[r * P * G + i] = b;
  }
}

FG_INLINE fg_idx row_number(const fg_span *rows, fg_idx i) { return rows->index ? rows->index[i] : i; }

FG_INLINE real *row_at(const fg_rows *v, const fg_span *rows, fg_idx i) {
  const fg_idx m = row_number(rows, i), t = m / rows->batch;
  return (real *)v->data + t * v->t_stride + (m - t * rows->batch) * v->b_stride;
}

#endif
