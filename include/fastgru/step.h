/* One time step of a phase: the recurrent product of a tile, then its gate arithmetic while the sums are in the L1
 * cache. */
#ifndef FASTGRU_STEP_H
#define FASTGRU_STEP_H

#include "cells.h"
#include "tile.h"

/* Vectors of units whose cells are computed side by side. One at a time waits for itself: the gates of 32 rows of 128
 * units (GRU, LSTM) took 4.8 and 6.3 us on Zen 5; by twos 2.3 and 3.7, by fours 2.2 and 3.1, by sixes 2.7 and 3.8. */
#if FG_REGISTERS == 32
#define FG_CELLS_IN_FLIGHT 4
#else
#define FG_CELLS_IN_FLIGHT 2
#endif

/* n vectors of the R x P that `acc` holds, from the i-th on. */
FG_INLINE void cell_vectors(const fg_phase *ph, const fg_step *s, const fg_idx *m, int P, fg_idx panel, const vr *acc,
                            int i, int n, int kind, int G, int plain) {
  const fg_idx width = G * FG_LANES, row = ph->u.panels * width;
  fg_cells c;
  c.p = ph, c.s = s, c.n = n, c.plain = plain;
  fg_inputs x[FG_FLIGHT];
  FG_EACH(v, n) {
    const fg_idx r = (i + v) / P, p = panel + (i + v) % P, from = m[r] * row + p * width;
    c.unit[v] = p * FG_LANES;
    c.at[v] = m[r] * s->stride + c.unit[v];
    FG_EACH(g, G) x[v][g] = s->x ? load((const real *)s->x + from + g * FG_LANES) : splat(0);
  }
  cell(kind, &c, x, acc + i * G);
}

/* The cells of R rows, numbered m[], by P panels: acc[(r * P + p) * G + g] are the recurrent parts. One function a
 * phase and kind of activations, whatever the tile. */
FG_INLINE void cell_tile(const fg_phase *ph, const fg_step *s, const fg_idx *m, int R, int P, fg_idx panel,
                         const vr *acc, int kind, int G, int plain) {
  int i = 0;
  if (plain) {
    for (; i + FG_CELLS_IN_FLIGHT <= R * P; i += FG_CELLS_IN_FLIGHT)
      cell_vectors(ph, s, m, P, panel, acc, i, FG_CELLS_IN_FLIGHT, kind, G, plain);
    for (; i + 2 <= R * P; i += 2) cell_vectors(ph, s, m, P, panel, acc, i, 2, kind, G, plain);
  }
  for (; i < R * P; i++) cell_vectors(ph, s, m, P, panel, acc, i, 1, kind, G, plain);
}

typedef void cells_fn(const fg_phase *, const fg_step *, const fg_idx *m, int R, int P, fg_idx panel, const vr *acc);

/* The table of phases: name, G. */
#define FG_EACH_PHASE(row)            \
  row(FG_RNN, 1)                      \
  row(FG_GRU_AFTER, 3)                \
  row(FG_GRU_AFTER_OUT, 4)            \
  row(FG_GRU_GATES, 2)                \
  row(FG_GRU_GATES_OUT, 3)            \
  row(FG_GRU_CANDIDATE, 1)            \
  row(FG_LSTM, 4)                     \
  row(FG_LSTM_COUPLED, 3)             \
  row(FG_PROJECT, 1)

#define FG_CELLS(name, kind, G, plain)                                                                       \
  static __attribute__((noinline)) void name(const fg_phase *ph, const fg_step *s, const fg_idx *m, int R, int P, \
                                             fg_idx panel, const vr *acc) {                                  \
    cell_tile(ph, s, m, R, P, panel, acc, kind, G, plain);                                                   \
  }
#define FG_CELLS_FUNCTIONS(kind, G) FG_CELLS(cells_any_##kind, kind, G, 0) FG_CELLS(cells_plain_##kind, kind, G, 1)
#define FG_CELLS_ROW(kind, G) {cells_any_##kind, cells_plain_##kind},
FG_EACH_PHASE(FG_CELLS_FUNCTIONS)
static cells_fn *const cells_table[FG_PHASES][2] = {FG_EACH_PHASE(FG_CELLS_ROW)};

/* The product was made elsewhere: s->product. */
static void gates(const fg_phase *ph, const fg_step *s) {
  cells_fn *const cells = cells_table[ph->kind][ph->plain];
  const fg_idx row = ph->u.panels * ph->u.gates * FG_LANES;
  for (fg_idx i = 0; i < s->rows.count; i++) {
    const fg_idx m = row_number(&s->rows, i);
    real *product = (real *)s->product + m * row;
    if (ph->bias)
      for (fg_idx j = 0; j < row; j += FG_LANES)
        store(product + j, load((const real *)ph->bias + j) + load(product + j));
    cells(ph, s, &m, 1, (int)ph->u.panels, 0, (const vr *)product);
  }
}

#ifndef FG_DOUBLE
FG_INLINE const real *step_bias(const fg_phase *ph, fg_idx panel, int G) {
  return ph->bias ? (const real *)ph->bias + panel * G * FG_LANES : NULL;
}

FG_INLINE void step_one(const fg_phase *ph, const fg_step *s, cells_fn *cells, fg_idx m, fg_idx panel, int P, int G,
                        int far) {
  const real *a = (const real *)s->a + m * s->a_stride;
  vr acc[FG_TILE];
  tile_start(1, P, G, acc, step_bias(ph, panel, G));
  tile(1, P, G, acc, &a, &ph->u, panel, 0, ph->u.inner, far);
  cells(ph, s, &m, 1, P, panel, acc);
}

/* Rows first .. first + n - 1. Panels outside, rows inside: the weights pass through the caches once for all of them. */
FG_INLINE void step_group(const fg_phase *ph, const fg_step *s, cells_fn *cells, fg_idx first, fg_idx n, int G) {
  const real *a[FG_GROUP];
  fg_idx m[FG_GROUP];
  for (fg_idx i = 0; i < n; i++) {
    m[i] = row_number(&s->rows, first + i);
    a[i] = (const real *)s->a + m[i] * s->a_stride;
  }
  for (fg_idx p = 0; p < ph->u.panels; p++) {
    vr acc[FG_GROUP * 4];
    tile_start(n, 1, G, acc, step_bias(ph, p, G));
    tile_rows(G, acc, a, n, &ph->u, p);
    cells(ph, s, m, (int)n, 1, p, acc);
  }
}

FG_INLINE void step_rows(const fg_phase *ph, const fg_step *s, int G) {
  cells_fn *const cells = cells_table[ph->kind][ph->plain];
  const fg_idx n = s->rows.count;
  if (n == 1) {
    const fg_idx m = row_number(&s->rows, 0);
    fg_idx p = 0;
#define FG_AT(P, far) step_one(ph, s, cells, m, p, P, G, far)
    FG_EACH_PANELS(G, &ph->u, p, FG_AT);
    for (; p < ph->u.panels; p++) FG_AT(1, 0);
#undef FG_AT
    return;
  }
  for (fg_idx first = 0; first < n; first += FG_GROUP)
    step_group(ph, s, cells, first, n - first < FG_GROUP ? n - first : FG_GROUP, G);
}

static void step(const fg_phase *ph, const fg_step *s) {
  switch (ph->u.gates) {
    case 1: step_rows(ph, s, 1); break;
    case 2: step_rows(ph, s, 2); break;
    case 3: step_rows(ph, s, 3); break;
    default: step_rows(ph, s, 4); break;
  }
}
#endif

#endif
