/* A recurrent layer over the steps of a block: input parts of all steps at once, then phase by phase, step by step. */
#ifndef FASTGRU_OPS_RECURRENCE_H
#define FASTGRU_OPS_RECURRENCE_H

#include "products.h"

enum { STEP_ROWS = 8 }; /* rows of a step whose product and gates are made together; a multiple of the tiles' rows */

/* Elements of a row that a packed matrix makes: (panels, G, L). */
static inline fg_idx phase_columns(const fg_matrix *w, const fg_run *run) {
  return w->panels * w->gates * run->kernels->lanes;
}

/* The buffers of a step from this thread's first unit on; the operand stays whole. For a batch of one row. */
static void shift_step(fg_step *s, const fg_slice *part, fg_idx item) {
  s->x = shifted(s->x, part->column * item);
  s->h = shifted(s->h, part->unit * item);
  s->h_new = shifted(s->h_new, part->unit * item);
  s->c = shifted(s->c, part->unit * item);
  s->s0 = shifted(s->s0, part->unit * item);
  s->s1 = shifted(s->s1, part->unit * item);
  s->y = shifted(s->y, part->unit * item);
}

/* x part of phase p for the whole block: W x + biases. */
static void input_product(const fg_instruction *ins, fg_run *run, int p, const fg_span *rows) {
  const fg_layer *layer = &ins->recurrent.layer;
  const fg_phase *phase = &layer->phases[p];
  const fg_act linear = {.kind = FG_LINEAR};
  const fg_matrix *w = &phase->x;
  const fg_rows *input = &run->rows[ins->inputs[0]];
  const fg_idx item = run->kernels->item, N = phase_columns(w, run), width = N * item;
  char *x = run->recurrences[layer->state].x[p];
  fg_rows c = {.data = x, .t_stride = run->B * N, .b_stride = N};
  if (run->parts > 1) { /* this thread's panels read no others' input parts */
    const fg_slice part = slice_of(w, run);
    c.data = x + part.column * item;
    if (part.matrix.panels > 0)
      product(&part.matrix, shifted(phase->bias_x, part.column * item), &linear, input, &c, slice_columns(&part, run),
              rows, run);
    return;
  }
  if (run->gemm == NULL) {
    fg_span span = *rows;
    span.count = 0;
    while (next_rows(ins, run, rows->count, &span)) product(w, phase->bias_x, &linear, input, &c, N, &span, run);
    return;
  }
  for (fg_idx m = 0; m < run->T * run->B; m++) memcpy(x + m * width, phase->bias_x, (size_t)width);
  multiply_rows(w, input, &c, N, run->T, run);
}

/* x part of phase p for the whole block where the input is ids: rows of a table of products. */
static void input_lookup(const fg_instruction *ins, fg_run *run, int p, const fg_span *span) {
  const fg_layer *layer = &ins->recurrent.layer;
  const fg_phase *phase = &layer->phases[p];
  const fg_idx item = run->kernels->item, N = phase_columns(&phase->u, run);
  fg_idx column = 0, width = N;
  if (run->parts > 1) {
    const fg_slice part = slice_of(&phase->u, run);
    column = part.column, width = slice_columns(&part, run);
  }
  for (fg_idx i = 0; i < span->count; i++) {
    const fg_idx m = span->index == NULL ? i : span->index[i];
    const int64_t key = *(const int64_t *)row_of(run, ins->inputs[0], 8, m);
    memcpy(run->recurrences[layer->state].x[p] + (m * N + column) * item,
           (const char *)phase->table + (key * N + column) * item, (size_t)(width * item));
  }
}

/* Whether all steps of this block are one call of the kernel. */
static inline int runs_whole(const fg_instruction *ins, const fg_run *run) {
  const fg_layer *layer = &ins->recurrent.layer;
  return run->T > 0 && layer->n_phases == 1 && run->mask == NULL && ins->n_inputs != 2 && !layer->gated_output &&
         run->parts == 1 && run->gemm == NULL && layer->phases[0].u.format <= FG_FLOAT16 && run->B <= ins->slice;
}

/* Whether a step of one row is to make its input part with its recurrent one, panel by panel.
 *
 * In a sequence, where a product of all steps reads its weights once, only that of single samples: 100 steps of 32
 * units, 2 us of 22. */
static inline int makes_input(const fg_instruction *ins, const fg_run *run, int p) {
  const fg_layer *layer = &ins->recurrent.layer;
  const fg_phase *phase = &layer->phases[p];
  return run->B == 1 && run->gemm == NULL && phase->x.data != NULL && phase->table == NULL &&
         phase->x.format <= FG_FLOAT16 && phase->u.format <= FG_FLOAT16 &&
         (run->T == 1 || (phase->x.inner == 1 && runs_whole(ins, run)));
}

/* Steps in several calls of the kernel, between which signals are looked at. */
static void run_slices(const fg_instruction *ins, fg_run *run, const fg_phase *phase, fg_step *s) {
  const fg_span rows = s->rows;
  if (s->count > 1) { /* the kernel moves everything on but the place of the outputs */
    const fg_idx most = fg_max(1, ins->slice / fg_max(1, rows.count));
    for (fg_idx count = s->count; count > 0 && !fg_stopped(run); count -= s->count) {
      s->count = fg_min(most, count);
      run->kernels->steps(phase, s);
      s->out.data = shifted(s->out.data, s->count * s->out.t_stride * run->kernels->item);
    }
    return;
  }
  while (s->rows.first < rows.first + rows.count && !fg_stopped(run)) {
    s->rows.count = fg_min(ins->slice, rows.first + rows.count - s->rows.first);
    fg_step some = *s;
    run->kernels->steps(phase, &some);
    s->rows.first += s->rows.count;
  }
  s->rows = rows;
}

/* One step or several in one call of the kernel; in several calls where that may take long. */
static inline void run_steps(const fg_instruction *ins, fg_run *run, const fg_phase *phase, fg_step *s) {
  if (run->watch == NULL || s->rows.count * s->count <= ins->slice)
    run->kernels->steps(phase, s);
  else
    run_slices(ins, run, phase, s);
}

/* The product and the gates of a phase, few rows at a time: their products stay in the L1 cache. */
static void run_gates(const fg_instruction *ins, fg_run *run, const fg_phase *phase, const fg_rows *a, const fg_rows *c,
                      fg_step *s) {
  const fg_act linear = {.kind = FG_LINEAR};
  const fg_span span = s->rows;
  const fg_idx columns = phase_columns(&phase->u, run);
  s->product = c->data;
  while (s->rows.first < span.first + span.count) {
    s->rows.count = fg_min(STEP_ROWS, span.first + span.count - s->rows.first);
    run->narrow->product(&phase->u, phase->bias_h, &linear, a, c, columns, &s->rows, run->scratch);
    run->kernels->gates(phase, s);
    s->rows.first += s->rows.count;
    if (run->watch != NULL && s->rows.first / ins->slice != (s->rows.first - s->rows.count) / ins->slice &&
        fg_stopped(run))
      break;
  }
  s->rows = span;
}

/* One phase of step t for the rows of `s`. */
static void run_phase(const fg_instruction *ins, fg_run *run, int p, fg_step *s, fg_idx t) {
  const fg_layer *layer = &ins->recurrent.layer;
  const fg_phase *phase = &layer->phases[p];
  const fg_recurrence *r = &run->recurrences[layer->state];
  const fg_idx item = run->kernels->item, N = phase_columns(&phase->u, run);
  char *made = run->product;
  fg_phase own;
  fg_slice part, input_part;
  s->x = phase->x.data == NULL && phase->table == NULL ? NULL : r->x[p] + t * run->B * N * item;
  s->product = NULL, s->w = NULL;
  if (makes_input(ins, run, p)) {
    s->w = &phase->x;
    s->w_bias = phase->bias_x, s->input = fg_row(&run->rows[ins->inputs[0]], item, t, 0);
  }
  if (run->parts > 1) {
    part = slice_of(&phase->u, run);
    own = *phase;
    own.u = part.matrix;
    own.bias_h = shifted(phase->bias_h, part.column * item);
    own.peephole = shifted(phase->peephole, part.unit * item);
    if (s->w != NULL) {
      input_part = slice_of(&phase->x, run);
      s->w = &input_part.matrix, s->w_bias = shifted(s->w_bias, part.column * item);
    }
    shift_step(s, &part, item);
    if (part.matrix.panels == 0) return;
    phase = &own;
    made = shifted(made, part.column * item);
  }
  if (run->gemm == NULL && phase->u.format <= FG_FLOAT16) {
    run_steps(ins, run, phase, s);
    return;
  }
  const fg_rows a = {.data = (void *)s->a, .t_stride = run->B * s->a_stride, .b_stride = s->a_stride};
  const fg_rows c = {.data = made, .t_stride = run->B * N, .b_stride = N};
  if (run->gemm == NULL) {
    run_gates(ins, run, phase, &a, &c, s);
    return;
  }
  memset(made, 0, (size_t)(run->B * N * item));
  multiply_rows(&phase->u, &a, &c, N, 1, run);
  s->product = made;
  run->kernels->gates(phase, s);
}

/* The buffers of one step from the current state. Field by field, as all spans of a step here: what is copied whole is
 * read in other widths than it was written in, which costs a small step 15 ns (Zen 3). */
static inline void begin_step(const fg_instruction *ins, const fg_recurrence *r, const fg_span *rows, fg_step *s) {
  const fg_layer *layer = &ins->recurrent.layer;
  s->rows.batch = rows->batch, s->rows.first = rows->first, s->rows.count = rows->count, s->rows.index = rows->index;
  s->rows.backward = r->now; /* every other step */
  s->h = r->h[r->now], s->h_new = r->h[1 - r->now], s->c = r->c, s->s0 = r->s0, s->s1 = r->s1;
  s->y = layer->gated_output ? r->y : NULL;
  s->stride = layer->units_padded;
  s->a = s->h, s->a_stride = layer->features_padded;
  s->count = 1, s->x_stride = 0, s->input_stride = 0, s->out.data = NULL, s->width = 0;
  if (layer->n_phases == 2 && layer->phases[1].kind == FG_PROJECT) s->h_new = r->s0;
}

/* State of step t - 1 to state of step t, for the rows of `span`; the others keep theirs. */
static void step_cell(const fg_instruction *ins, fg_run *run, fg_idx t, const fg_span *span) {
  const fg_layer *layer = &ins->recurrent.layer;
  fg_recurrence *r = &run->recurrences[layer->state];
  char *h = r->h[r->now], *h_new = r->h[1 - r->now];
  fg_step s;
  if (span->count == 0) return;
  begin_step(ins, r, span, &s);
  run_phase(ins, run, 0, &s, t);
  if (run->parts > 1) fg_barrier_wait(run->barrier);
  if (layer->n_phases == 2) {
    s.h = h, s.c = r->c, s.s0 = r->s0, s.s1 = r->s1;
    s.y = layer->gated_output ? r->y : NULL;
    s.a = r->s0, s.a_stride = layer->units_padded;
    s.h_new = h_new;
    s.stride = layer->features_padded;
    run_phase(ins, run, 1, &s, t);
    if (run->parts > 1) fg_barrier_wait(run->barrier);
  }
  if (span->count < run->B) {
    const fg_idx width = layer->features_padded * run->kernels->item;
    for (fg_idx i = 0, j = 0; i < run->B; i++) {
      if (j < span->count && span->index[j] == i)
        j++;
      else
        memcpy(h_new + i * width, h + i * width, (size_t)width);
    }
  }
  r->now = 1 - r->now;
}

/* Copy the outputs of step t to where the value wants them; what a masked row gets is the layer's choice. */
static void write_outputs(const fg_instruction *ins, fg_run *run, fg_idx t, const fg_span *span, int masked) {
  const fg_layer *layer = &ins->recurrent.layer;
  const fg_recurrence *r = &run->recurrences[layer->state];
  const char *y = layer->gated_output ? r->y : r->h[r->now];
  const fg_idx item = run->kernels->item, stride = layer->features_padded * item;
  const size_t width = (size_t)(layer->features * item);
  const fg_rows *out = &run->rows[ins->output];
  for (fg_idx b = 0, j = 0; b < run->B; b++) {
    if (b % FG_LOOK_ROWS == FG_LOOK_ROWS - 1 && run->parts == 1 && fg_stopped(run))
      return; /* the first step writes to every row of a new array, each in pages that the system has yet to clear */
    char *last = r->last + b * (fg_idx)width;
    if (!masked || (j < span->count && span->index[j] == b)) {
      j++;
      if (masked || layer->last) memcpy(last, y + b * stride, width);
      if (!layer->last) memcpy(fg_row(out, item, t, b), y + b * stride, width);
    } else if (!layer->last) {
      if (layer->carry)
        memcpy(fg_row(out, item, t, b), last, width);
      else
        memset(fg_row(out, item, t, b), 0, width);
    }
  }
}

/* All steps of the block, and their outputs, in one call. */
static void step_whole(const fg_instruction *ins, fg_run *run, const fg_span *span) {
  const fg_layer *layer = &ins->recurrent.layer;
  fg_recurrence *r = &run->recurrences[layer->state];
  const fg_idx N = phase_columns(&layer->phases[0].u, run);
  const fg_idx first = layer->reverse ? run->T - 1 : 0, direction = layer->reverse ? -1 : 1;
  fg_step s;
  begin_step(ins, r, span, &s);
  s.count = run->T, s.x_stride = direction * run->B * N;
  s.input_stride = direction * run->rows[ins->inputs[0]].t_stride;
  if (!layer->last) {
    const fg_rows *out = &run->rows[ins->output];
    s.out.data = fg_row(out, run->kernels->item, first, 0), s.width = layer->features;
    s.out.t_stride = out->t_stride * direction, s.out.b_stride = out->b_stride;
  }
  run_phase(ins, run, 0, &s, first);
  r->now ^= run->T & 1;
}

/* The rows of step t that count, in `active`. */
static void find_active(const fg_instruction *ins, const fg_run *run, const fg_rows *own, fg_idx t, fg_span *step) {
  step->count = 0;
  for (fg_idx b = 0; b < run->B; b++)
    if (valid(run, ins->clock, own, t, b)) run->active[step->count++] = (int32_t)b;
}

/* The input parts of every phase, for the rows of the block that count. */
static void make_inputs(const fg_instruction *ins, fg_run *run, const fg_rows *own, int masked) {
  const fg_layer *layer = &ins->recurrent.layer;
  fg_span span;
  span.batch = run->B, span.first = 0, span.count = run->T * run->B, span.index = NULL;
  span.backward = run->recurrences[layer->state].now;
  if (masked) {
    span.count = 0, span.index = run->index;
    for (fg_idx t = 0; t < run->T; t++)
      for (fg_idx b = 0; b < run->B; b++)
        if (valid(run, ins->clock, own, t, b)) run->index[span.count++] = (int32_t)(t * run->B + b);
  }
  for (int p = 0; p < layer->n_phases; p++) {
    if (layer->phases[p].table != NULL)
      input_lookup(ins, run, p, &span);
    else if (layer->phases[p].x.data != NULL && !makes_input(ins, run, p))
      input_product(ins, run, p, &span);
  }
}

static __attribute__((unused)) void execute_recurrent(const fg_instruction *ins, fg_run *run) {
  const fg_layer *layer = &ins->recurrent.layer;
  const fg_recurrence *r = &run->recurrences[layer->state];
  const fg_rows *own = ins->n_inputs == 2 ? &run->rows[ins->inputs[1]] : NULL;
  const int masked = run->mask != NULL || own != NULL, whole = runs_whole(ins, run);
  fg_span step;
  step.batch = run->B, step.first = 0, step.count = run->B, step.index = masked ? run->active : NULL;
  make_inputs(ins, run, own, masked);
  if (whole) {
    step_whole(ins, run, &step);
    if (layer->last) write_outputs(ins, run, run->T - 1, &step, masked);
  }
  for (fg_idx i = 0; i < (whole ? 0 : run->T); i++) {
    const fg_idx t = layer->reverse ? run->T - 1 - i : i;
    if (masked) find_active(ins, run, own, t, &step);
    if (i % FG_LOOK_STEPS == FG_LOOK_STEPS - 1 && fg_stopped_together(run)) return;
    step_cell(ins, run, t, &step);
    if (run->part == 0 && (!layer->last || masked || i == run->T - 1)) write_outputs(ins, run, t, &step, masked);
    if (run->parts > 1 && layer->gated_output)
      fg_barrier_wait(run->barrier); /* y has one buffer: the next step must not write it yet */
  }
  if (layer->last && run->final && run->part == 0) {
    const fg_idx item = run->kernels->item, width = layer->features * item;
    for (fg_idx b = 0; b < run->B; b++)
      memcpy(fg_row(&run->rows[ins->output], item, 0, b), r->last + b * width, (size_t)width);
  }
}

#endif
