/* Loop nests over frames: steps and rows of the batch as two more loops around the op's own. */
#ifndef FASTGRU_OPS_FRAMES_H
#define FASTGRU_OPS_FRAMES_H

#include "run.h"

static void run_kernel(const fg_instruction *ins, fg_run *run, const fg_nest *nest, void **operands) {
  switch (ins->op) {
    case FG_OP_MAP:
    case FG_OP_STORE: run->kernels->map(nest, ins->map.program, ins->map.n_program, operands); return;
    case FG_OP_REDUCE: run->kernels->reduce(nest, ins->reduce.function, operands); return;
    case FG_OP_CONTRACT: run->kernels->contract(nest, &ins->contract.act, operands); return;
    case FG_OP_ARG_REDUCE:
      run->kernels->arg_reduce(nest, ins->arg_reduce.smallest, ins->arg_reduce.last, operands);
      return;
    default:
      if (run->kernels->gather(nest, ins->gather.count, ins->gather.stride, operands)) run->bad_id = ins->output + 1;
  }
}

/* Steps t .. t + T - 1 and rows b .. b + B - 1. */
static void run_nest(const fg_instruction *ins, fg_run *run, fg_idx t, fg_idx T, fg_idx b, fg_idx B) {
  const fg_nest *own = &ins->nest.nest;
  fg_nest nest;
  void *operands[FG_OPERANDS];
  for (int i = 0; i < own->operands; i++) operands[i] = operand(&ins->nest.operands[i], run, t, b);
  if (T == 1 && B == 1) {
    run_kernel(ins, run, own, operands);
    return;
  }
  nest.rank = own->rank + 2, nest.outer = own->outer + 2, nest.operands = own->operands;
  nest.steps_and_rows = 2;
  nest.dims[0] = T, nest.dims[1] = B;
  for (int j = 0; j < own->rank; j++) nest.dims[j + 2] = own->dims[j];
  for (int i = 0; i < nest.operands; i++) {
    const int v = ins->nest.operands[i].buffer;
    nest.strides[i][0] = v < 0 ? 0 : step_stride(run, v);
    nest.strides[i][1] = v < 0 ? 0 : run->rows[v].b_stride;
    for (int j = 0; j < own->rank; j++) nest.strides[i][j + 2] = own->strides[i][j];
  }
  run_kernel(ins, run, &nest, operands);
}

/* The nest folded over all steps, for each row. */
static void run_over_time(const fg_instruction *ins, fg_run *run) {
  fg_nest nest = ins->nest.nest;
  void *operands[FG_OPERANDS];
  nest.dims[nest.rank] = run->T;
  for (int i = 0; i < nest.operands; i++) {
    const int v = ins->nest.operands[i].buffer;
    nest.strides[i][nest.rank] = v < 0 ? 0 : step_stride(run, v);
  }
  nest.rank++;
  for (fg_idx b = 0; b < run->B; b++) {
    for (int i = 0; i < nest.operands; i++) operands[i] = operand(&ins->nest.operands[i], run, 0, b);
    run_kernel(ins, run, &nest, operands);
    if (run->T > ins->slice && fg_stopped(run)) return;
  }
}

static void execute_frame(const fg_instruction *ins, fg_run *run) {
  if (ins->nest.over_time) {
    run_over_time(ins, run);
    return;
  }
  const fg_idx T = run->values[ins->output].time ? run->T : 1;
  fg_idx steps = T, rows = run->B;
  if (run->watch != NULL) steps = fg_max(1, ins->slice / run->B), rows = fg_min(run->B, ins->slice);
  for (fg_idx t = 0; t < T; t += steps)
    for (fg_idx b = 0; b < run->B; b += rows) {
      if (t + b > 0 && fg_stopped(run)) return;
      run_nest(ins, run, t, fg_min(steps, T - t), b, fg_min(rows, run->B - b));
    }
}

/* A step's result into the state's buffer; a row whose step does not count keeps its state. */
static void execute_store(const fg_instruction *ins, fg_run *run) {
  if (run->mask == NULL) {
    run_nest(ins, run, 0, 1, 0, run->B);
    return;
  }
  for (fg_idx b = 0; b < run->B; b++)
    if (valid(run, ins->clock, NULL, 0, b)) run_nest(ins, run, 0, 1, b, 1);
}

/* An instruction of a loop over this clock as a line of one row; false where it is none. */
static int make_line(const fg_instruction *ins, const fg_run *run, int clock, fg_line *line) {
  const fg_op_map *map = &ins->map;
  if ((ins->op != FG_OP_MAP && ins->op != FG_OP_STORE) || ins->clock != clock) return 0;
  if (map->over_time || map->nest.rank != 1 || map->nest.strides[0][0] != 1) return 0;
  line->program = map->program, line->n = map->n_program, line->operands = map->nest.operands;
  line->size = map->nest.dims[0];
  for (int i = 0; i < line->operands; i++) {
    const int v = map->operands[i].buffer;
    line->at[i] = operand(&map->operands[i], run, 0, 0);
    line->each[i] = map->nest.strides[i][0];
    line->moves[i] = 0;
    if (v >= 0 && run->values[v].time && run->values[v].clock == clock && !run->values[v].stays)
      line->moves[i] = run->rows[v].t_stride;
    if (line->each[i] != 0 && line->each[i] != 1) return 0;
  }
  return 1;
}

#endif
