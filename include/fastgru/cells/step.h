/* The time steps of a phase: the recurrent products of some panels, then their gate arithmetic while the sums are in the
 * L1 cache. */
#ifndef FASTGRU_STEP_H
#define FASTGRU_STEP_H

#include "cells.h"
#include "fastgru/gemm/tile.h"

/* Vectors of units whose cells are computed side by side. One at a time waits for itself: the gates of 32 rows of 128
 * units (GRU, LSTM) took 4.8 and 6.3 us on Zen 5; by twos 2.3 and 3.7, by fours 2.2 and 3.1, by sixes 2.7 and 3.8. With
 * the 16 registers of AVX2 fours spill, and are still better than twos: Zen 3, a step of 32 rows of 32 units 4.5 and
 * 6.1 us, now 4.1 and 5.6; of 64 units 13.6 and 17.7, now 12.6 and 17.0. All vectors through the sigmoids before the
 * first one's tanh, by twos or fours: the same or slower, as the gates of many vectors are bound by their instructions
 * already (Zen 3: 10 cycles a vector's sigmoid, 11 its tanh), those of a few by one's latency. */
#ifdef FG_SMALL
enum { FG_CELLS_IN_FLIGHT = 1 };
#else
enum { FG_CELLS_IN_FLIGHT = 4 };
#endif

/* The cells of `count` vectors: the `panel`-th of rows m[], or panel after panel of row m[0]. acc[i * G + g] are the
 * recurrent parts. */
typedef struct {
  const fg_phase *ph;
  const fg_step *s;
  const fg_idx *m;
  fg_idx panel;
  int rows, count; /* rows > 1: one panel */
  const vr *acc;
} cells_job;

/* n of them, from the i-th on, and their input parts. */
FG_INLINE fg_cells take_cells(const cells_job *job, int i, int n, int G, int tier, fg_inputs *x) {
  const fg_idx width = G * FG_LANES, row = job->ph->u.panels * width;
  fg_cells c;
  c.p = job->ph, c.s = job->s, c.n = n, c.tier = tier & ~FG_TRACED, c.traced = tier & FG_TRACED;
  FG_EACH(v, n) {
    const fg_idx r = job->rows > 1 ? i + v : 0, p = job->rows > 1 ? job->panel : job->panel + i + v;
    const fg_idx m = job->m[r], from = m * row + p * width;
    c.unit[v] = p * FG_LANES;
    c.at[v] = m * job->s->stride + c.unit[v];
    FG_EACH(g, G) x[v][g] = job->s->x ? load((const real *)job->s->x + from + g * FG_LANES) : splat(0);
    if (c.traced) c.shown[v] = (real *)job->s->x + from;
  }
  return c;
}

typedef void cells_fn(const cells_job *);

/* The table of phases with gates: name, G, formula. */
#define FG_EACH_CELL(row)                  \
  row(FG_RNN, 1, rnn)                      \
  row(FG_GRU_AFTER, 3, gru_after)          \
  row(FG_GRU_AFTER_OUT, 4, gru_after_out)  \
  row(FG_GRU_GATES, 2, gru_gates)          \
  row(FG_GRU_GATES_OUT, 3, gru_gates_out)  \
  row(FG_GRU_CANDIDATE, 1, gru_candidate)  \
  row(FG_LSTM, 4, lstm)                    \
  row(FG_LSTM_COUPLED, 3, lstm_coupled)

/* One function a phase and tier, whatever the tile: of the formula's name, not by a switch over a constant. There each
 * function first took in the formulas of all phases, which cost GCC 12 a sixth of the time of this object, of float64's a
 * fifth. By fours, twos and ones each: without the fours, gates of float64 took 25 to 40 % longer (Zen 3). */
#define FG_SOME_CELLS(n, G, formula, tier)                            \
  for (; i + (n) <= job->count; i += (n)) {                           \
    fg_inputs x[FG_FLIGHT];                                           \
    const fg_cells c = take_cells(job, i, n, G, tier, x);             \
    formula(&c, x, job->acc + i * (G));                               \
  }
#define FG_CELLS(name, G, formula, tier, most)                        \
  static __attribute__((noinline)) void name(const cells_job *job) {  \
    int i = 0;                                                        \
    if ((most) >= 4) FG_SOME_CELLS(4, G, formula, tier)               \
    if ((most) >= 2) FG_SOME_CELLS(2, G, formula, tier)               \
    FG_SOME_CELLS(1, G, formula, tier)                                \
  }
/* Each twice, and the second time traced: what a step does that shows nothing has no branch for one that does. Traced
 * ones go one by one: by fours they took a fifth of the time of a build. */
#define FG_BOTH_CELLS(name, G, formula, tier)                                           \
  FG_CELLS(cells_##name, G, formula, tier, (tier) == FG_ANY ? 1 : FG_CELLS_IN_FLIGHT)   \
  FG_CELLS(traced_##name, G, formula, (tier) | FG_TRACED, 1)
#define FG_CELLS_FUNCTIONS(kind, G, formula)                          \
  FG_BOTH_CELLS(any_##kind, G, formula, FG_ANY) FG_BOTH_CELLS(usual_##kind, G, formula, FG_USUAL)
#define FG_TIERED(any, usual, fast) \
  {cells_##any, cells_##usual, cells_##fast, NULL, traced_##any, traced_##usual, traced_##fast, NULL}
#ifdef FG_DOUBLE /* what is 1e-6 off needs no double: it is computed, but not compiled for speed */
#define FG_CELLS_ROW(kind, ...) [kind] = FG_TIERED(any_##kind, usual_##kind, any_##kind),
#else
#define FG_FAST_FUNCTIONS(kind, G, formula) FG_BOTH_CELLS(fast_##kind, G, formula, FG_FAST)
#define FG_CELLS_ROW(kind, ...) [kind] = FG_TIERED(any_##kind, usual_##kind, fast_##kind),
FG_EACH_CELL(FG_FAST_FUNCTIONS)
#endif
FG_EACH_CELL(FG_CELLS_FUNCTIONS)
FG_CELLS(cells_project, 1, project, FG_USUAL, FG_CELLS_IN_FLIGHT)
static cells_fn *const cells_table[FG_PHASES][FG_TIERS] = {
    FG_EACH_CELL(FG_CELLS_ROW)[FG_PROJECT] = {cells_project, cells_project, cells_project, NULL,
                                              cells_project, cells_project, cells_project, NULL}, /* shows nothing */
};

/* The product was made elsewhere: s->product, with its bias where the format is behind FG_FLOAT16. */
static void gates(const fg_phase *ph, const fg_step *s) {
  cells_fn *const cells = cells_table[ph->kind][ph->tier];
  const fg_idx row = ph->u.panels * ph->u.gates * FG_LANES;
  for (fg_idx i = 0; i < s->rows.count; i++) {
    const fg_idx m = row_number(&s->rows, i);
    real *product = (real *)s->product + m * row;
    if (ph->bias_h && ph->u.format <= FG_FLOAT16)
      for (fg_idx j = 0; j < row; j += FG_LANES)
        store(product + j, load((const real *)ph->bias_h + j) + load(product + j));
    const cells_job job = {ph, s, &m, 0, 1, (int)ph->u.panels, (const vr *)product};
    cells(&job);
  }
}

#ifndef FG_DOUBLE
FG_INLINE const real *step_bias(const fg_phase *ph, fg_idx panel, int G) {
  return ph->bias_h ? (const real *)ph->bias_h + panel * G * FG_LANES : NULL;
}

/* The sums of P panels of row m, and their input part where it is to be made. */
FG_INLINE void step_one(const fg_phase *ph, const fg_step *s, vr *acc, fg_idx m, fg_idx panel, int P,
                        enum fg_shape shape, int G) {
  const real *a = (const real *)s->a + m * s->a_stride, *input = (const real *)s->input;
  if (s->w) {
    vr *x = (vr *)s->x + (m * ph->u.panels + panel) * G;
    tile_start(1, P, G, x, s->w_bias ? (const real *)s->w_bias + panel * G * FG_LANES : NULL);
    if (s->w->inner == 1 && s->w->format == FG_NATIVE) { /* samples of audio: a tile of one term, its chain from 0 */
      const real *w = (const real *)s->w->data + panel * G * FG_LANES;
      FG_EACH(i, P * G) x[i] += load(w + i * FG_LANES) * *input + splat(0);
    } else {
      tile(shape, G, x, &input, s->w, panel, 0, s->w->inner);
    }
  }
  tile_start(1, P, G, acc, step_bias(ph, panel, G));
  tile(shape, G, acc, &a, &ph->u, panel, 0, ph->u.inner);
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
    const cells_job job = {ph, s, m, p, (int)n, (int)n, acc};
    cells(&job);
  }
}

/* The panels from .. to - 1 of one row. */
FG_INLINE void step_stretch(const fg_phase *ph, const fg_step *s, cells_fn *cells, fg_idx from, fg_idx to, int G) {
  const fg_idx m = row_number(&s->rows, 0);
  const int far = is_far(&ph->u, weight_bytes(&ph->u));
  vr acc[FG_GROUP * 4];
  enum fg_shape shape;
  for (fg_idx p = from, P; p < to; p += P) {
    P = next_panels(G, far, p, to, &shape);
#define FG_AT(P, shape) step_one(ph, s, acc + (p - from) * G, m, p, P, shape, G)
    switch (shape) { /* constants: a step of 16 units takes a tenth longer where the panels are counted as it runs */
      case FG_SHAPE_FAR: FG_AT(FG_FAR_PANELS(G), FG_SHAPE_FAR); break;
      case FG_SHAPE_WIDE: FG_AT(FG_PANELS(G), FG_SHAPE_WIDE); break;
      case FG_SHAPE_PAIR: FG_AT(2, FG_SHAPE_PAIR); break;
      default: FG_AT(1, FG_SHAPE_ONE); break;
    }
#undef FG_AT
  }
  const cells_job job = {ph, s, &m, from, 1, (int)(to - from), acc};
  cells(&job);
}

FG_INLINE void step_rows(const fg_phase *ph, const fg_step *s, cells_fn *cells, fg_idx stretch, int G) {
  const fg_idx n = s->rows.count;
  if (n == 1) {
#define FG_AT(from, to) step_stretch(ph, s, cells, from, to, G)
    FG_EACH_STRETCH(&ph->u, stretch, s->rows.backward, FG_AT)
#undef FG_AT
    return;
  }
  for (fg_idx first = 0; first < n; first += FG_GROUP)
    step_group(ph, s, cells, first, n - first < FG_GROUP ? n - first : FG_GROUP, G);
}

static void step_out(const fg_step *s, fg_idx t) {
  for (fg_idx i = 0; i < s->rows.count; i++) {
    const fg_idx m = row_number(&s->rows, i);
    const real *h = (const real *)s->h_new + m * s->stride;
    real *out = (real *)s->out.data + t * s->out.t_stride + m * s->out.b_stride;
    for (fg_idx j = 0; j < s->width; j += FG_LANES) store_some(out + j, load(h + j), s->width - j);
  }
}

FG_INLINE void all_steps(const fg_phase *ph, fg_step *s, int G) {
  cells_fn *const cells = cells_table[ph->kind][ph->tier];
  const fg_idx panel_bytes = ph->u.inner * G * FG_LANES * weight_bytes(&ph->u);
  const int together = is_far(&ph->u, weight_bytes(&ph->u)) ? FG_FAR_PANELS(G) : FG_PANELS(G);
  const fg_idx stretch = stretch_of(&ph->u, panel_bytes, together);
  for (fg_idx t = 0; t < s->count; t++) {
    step_rows(ph, s, cells, stretch, G);
    if (s->out.data) step_out(s, t);
    void *h = (void *)s->h;
    s->a = s->h = s->h_new, s->h_new = h;
    if (s->w)
      s->input = (const real *)s->input + s->input_stride;
    else
      s->x = (real *)s->x + s->x_stride;
    s->rows.backward = !s->rows.backward;
  }
}

/* A sequence in one call: from the engine, a step of 32 units would cost a tenth more. */
static void steps(const fg_phase *ph, fg_step *s) {
  switch (ph->u.gates) {
    case 1: all_steps(ph, s, 1); break;
    case 2: all_steps(ph, s, 2); break;
    case 3: all_steps(ph, s, 3); break;
    default: all_steps(ph, s, 4); break;
  }
}
#endif

#endif
