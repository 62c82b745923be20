/* One time step of a phase: the recurrent product of a tile, then its gate arithmetic while the sums are in the L1
 * cache. */
#ifndef FASTGRU_STEP_H
#define FASTGRU_STEP_H

#include "cells.h"
#include "tile.h"

/* The cells of R rows, numbered m[], by P panels: acc[(r * P + p) * G + g] are the recurrent parts. One function a
 * phase and kind of activations, whatever the tile. */
FG_INLINE void cell_tile(const fg_phase *ph, const fg_step *s, const fg_idx *m, int R, int P, fg_idx panel,
                         const vr *acc, int kind, int G, int plain) {
  const fg_idx width = G * FG_LANES, row = ph->u.panels * width;
  for (int r = 0; r < R; r++)
    for (int p = 0; p < P; p++) {
      const fg_idx unit = (panel + p) * FG_LANES, from = m[r] * row + (panel + p) * width;
      vr x[4] = {{0}};
      if (s->x) FG_UNROLL for (int g = 0; g < G; g++) x[g] = load((const real *)s->x + from + g * FG_LANES);
      cell(kind, ph, s, m[r] * s->stride + unit, unit, plain, x, acc + (r * P + p) * G);
    }
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
  const int G = (int)ph->u.gates;
  const fg_idx width = G * FG_LANES, row = ph->u.panels * width;
  for (fg_idx i = 0; i < s->rows.count; i++) {
    const fg_idx m = row_number(&s->rows, i);
    for (fg_idx p = 0; p < ph->u.panels; p++) {
      vr acc[4];
      tile_start(1, 1, G, acc, ph->bias ? (const real *)ph->bias + p * width : NULL);
      for (int g = 0; g < G; g++) acc[g] += load((const real *)s->product + m * row + p * width + g * FG_LANES);
      cells_table[ph->kind][ph->plain](ph, s, &m, 1, 1, p, acc);
    }
  }
}

#ifndef FG_DOUBLE
FG_INLINE void step_tile(const fg_phase *ph, const fg_step *s, cells_fn *cells, fg_idx first, fg_idx panel, int R,
                         int P, int G) {
  const fg_idx width = G * FG_LANES;
  const real *a[8];
  fg_idx m[8];
  vr acc[FG_TILE];
  for (int r = 0; r < R; r++) {
    m[r] = row_number(&s->rows, first + r);
    a[r] = (const real *)s->a + m[r] * s->a_stride;
  }
  tile_start(R, P, G, acc, ph->bias ? (const real *)ph->bias + panel * width : NULL);
  tile(R, P, G, acc, a, (const real *)ph->u.data + panel * ph->u.inner * width, ph->u.inner);
  cells(ph, s, m, R, P, panel, acc);
}

/* Panels outside, rows inside: the weights pass through the caches once a step. */
FG_INLINE void step_rows(const fg_phase *ph, const fg_step *s, int G) {
  cells_fn *const cells = cells_table[ph->kind][ph->plain];
  const fg_idx n = s->rows.count, panels = ph->u.panels;
  fg_idx p = 0;
  if (n == 1)
    for (; p + FG_PANELS(G) <= panels; p += FG_PANELS(G)) step_tile(ph, s, cells, 0, p, 1, FG_PANELS(G), G);
#define FG_AT(i, R) step_tile(ph, s, cells, i, p, R, 1, G)
  for (; p < panels; p++) FG_EACH_ROWS(G, n, FG_AT);
#undef FG_AT
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
