/* The bodies of all instructions, compiled once: what has vectors in it is called through the kernels' tables. */
#include "fastgru/ops/run.h"

#include "fastgru/ops/frames.h"
#include "fastgru/ops/lines.h"
#include "fastgru/ops/masks.h"
#include "fastgru/ops/recurrence.h"
#include "fastgru/ops/rows.h"
#include "fastgru/ops/scan.h"
#include "fastgru/ops/top_k.h"

const fg_execute fg_ops[FG_OP_TIME_STEP + 1] = {
    [FG_OP_RECURRENT] = execute_recurrent,
    [FG_OP_DENSE] = execute_dense,
    [FG_OP_EMBEDDING] = execute_embedding,
    [FG_OP_LAYER_NORM] = execute_layer_norm,
    [FG_OP_AFFINE] = execute_affine,
    [FG_OP_ACTIVATE] = execute_activate,
    [FG_OP_MASK] = execute_mask,
    [FG_OP_APPLY_MASK] = execute_apply_mask,
    [FG_OP_REVERSE] = execute_reverse,
    [FG_OP_CONCAT] = execute_concat,
    [FG_OP_ADD] = execute_merge,
    [FG_OP_MULTIPLY] = execute_merge,
    [FG_OP_AVERAGE] = execute_merge,
    [FG_OP_MAP] = execute_frame,
    [FG_OP_REDUCE] = execute_frame,
    [FG_OP_CONTRACT] = execute_frame,
    [FG_OP_ARG_REDUCE] = execute_frame,
    [FG_OP_GATHER] = execute_frame,
    [FG_OP_STORE] = execute_store,
    [FG_OP_FRAME_PRODUCT] = execute_rows,
    [FG_OP_FRAME_SOFTMAX] = execute_rows,
    [FG_OP_FRAME_NORM] = execute_rows,
    [FG_OP_TOP_K] = execute_top_k,
    [FG_OP_SCAN] = execute_scan,
    [FG_OP_WINDOW] = execute_window,
    [FG_OP_OVERLAP_ADD] = execute_overlap_add,
    [FG_OP_MIRROR] = execute_mirror,
    [FG_OP_WAIT] = execute_wait,
    [FG_OP_CONVERT] = execute_convert,
    [FG_OP_TIME_STEP] = execute_time_step,
};

int fg_make_line(const fg_instruction *ins, const fg_run *run, int clock, fg_line *line) {
  return make_line(ins, run, clock, line);
}

void fg_fill_steps(const fg_instruction *ins, const fg_run *run, char *to, fg_idx steps) {
  fill_steps(ins, run, to, steps);
}
