/* The bodies of all instructions, compiled once: what has vectors in it is called through the kernels' tables. */
#include "fastgru/ops/run.h"

#include "fastgru/ops/attention.h"
#include "fastgru/ops/frames.h"
#include "fastgru/ops/lines.h"
#include "fastgru/ops/masks.h"
#include "fastgru/ops/recurrence.h"
#include "fastgru/ops/rows.h"
#include "fastgru/ops/scan.h"
#include "fastgru/ops/top_k.h"

/* Compiled apart: with a second caller the parts of a recurrent layer's step would no longer be inlined into it. */
static void execute_traced(const fg_instruction *ins, fg_run *run) { fg_execute_traced(ins, run); }

#define FG_BODY(op, body) [FG_OP_##op] = execute_##body,
const fg_execute fg_ops[] = {FG_EACH_OP(FG_BODY)};

int fg_make_line(const fg_instruction *ins, const fg_run *run, int clock, fg_line *line) {
  return make_line(ins, run, clock, line);
}

void fg_fill_steps(const fg_instruction *ins, const fg_run *run, char *to, fg_idx steps) {
  fill_steps(ins, run, to, steps);
}
