/* A recurrent layer over the sequence inside each frame. */
#ifndef FASTGRU_OPS_SCAN_H
#define FASTGRU_OPS_SCAN_H

#include "due.h"
#include "recurrence.h"
#include "rows.h"

/* Row n's initial state: the operand's, else the layer's own, else zeros. */
static void begin_row(char *to, const fg_operand *given, const void *initial, fg_idx n, fg_idx size, const fg_run *run,
                      fg_idx t, fg_idx b) {
  const fg_idx width = size * run->kernels->item;
  if (given->buffer != FG_ABSENT)
    memcpy(to, operand(given, run, t, b) + n * width, (size_t)width);
  else if (initial != NULL)
    memcpy(to, initial, (size_t)width);
  else
    memset(to, 0, (size_t)width);
}

/* The rows of a scan: those of one frame, or one each of `count` frames from step t and row b of the batch on. */
typedef struct {
  fg_idx t, b, count;
  fg_idx over_t, over_b; /* from one frame to the next; none where all are of one */
} scan_rows;

static inline int apart(const scan_rows *s) { return s->over_t || s->over_b; }
static inline fg_idx scan_step(const scan_rows *s, fg_idx m) { return s->t + m * s->over_t; }
static inline fg_idx scan_row(const scan_rows *s, fg_idx m) { return s->b + m * s->over_b; }
static inline fg_idx own_row(const scan_rows *s, fg_idx m) { return apart(s) ? 0 : m; }

/* Which steps of each row count, by the lengths. */
static void mask_scan(const fg_op_scan *scan, fg_run *run, const scan_rows *rows) {
  for (fg_idx m = 0; m < rows->count; m++) {
    const char *lengths = operand(&scan->operands[2], run, scan_step(rows, m), scan_row(rows, m));
    const double length = number_of(lengths, own_row(rows, m), run->kernels->item);
    for (fg_idx s = 0; s < scan->steps; s++) run->scan_mask[s * rows->count + m] = (double)s < length;
  }
}

/* The last state of every row, from buffers with padding to a value of (rows, size). */
static void end_rows(const fg_run *run, int output, const char *state, fg_idx padded, fg_idx size,
                     const scan_rows *rows) {
  const fg_idx item = run->kernels->item;
  for (fg_idx m = 0; m < rows->count; m++)
    memcpy(frame_at(run, output, item, scan_step(rows, m), scan_row(rows, m)) + own_row(rows, m) * size * item,
           state + m * padded * item, (size_t)(size * item));
}

/* From one frame of a value to the next. */
static inline fg_idx frame_stride(const fg_run *run, int value, const scan_rows *rows) {
  return rows->over_t ? step_stride(run, value) : run->rows[value].b_stride;
}

static void scan_some(const fg_instruction *ins, fg_run *run, fg_run *inner, const scan_rows *some) {
  const fg_op_scan *scan = &ins->scan;
  const fg_layer *layer = &scan->layer->recurrent.layer;
  const fg_recurrence *r = &run->recurrences[layer->state];
  const fg_strides write = {.outer = scan->rows * layer->features, .inner = layer->features};
  const fg_idx item = run->kernels->item, features = layer->features_padded, units = layer->units_padded;
  fg_rows *rows = inner->rows;
  inner->B = some->count;
  frame_rows(ins, run, &scan->read, &write, some->t, some->b, &rows[0], &rows[1]);
  if (apart(some)) {
    rows[0].b_stride = frame_stride(run, ins->inputs[0], some);
    rows[1].b_stride = frame_stride(run, ins->output, some);
  }
  rows[2] = (fg_rows){.data = run->scan_mask, .t_stride = some->count, .b_stride = 1};
  for (fg_idx m = 0; m < some->count; m++) {
    const fg_idx n = own_row(some, m), t = scan_step(some, m), b = scan_row(some, m);
    begin_row(r->h[r->now] + m * features * item, &scan->operands[0], layer->initial_h, n, layer->features, run, t, b);
    begin_row(r->c + m * units * item, &scan->operands[1], layer->initial_c, n, layer->units, run, t, b);
  }
  if (scan->operands[2].buffer != FG_ABSENT) mask_scan(scan, run, some);
  execute_recurrent(scan->layer, inner);
  if (fg_stopped(run)) return;
  end_rows(run, ins->outputs[0], r->h[r->now], features, layer->features, some);
  if (ins->n_outputs > 1) end_rows(run, ins->outputs[1], r->c, units, layer->units, some);
}

static void execute_scan(const fg_instruction *ins, fg_run *run) {
  const fg_op_scan *scan = &ins->scan;
  const fg_idx T = run->values[ins->output].time ? run->T : 1, most = fg_scans_together(scan, T, run->B);
  const int by_step = run->B == 1 && most > 1;
  fg_rows rows[3];
  fg_run inner = *run;
  inner.rows = rows, inner.T = scan->steps, inner.mask = NULL, inner.final = 1, inner.part = 0, inner.parts = 1;
  for (fg_idx t = 0; t < T; t += by_step ? most : 1)
    for (fg_idx b = 0; b < run->B; b += by_step ? 1 : most) {
      scan_rows some = {.t = t, .b = b, .count = scan->rows, .over_t = by_step, .over_b = !by_step && most > 1};
      if (most > 1) some.count = fg_min(most, by_step ? T - t : run->B - b);
      scan_some(ins, run, &inner, &some);
      if (fg_stopped(run)) return;
    }
}

#endif
