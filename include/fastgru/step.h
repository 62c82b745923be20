/* One time step of a phase: the recurrent product of a tile, then its gate arithmetic in registers. */
#ifndef FASTGRU_STEP_H
#define FASTGRU_STEP_H

#include "cells.h"
#include "tile.h"

/* R rows by P panels; without `own` the product is read from where BLAS left it. */
FG_INLINE void step_tile(const fg_phase *ph, const fg_step *s, fg_idx first, fg_idx panel, int R, int P, int kind,
                         int G, int plain, int own) {
  const fg_idx width = G * FG_LANES, row = ph->u.panels * width;
  const real *a[8];
  fg_idx m[8];
  vr acc[32], x[4], zero[4] = {{0}};
  FG_UNROLL for (int r = 0; r < R; r++) {
    m[r] = row_number(&s->rows, first + r);
    a[r] = (const real *)s->a + m[r] * s->a_stride;
  }
  tile_start(R, P, G, acc, ph->bias ? (const real *)ph->bias + panel * width : NULL);
  if (own) tile(R, P, G, acc, a, (const real *)ph->u.data + panel * ph->u.inner * width, ph->u.inner);
  FG_UNROLL for (int r = 0; r < R; r++)
    FG_UNROLL for (int p = 0; p < P; p++) {
      const fg_idx unit = (panel + p) * FG_LANES, from = m[r] * row + (panel + p) * width;
      vr *u = acc + (r * P + p) * G;
      if (!own) FG_UNROLL for (int g = 0; g < G; g++) u[g] += load((const real *)s->product + from + g * FG_LANES);
      if (s->x) FG_UNROLL for (int g = 0; g < G; g++) x[g] = load((const real *)s->x + from + g * FG_LANES);
      cell(kind, ph, s, m[r] * s->stride + unit, unit, plain, s->x ? x : zero, u);
    }
}

/* Panels outside, rows inside: the weights pass through the caches once a step. */
FG_INLINE void step_rows(const fg_phase *ph, const fg_step *s, int kind, int G, int plain) {
  const fg_idx n = s->rows.count, panels = ph->u.panels;
  fg_idx p = 0;
  if (n == 1)
    for (; p + FG_PANELS(G) <= panels; p += FG_PANELS(G)) step_tile(ph, s, 0, p, 1, FG_PANELS(G), kind, G, plain, 1);
  for (; p < panels; p++) {
    fg_idx i = 0;
    for (; i + FG_ROWS(G) <= n; i += FG_ROWS(G)) step_tile(ph, s, i, p, FG_ROWS(G), 1, kind, G, plain, 1);
    for (; i + 2 <= n; i += 2) step_tile(ph, s, i, p, 2, 1, kind, G, plain, 1);
    if (i < n) step_tile(ph, s, i, p, 1, 1, kind, G, plain, 1);
  }
}

FG_INLINE void gate_rows(const fg_phase *ph, const fg_step *s, int kind, int G, int plain) {
  for (fg_idx i = 0; i < s->rows.count; i++)
    for (fg_idx p = 0; p < ph->u.panels; p++) step_tile(ph, s, i, p, 1, 1, kind, G, plain, 0);
}

/* The table of phases: name, kind, G. */
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

#define FG_GATES_FUNCTIONS(kind, G)                                                                   \
  static void gates_plain_##kind(const fg_phase *p, const fg_step *s) { gate_rows(p, s, kind, G, 1); } \
  static void gates_any_##kind(const fg_phase *p, const fg_step *s) { gate_rows(p, s, kind, G, 0); }
#define FG_GATES_ROW(kind, G) {gates_any_##kind, gates_plain_##kind},
typedef void phase_fn(const fg_phase *, const fg_step *);
FG_EACH_PHASE(FG_GATES_FUNCTIONS)
static phase_fn *const gates_table[FG_PHASES][2] = {FG_EACH_PHASE(FG_GATES_ROW)};
static void gates(const fg_phase *p, const fg_step *s) { gates_table[p->kind][p->plain](p, s); }

#ifndef FG_DOUBLE
#define FG_STEP_FUNCTIONS(kind, G)                                                                    \
  static void step_plain_##kind(const fg_phase *p, const fg_step *s) { step_rows(p, s, kind, G, 1); } \
  static void step_any_##kind(const fg_phase *p, const fg_step *s) { step_rows(p, s, kind, G, 0); }
#define FG_STEP_ROW(kind, G) {step_any_##kind, step_plain_##kind},
FG_EACH_PHASE(FG_STEP_FUNCTIONS)
static phase_fn *const step_table[FG_PHASES][2] = {FG_EACH_PHASE(FG_STEP_ROW)};
static void step(const fg_phase *p, const fg_step *s) { step_table[p->kind][p->plain](p, s); }
#endif

#endif
