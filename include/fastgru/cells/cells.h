/* Gate arithmetic: one function a phase, on `n` vectors of units, of one row or several.
 *
 * x[i][g] is the input part with all biases that may be merged into it, u[i * G + g] the recurrent part. at[i] is
 * the element of the vector's first unit in buffers of `stride`, unit[i] its column. The formulas are those
 * of fastgru/reference/cells.py.
 */
#ifndef FASTGRU_CELLS_H
#define FASTGRU_CELLS_H

#include "fastgru/fastgru.h"
#include "fastgru/math/vmath.h"

enum { FG_GATE = 0, FG_CANDIDATE = 1, FG_OUTPUT = 2 };

/* The vectors of one call. */
typedef struct {
  const fg_phase *p;
  const fg_step *s;
  int n;
  int tier, traced; /* constants in every caller */
  fg_idx at[FG_FLIGHT], unit[FG_FLIGHT];
  real *shown[FG_FLIGHT]; /* of a traced step: where the gates of each vector go */
} fg_cells;

typedef vr fg_inputs[4];

#define STATE(name) ((real *)c->s->name + c->at[i])
#define EACH FG_EACH(i, c->n)

FG_INLINE vr clipped(const fg_phase *p, vr v) {
  return p->clip > 0 ? at_least(at_most(v, (real)p->clip), -(real)p->clip) : v;
}

FG_INLINE void gate(const fg_cells *c, int n, vr *v) {
  if (c->tier == FG_USUAL)
    fg_sigmoids(n, v);
  else if (c->tier == FG_FAST)
    fg_fast_sigmoids(n, v);
  else
    FG_EACH(i, n) v[i] = fg_activation(&c->p->act[FG_GATE], clipped(c->p, v[i]));
}
FG_INLINE void hyperbolic(const fg_cells *c, int n, vr *v) {
  if (c->tier == FG_USUAL)
    fg_tanhs(n, v);
  else
    fg_fast_tanhs(n, v);
}
FG_INLINE void candidate(const fg_cells *c, int n, vr *v) {
  if (c->tier != FG_ANY)
    hyperbolic(c, n, v);
  else
    FG_EACH(i, n) v[i] = fg_activation(&c->p->act[FG_CANDIDATE], clipped(c->p, v[i]));
}
FG_INLINE void squash(const fg_cells *c, int n, vr *v) {
  if (c->tier != FG_ANY)
    hyperbolic(c, n, v);
  else
    FG_EACH(i, n) v[i] = fg_activation(&c->p->act[FG_OUTPUT], v[i]);
}

/* Show gate g of every vector where the step is traced. */
FG_INLINE void show(const fg_cells *c, int g, const vr *v) {
  if (c->traced) EACH store(c->shown[i] + g * FG_LANES, v[i]);
}

FG_INLINE vr blend(const fg_phase *p, vr z, vr h, vr n) {
  return p->keep_candidate ? z * (n - h) + h : z * (h - n) + n;
}

FG_INLINE void rnn(const fg_cells *c, const fg_inputs *x, const vr *u) {
  vr h[FG_FLIGHT];
  EACH h[i] = x[i][0] + u[i];
  candidate(c, c->n, h);
  EACH store(STATE(h_new), h[i]);
}

/* y = o squash(h) */
FG_INLINE void output(const fg_cells *c, const vr *o, vr *h) {
  squash(c, c->n, h);
  EACH store(STATE(y), o[i] * h[i]);
}

FG_INLINE void gru_after_cell(const fg_cells *c, int out, const fg_inputs *x, const vr *u) {
  const int G = out ? 4 : 3;
  vr rz[2 * FG_FLIGHT], h[FG_FLIGHT], o[FG_FLIGHT];
  EACH rz[i] = x[i][0] + u[i * G], rz[c->n + i] = x[i][1] + u[i * G + 1];
  gate(c, 2 * c->n, rz);
  show(c, 0, rz), show(c, 1, rz + c->n);
  EACH h[i] = rz[i] * u[i * G + 2] + x[i][2];
  candidate(c, c->n, h);
  show(c, 2, h);
  EACH h[i] = blend(c->p, rz[c->n + i], load(STATE(h)), h[i]);
  EACH store(STATE(h_new), h[i]);
  if (!out) return;
  EACH o[i] = x[i][3] + u[i * G + 3];
  gate(c, c->n, o);
  show(c, 3, o);
  output(c, o, h);
}
FG_INLINE void gru_after(const fg_cells *c, const fg_inputs *x, const vr *u) { gru_after_cell(c, 0, x, u); }
FG_INLINE void gru_after_out(const fg_cells *c, const fg_inputs *x, const vr *u) { gru_after_cell(c, 1, x, u); }

FG_INLINE void gru_gates_cell(const fg_cells *c, int out, const fg_inputs *x, const vr *u) {
  const int G = out ? 3 : 2;
  vr rz[2 * FG_FLIGHT], o[FG_FLIGHT];
  EACH rz[i] = x[i][0] + u[i * G], rz[c->n + i] = x[i][1] + u[i * G + 1];
  gate(c, 2 * c->n, rz);
  show(c, 0, rz), show(c, 1, rz + c->n);
  EACH store(STATE(s0), rz[i] * load(STATE(h)));
  EACH store(STATE(s1), rz[c->n + i]);
  if (!out) return;
  EACH o[i] = x[i][2] + u[i * G + 2];
  gate(c, c->n, o);
  show(c, 2, o);
  EACH store(STATE(y), o[i]);
}
FG_INLINE void gru_gates(const fg_cells *c, const fg_inputs *x, const vr *u) { gru_gates_cell(c, 0, x, u); }
FG_INLINE void gru_gates_out(const fg_cells *c, const fg_inputs *x, const vr *u) { gru_gates_cell(c, 1, x, u); }

FG_INLINE void gru_candidate(const fg_cells *c, const fg_inputs *x, const vr *u) {
  vr h[FG_FLIGHT], o[FG_FLIGHT];
  EACH h[i] = x[i][0] + u[i];
  candidate(c, c->n, h);
  show(c, 0, h);
  EACH h[i] = blend(c->p, load(STATE(s1)), load(STATE(h)), h[i]);
  EACH store(STATE(h_new), h[i]);
  if (!c->s->y) return;
  EACH o[i] = load(STATE(y));
  output(c, o, h);
}

FG_INLINE void lstm_cell(const fg_cells *c, int coupled, const fg_inputs *x, const vr *u) {
  const int G = coupled ? 3 : 4, g = coupled ? 1 : 2, n = c->n, gates = coupled ? 1 : 2;
  const real *peephole = (const real *)c->p->peephole;
  vr cell[FG_FLIGHT], a[2 * FG_FLIGHT], new[FG_FLIGHT], o[FG_FLIGHT];
  EACH cell[i] = load(STATE(c));
  EACH a[i] = x[i][0] + u[i * G];
  if (!coupled) EACH a[n + i] = x[i][1] + u[i * G + 1];
  EACH new[i] = x[i][g] + u[i * G + g], o[i] = x[i][g + 1] + u[i * G + g + 1];
  if (peephole) {
    EACH a[i] = a[i] + load(peephole + c->unit[i]) * cell[i];
    if (!coupled) EACH a[n + i] = a[n + i] + load(peephole + c->s->stride + c->unit[i]) * cell[i];
  }
  gate(c, gates * n, a);
  if (coupled) EACH a[n + i] = (real)1 - a[i];
  candidate(c, n, new);
  show(c, 0, a), show(c, g, new);
  if (!coupled) show(c, 1, a + n);
  EACH cell[i] = a[n + i] * cell[i] + settled(a[i] * new[i]);
  if (peephole) EACH o[i] = o[i] + load(peephole + 2 * c->s->stride + c->unit[i]) * cell[i];
  EACH store(STATE(c), cell[i]);
  gate(c, n, o);
  show(c, g + 1, o);
  squash(c, n, cell);
  EACH store(STATE(h_new), o[i] * cell[i]);
}
FG_INLINE void lstm(const fg_cells *c, const fg_inputs *x, const vr *u) { lstm_cell(c, 0, x, u); }
FG_INLINE void lstm_coupled(const fg_cells *c, const fg_inputs *x, const vr *u) { lstm_cell(c, 1, x, u); }

FG_INLINE void project(const fg_cells *c, const fg_inputs *x, const vr *u) {
  (void)x;
  EACH store(STATE(h_new), u[i]);
}

#endif
