/* c = act(a w' + bias): the input product of a chunk, and Dense. */
#ifndef FASTGRU_PRODUCT_H
#define FASTGRU_PRODUCT_H

#include "tile.h"
#include "vmath.h"

typedef struct {
  const fg_matrix *w;
  const real *bias;
  const fg_act *act;
  const fg_rows *a, *c;
  fg_idx columns;
  const fg_span *rows;
} product_job;

FG_INLINE void product_tile(const product_job *job, fg_idx first, fg_idx panel, int R, int P, int G) {
  const real *a[8];
  vr acc[32];
  const fg_idx width = G * FG_LANES;
  FG_UNROLL for (int r = 0; r < R; r++) a[r] = row_at(job->a, job->rows, first + r);
  tile_start(R, P, G, acc, job->bias ? job->bias + panel * width : NULL);
  tile(R, P, G, acc, a, (const real *)job->w->data + panel * job->w->inner * width, job->w->inner);
  FG_UNROLL for (int r = 0; r < R; r++) {
    real *c = row_at(job->c, job->rows, first + r);
    FG_UNROLL for (int i = 0; i < P * G; i++) {
      const fg_idx at = panel * width + i * FG_LANES;
      vr v = acc[r * P * G + i];
      if (job->act->kind != FG_LINEAR) v = fg_activation(job->act, v);
      if (at < job->columns) store_some(c + at, v, job->columns - at);
    }
  }
}

FG_INLINE void product_gates(const product_job *job, int G) {
  const fg_idx n = job->rows->count, panels = job->w->panels;
  fg_idx i = 0;
  for (; i + FG_ROWS(G) <= n; i += FG_ROWS(G))
    for (fg_idx p = 0; p < panels; p++) product_tile(job, i, p, FG_ROWS(G), 1, G);
  for (; i + 2 <= n; i += 2)
    for (fg_idx p = 0; p < panels; p++) product_tile(job, i, p, 2, 1, G);
  if (i < n) {
    fg_idx p = 0;
    for (; p + FG_PANELS(G) <= panels; p += FG_PANELS(G)) product_tile(job, i, p, 1, FG_PANELS(G), G);
    for (; p < panels; p++) product_tile(job, i, p, 1, 1, G);
  }
}

static void product(const fg_matrix *w, const void *bias, const fg_act *act, const fg_rows *a, const fg_rows *c,
                    fg_idx columns, const fg_span *rows) {
  const product_job job = {w, (const real *)bias, act, a, c, columns, rows};
  switch (w->gates) {
    case 1: product_gates(&job, 1); break;
    case 2: product_gates(&job, 2); break;
    case 3: product_gates(&job, 3); break;
    default: product_gates(&job, 4); break;
  }
}

#endif
