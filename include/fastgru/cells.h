/* Gate arithmetic: one function a phase, on one vector of units of one row.
 *
 * x[g] is the input part with all biases that may be merged into it, u[g] the recurrent part. `at` is
 * the element of the row's first unit in buffers of `stride`, `unit` its column. The formulas are those
 * of fastgru/reference.py.
 */
#ifndef FASTGRU_CELLS_H
#define FASTGRU_CELLS_H

#include "fastgru.h"
#include "vmath.h"

enum { FG_GATE = 0, FG_CANDIDATE = 1, FG_OUTPUT = 2 };

#define STATE(name) ((real *)s->name + at)

FG_INLINE vr clipped(const fg_phase *p, vr v) {
  return p->clip > 0 ? at_least(at_most(v, (real)p->clip), -(real)p->clip) : v;
}

/* `plain` is a constant in every caller: sigmoid gates, tanh elsewhere, no clip. */
FG_INLINE vr gate(const fg_phase *p, int plain, vr v) {
  return plain ? fg_sigmoid(v) : fg_activation(&p->act[FG_GATE], clipped(p, v));
}
FG_INLINE vr candidate(const fg_phase *p, int plain, vr v) {
  return plain ? fg_tanh(v) : fg_activation(&p->act[FG_CANDIDATE], clipped(p, v));
}
FG_INLINE vr squash(const fg_phase *p, int plain, vr v) {
  return plain ? fg_tanh(v) : fg_activation(&p->act[FG_OUTPUT], v);
}

FG_INLINE vr blend(const fg_phase *p, vr z, vr h, vr n) {
  return p->keep_candidate ? z * (n - h) + h : z * (h - n) + n;
}

FG_INLINE void rnn(const fg_phase *p, const fg_step *s, fg_idx at, int plain, const vr *x, const vr *u) {
  store(STATE(h_new), candidate(p, plain, x[0] + u[0]));
}

FG_INLINE void gru_after(const fg_phase *p, const fg_step *s, fg_idx at, int plain, int out, const vr *x, const vr *u) {
  const vr r = gate(p, plain, x[0] + u[0]), z = gate(p, plain, x[1] + u[1]);
  const vr h = blend(p, z, load(STATE(h)), candidate(p, plain, r * u[2] + x[2]));
  store(STATE(h_new), h);
  if (out) store(STATE(y), gate(p, plain, x[3] + u[3]) * squash(p, plain, h));
}

FG_INLINE void gru_gates(const fg_phase *p, const fg_step *s, fg_idx at, int plain, int out, const vr *x, const vr *u) {
  store(STATE(s0), gate(p, plain, x[0] + u[0]) * load(STATE(h)));
  store(STATE(s1), gate(p, plain, x[1] + u[1]));
  if (out) store(STATE(y), gate(p, plain, x[2] + u[2]));
}

FG_INLINE void gru_candidate(const fg_phase *p, const fg_step *s, fg_idx at, int plain, const vr *x, const vr *u) {
  const vr h = blend(p, load(STATE(s1)), load(STATE(h)), candidate(p, plain, x[0] + u[0]));
  store(STATE(h_new), h);
  if (s->y) store(STATE(y), load(STATE(y)) * squash(p, plain, h));
}

FG_INLINE void lstm(const fg_phase *p, const fg_step *s, fg_idx at, fg_idx unit, int plain, int coupled, const vr *x,
                    const vr *u) {
  const int g = coupled ? 1 : 2;
  const real *peep = (const real *)p->peephole + (p->peephole ? unit : 0);
  const vr c = load(STATE(c));
  vr ai = x[0] + u[0], af = x[1] + u[1], ao = x[g + 1] + u[g + 1];
  if (p->peephole) ai = ai + load(peep) * c, af = af + load(peep + s->stride) * c;
  const vr i = gate(p, plain, ai);
  vr f = (real)1 - i;
  if (!coupled) f = gate(p, plain, af);
  const vr next = f * c + settled(i * candidate(p, plain, x[g] + u[g]));
  if (p->peephole) ao = ao + load(peep + 2 * s->stride) * next;
  store(STATE(c), next);
  store(STATE(h_new), gate(p, plain, ao) * squash(p, plain, next));
}

/* `kind` is a constant in every caller, so the switch is gone when this is compiled. */
FG_INLINE void cell(int kind, const fg_phase *p, const fg_step *s, fg_idx at, fg_idx unit, int plain, const vr *x,
                    const vr *u) {
  switch (kind) {
    case FG_RNN: rnn(p, s, at, plain, x, u); break;
    case FG_GRU_AFTER: gru_after(p, s, at, plain, 0, x, u); break;
    case FG_GRU_AFTER_OUT: gru_after(p, s, at, plain, 1, x, u); break;
    case FG_GRU_GATES: gru_gates(p, s, at, plain, 0, x, u); break;
    case FG_GRU_GATES_OUT: gru_gates(p, s, at, plain, 1, x, u); break;
    case FG_GRU_CANDIDATE: gru_candidate(p, s, at, plain, x, u); break;
    case FG_LSTM: lstm(p, s, at, unit, plain, 0, x, u); break;
    case FG_LSTM_COUPLED: lstm(p, s, at, unit, plain, 1, x, u); break;
    default: store(STATE(h_new), u[0]); break; /* FG_PROJECT */
  }
}

#endif
