/* c = act(a w' + bias): the input product of a chunk, and Dense. */
#ifndef FASTGRU_PRODUCT_H
#define FASTGRU_PRODUCT_H

#include "tile.h"
#include "fastgru/math/vmath.h"

typedef struct {
  const fg_matrix *w;
  const real *bias;
  fg_idx columns;
  int relu; /* of the totals, on their way to memory */
  const real *a[FG_GROUP];
  real *c[FG_GROUP];
} product_job;

/* The totals of a row, by P panels, to its first columns. */
FG_INLINE void product_store(const product_job *job, fg_idx row, fg_idx panel, int P, int G, vr *acc) {
  const fg_idx from = panel * G * FG_LANES, left = job->columns - from;
  const fg_idx whole = left >= P * G * FG_LANES ? P * G : left / FG_LANES, rest = left - whole * FG_LANES;
  real *c = job->c[row] + from;
  if (job->relu) FG_EACH(i, P * G) acc[i] = at_least(acc[i], 0);
  for (fg_idx i = 0; i < whole; i++) store(c + i * FG_LANES, acc[i]);
  if (whole < P * G && rest > 0) store_some(c + whole * FG_LANES, acc[whole], rest);
}

FG_INLINE const real *bias_at(const product_job *job, fg_idx panel, int G) {
  return job->bias ? job->bias + panel * G * FG_LANES : NULL;
}

FG_INLINE void product_one(const product_job *job, fg_idx panel, int P, enum fg_shape shape, int G) {
  vr acc[FG_TILE];
  tile_start(1, P, G, acc, bias_at(job, panel, G));
  tile(shape, G, acc, job->a, job->w, panel, 0, job->w->inner);
  product_store(job, 0, panel, P, G, acc);
}

/* Panels outside, rows inside: the weights pass through the caches once for the whole group. */
FG_INLINE void product_group(const product_job *job, fg_idx n, int G) {
  const fg_idx panels = job->w->panels;
  const int far = is_far(job->w, weight_bytes(job->w));
  enum fg_shape shape;
  for (fg_idx p = 0, P; n == 1 && p < panels; p += P) {
    P = next_panels(G, far, p, panels, &shape);
    product_one(job, p, (int)P, shape, G);
  }
  for (fg_idx p = 0; n > 1 && p < panels; p++) {
    vr acc[FG_GROUP * 4];
    tile_start(n, 1, G, acc, bias_at(job, p, G));
    tile_rows(G, acc, job->a, n, job->w, p);
    for (fg_idx i = 0; i < n; i++) product_store(job, i, p, 1, G, acc + i * G);
  }
}

static void product(const fg_matrix *w, const void *bias, const fg_act *act, const fg_rows *a, const fg_rows *c,
                    fg_idx columns, const fg_span *rows) {
  product_job job; /* an initialiser would clear its addresses, too: a tenth of the smallest call */
  job.w = w, job.bias = (const real *)bias, job.columns = columns, job.relu = act->kind == FG_RELU;
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
    if (act->kind != FG_LINEAR && act->kind != FG_RELU) activate_columns(act, job.c, n, columns);
  }
}

#endif
