/* A recurrent layer that shows its gates and states: step by step, with the arithmetic of one that does not. */
#ifndef FASTGRU_OPS_TRACED_H
#define FASTGRU_OPS_TRACED_H

#include "recurrence.h"

/* Copy the vectors of a gate, which lie `apart` bytes from each other: whole ones by a constant size. */
static inline void gather_gate(char *to, const char *from, fg_idx bytes, fg_idx vector, fg_idx apart) {
  for (; bytes >= vector; bytes -= vector, to += vector, from += apart) {
    if (vector == 64)
      memcpy(to, from, 64);
    else if (vector == 32)
      memcpy(to, from, 32);
    else
      memcpy(to, from, (size_t)vector);
  }
  if (bytes > 0) memcpy(to, from, (size_t)bytes);
}

/* Show a gate or the state of all steps of a block that ran in one call: the gates lie in the input parts, the state in
 * the output. `at` is where the part begins in a row. */
static void show_block(const fg_instruction *ins, const fg_run *run, fg_idx part, fg_idx at) {
  const fg_layer *layer = &ins->traced.layer;
  const fg_rows *to = &run->rows[ins->outputs[0]], *y = &run->rows[ins->output];
  const fg_idx item = run->kernels->item, vector = run->kernels->lanes * item;
  const fg_matrix *u = &layer->phases[0].u;
  const fg_idx N = phase_columns(u, run) * item, apart = u->gates * vector, width = layer->units * item;
  const int coupled = part == FG_SHOWN_FORGET;
  const char *from = run->recurrences[layer->state].x[0] + (coupled ? 0 : part) * vector;
  for (fg_idx t = 0; t < run->T; t++) {
    char *row = fg_row(to, item, t, 0) + at * item;
    for (fg_idx b = 0; b < run->B; b++, from += N, row += to->b_stride * item) {
      if (part == FG_SHOWN_HIDDEN) {
        memcpy(row, fg_row(y, item, t, b), (size_t)width);
        continue;
      }
      gather_gate(row, from, width, vector, apart);
      for (fg_idx i = 0; coupled && i < layer->units; i++) set_number(row, i, item, 1 - number_of(row, i, item));
    }
  }
}

/* True if all steps may be one call of the kernel: nobody looks between them, and no cell state is to be shown. */
static int shows_whole(const fg_instruction *ins, const fg_run *run) {
  const fg_op_traced *op = &ins->traced;
  int cell = 0;
  for (int i = 0; i < op->n_shown; i++) cell |= op->shown[i] == FG_SHOWN_CELL;
  return run->edit == NULL && !cell && !op->layer.last && runs_whole(ins, run) && !makes_input(ins, run, 0);
}

/* Show one gate or state of row b at step t; where the step does not count, gates are 0 and states as they were. */
static void show_part(const fg_instruction *ins, const fg_run *run, fg_idx part, fg_idx t, fg_idx b, int counts,
                      char *to) {
  const fg_layer *layer = &ins->traced.layer;
  const fg_recurrence *r = &run->recurrences[layer->state];
  const fg_idx item = run->kernels->item, vector = run->kernels->lanes * item, width = layer->units * item;
  if (part == FG_SHOWN_HIDDEN) {
    memcpy(to, r->h[r->now] + b * layer->features_padded * item, (size_t)(layer->features * item));
    return;
  }
  if (part == FG_SHOWN_CELL) {
    memcpy(to, r->c + b * layer->units_padded * item, (size_t)width);
    return;
  }
  if (!counts) {
    memset(to, 0, (size_t)width);
    return;
  }
  const int coupled = part == FG_SHOWN_FORGET;
  const fg_idx p = coupled ? 0 : part / FG_PHASE_GATES, gate = coupled ? 0 : part % FG_PHASE_GATES;
  const fg_matrix *u = &layer->phases[p].u;
  gather_gate(to, r->x[p] + (t * run->B + b) * phase_columns(u, run) * item + gate * vector, width, vector,
              u->gates * vector);
  for (fg_idx i = 0; coupled && i < layer->units; i++) set_number(to, i, item, 1 - number_of(to, i, item));
}

/* Show all that is wanted of step t. */
static void show_step(const fg_instruction *ins, const fg_run *run, const fg_rows *own, fg_idx t) {
  const fg_op_traced *op = &ins->traced;
  const fg_idx item = run->kernels->item;
  for (fg_idx b = 0; b < run->B; b++) {
    const int counts = valid(run, ins->clock, own, t, b);
    char *to = fg_row(&run->rows[ins->outputs[0]], item, t, b);
    for (int i = 0; i < op->n_shown; i++) {
      show_part(ins, run, op->shown[i], t, b, counts, to);
      to += (op->shown[i] == FG_SHOWN_HIDDEN ? op->layer.features : op->layer.units) * item;
    }
  }
}

/* Where the steps may be changed, keep the cell state from before: in scratch that cells with one do not use. */
static void keep_cell(const fg_layer *layer, const fg_run *run) {
  const fg_recurrence *r = &run->recurrences[layer->state];
  const int kind = layer->phases[0].kind;
  if (run->edit != NULL && (kind == FG_LSTM || kind == FG_LSTM_COUPLED))
    memcpy(r->s1, r->c, (size_t)(run->B * layer->units_padded * run->kernels->item));
}

static void run_traced(const fg_instruction *ins, fg_run *run) {
  const fg_layer *layer = &ins->traced.layer;
  const fg_recurrence *r = &run->recurrences[layer->state];
  const fg_rows *own = ins->n_inputs == 2 ? &run->rows[ins->inputs[1]] : NULL;
  const int masked = run->mask != NULL || own != NULL;
  fg_span step;
  step.batch = run->B, step.first = 0, step.count = run->B, step.index = masked ? run->active : NULL;
  make_inputs(ins, run, own, masked);
  if (shows_whole(ins, run)) {
    step_whole(ins, run, &step);
    for (int i = 0, at = 0; i < ins->traced.n_shown; i++, at += (int)layer->units)
      show_block(ins, run, ins->traced.shown[i], at);
    return;
  }
  for (fg_idx i = 0; i < run->T; i++) {
    const fg_idx t = layer->reverse ? run->T - 1 - i : i;
    if (masked) find_active(ins, run, own, t, &step);
    if (i % FG_LOOK_STEPS == FG_LOOK_STEPS - 1 && fg_stopped(run)) return;
    keep_cell(layer, run);
    step_cell(ins, run, t, &step);
    if (run->edit != NULL) run->edit(run->editor, ins, run, t);
    if (!layer->last || masked || i == run->T - 1) write_outputs(ins, run, t, &step, masked);
    if (ins->traced.n_shown > 0) show_step(ins, run, own, t);
  }
  if (layer->last && run->final) {
    const fg_idx item = run->kernels->item, width = layer->features * item;
    for (fg_idx b = 0; b < run->B; b++)
      memcpy(fg_row(&run->rows[ins->output], item, 0, b), r->last + b * width, (size_t)width);
  }
}

#endif
