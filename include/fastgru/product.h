/* c = act(a w' + bias): the input product of a chunk, and Dense. */
#ifndef FASTGRU_PRODUCT_H
#define FASTGRU_PRODUCT_H

#include "tile.h"
#include "vmath.h"

typedef struct {
  const fg_matrix *w;
  const real *bias;
  fg_idx columns;
  const real *a[FG_GROUP];
  real *c[FG_GROUP];
} product_job;

/* The totals of a row, by P panels, to its first columns. */
FG_INLINE void product_store(const product_job *job, fg_idx row, fg_idx panel, int P, int G, const vr *acc) {
  const fg_idx from = panel * G * FG_LANES;
  if (from + P * G * FG_LANES <= job->columns) {
    for (int i = 0; i < P * G; i++) store(job->c[row] + from + i * FG_LANES, acc[i]);
    return;
  }
  for (int i = 0; i < P * G && from + i * FG_LANES < job->columns; i++)
    store_some(job->c[row] + from + i * FG_LANES, acc[i], job->columns - from - i * FG_LANES);
}

FG_INLINE const real *bias_at(const product_job *job, fg_idx panel, int G) {
  return job->bias ? job->bias + panel * G * FG_LANES : NULL;
}

FG_INLINE void product_one(const product_job *job, fg_idx panel, int P, int G, int far) {
  vr acc[FG_TILE];
  tile_start(1, P, G, acc, bias_at(job, panel, G));
  tile(1, P, G, acc, job->a, job->w, panel, 0, job->w->inner, far);
  product_store(job, 0, panel, P, G, acc);
}

/* Panels outside, rows inside: the weights pass through the caches once for the whole group. */
FG_INLINE void product_group(const product_job *job, fg_idx n, int G) {
  const fg_idx panels = job->w->panels;
  fg_idx p = 0;
  if (n == 1) {
#define FG_AT(P, far) product_one(job, p, P, G, far)
    FG_EACH_PANELS(G, job->w, p, panels, FG_AT);
#undef FG_AT
  }
  for (; p < panels; p++) {
    vr acc[FG_GROUP * 4];
    tile_start(n, 1, G, acc, bias_at(job, p, G));
    tile_rows(G, acc, job->a, n, job->w, p);
    for (fg_idx i = 0; i < n; i++) product_store(job, i, p, 1, G, acc + i * G);
  }
}

static void product(const fg_matrix *w, const void *bias, const fg_act *act, const fg_rows *a, const fg_rows *c,
                    fg_idx columns, const fg_span *rows) {
  product_job job; /* an initialiser would clear its addresses, too: a tenth of the smallest call */
  job.w = w, job.bias = (const real *)bias, job.columns = columns;
  for (fg_idx first = 0; first < rows->count; first += FG_GROUP) {
    const fg_idx n = rows->count - first < FG_GROUP ? rows->count - first : FG_GROUP;
    for (fg_idx i = 0; i < n; i++) {
      job.a[i] = row_at(a, rows, first + i);
      job.c[i] = row_at(c, rows, first + i);
    }
    switch (w->gates) {
      case 1: product_group(&job, n, 1); break;
      case 2: product_group(&job, n, 2); break;
      case 3: product_group(&job, n, 3); break;
      default: product_group(&job, n, 4); break;
    }
    /* Apart from the tiles: a call among them would push their accumulators out of the registers. */
    for (fg_idx i = 0; i < n && act->kind != FG_LINEAR; i++)
      for (fg_idx j = 0; j < columns; j += FG_LANES)
        store_some(job.c[i] + j, fg_activation(act, load_some(job.c[i] + j, columns - j)), columns - j);
  }
}

#endif
