/* c = act(a w' + bias): the input product of a chunk, and Dense. */
#ifndef FASTGRU_PRODUCT_H
#define FASTGRU_PRODUCT_H

#include "tile.h"
#include "vmath.h"

enum { FG_GROUP = 48 }; /* rows whose addresses are found together; a multiple of the tiles' rows */

typedef struct {
  const fg_matrix *w;
  const real *bias;
  fg_idx columns;
  const real *a[FG_GROUP];
  real *c[FG_GROUP];
} product_job;

FG_INLINE void product_tile(const product_job *job, fg_idx first, fg_idx panel, int R, int P, int G, int far) {
  vr acc[FG_TILE];
  const fg_idx width = G * FG_LANES;
  tile_start(R, P, G, acc, job->bias ? job->bias + panel * width : NULL);
  tile(R, P, G, acc, job->a + first, job->w, panel, far);
  for (int r = 0; r < R; r++) {
    real *c = job->c[first + r];
    for (int i = 0; i < P * G; i++) {
      const fg_idx at = panel * width + i * FG_LANES;
      if (at < job->columns) store_some(c + at, acc[r * P * G + i], job->columns - at);
    }
  }
}

/* Panels outside, rows inside: the weights pass through the caches once for the whole group. */
FG_INLINE void product_group(const product_job *job, fg_idx n, int G) {
  const fg_idx panels = job->w->panels;
  fg_idx p = 0;
#define FG_AT(P, far) product_tile(job, 0, p, 1, P, G, far)
  if (n == 1) FG_EACH_PANELS(G, job->w, p, FG_AT);
#undef FG_AT
#define FG_AT(i, R) product_tile(job, i, p, R, 1, G, 0)
  for (; p < panels; p++) FG_EACH_ROWS(G, n, FG_AT);
#undef FG_AT
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
