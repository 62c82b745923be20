/* Attention of all steps of a call to all of them, for some queries at a time: as many as their scores have room for.
 * Sums follow the order of the features and of the steps alone, so that neither batch nor instruction set changes a bit. */
#ifndef FASTGRU_OPS_ATTENTION_H
#define FASTGRU_OPS_ATTENTION_H

#include "run.h"

/* Row b, head h of input i, whose heads have `width` numbers. */
static char *head_of(const fg_instruction *ins, const fg_run *run, int i, fg_idx width, fg_idx b, fg_idx h) {
  return frame_at(run, ins->inputs[i], run->kernels->item, 0, b) + h * width * run->kernels->item;
}

/* The keys of a head, each feature of all steps side by side: (D, T). Products by them are then lanes of steps: of 16
 * numbers, a fifth of the time of dot products one by one. */
static void turn_keys(const fg_instruction *ins, const fg_run *run, fg_idx b, fg_idx h) {
  const fg_idx D = ins->attend.width, T = run->T;
  fg_nest nest = {.rank = 2, .outer = 2, .operands = 2, .dims = {D, T}};
  nest.strides[0][0] = T, nest.strides[0][1] = 1;
  nest.strides[1][0] = 1, nest.strides[1][1] = step_stride(run, ins->inputs[1]);
  void *operands[] = {run->rows[ins->outputs[1]].data, head_of(ins, run, 1, D, b, h)};
  run->kernels->map(&nest, NULL, 0, operands);
}

/* The softmax of n queries from step t on over the steps that each sees; what it does not see is 0. */
static void share(const fg_instruction *ins, const fg_run *run, char *scores, fg_idx t, fg_idx n, fg_idx seen) {
  const fg_idx item = run->kernels->item;
  if (!ins->attend.causal) {
    const fg_rows rows = {scores, seen, 0};
    const fg_span span = {.batch = 1, .count = n};
    run->kernels->softmax(&rows, &rows, seen, &span);
    return;
  }
  for (fg_idx i = 0; i < n; i++) {
    const fg_rows row = {scores + i * seen * item, 0, 0};
    const fg_span span = {.batch = 1, .count = 1};
    run->kernels->softmax(&row, &row, t + i + 1, &span);
    memset((char *)row.data + (t + i + 1) * item, 0, (size_t)((seen - t - i - 1) * item));
  }
}

static void attend(const fg_instruction *ins, fg_run *run, fg_idx b, fg_idx h, fg_idx t, fg_idx n) {
  const fg_op_attend *op = &ins->attend;
  const fg_idx item = run->kernels->item, D = op->width, E = ins->size / op->heads;
  const fg_idx seen = op->causal ? t + n : run->T;
  const fg_idx q_step = step_stride(run, ins->inputs[0]), v_step = step_stride(run, ins->inputs[2]);
  const fg_idx y_step = step_stride(run, ins->output);
  const fg_act scaled = {.kind = FG_AFFINE, .alpha = op->scale}, as_it_is = {.kind = FG_LINEAR};
  char *scores = run->rows[ins->outputs[0]].data;
  fg_nest asked = {.rank = 3, .outer = 2, .steps_and_rows = 1, .operands = 3, .dims = {n, seen, D}};
  asked.strides[0][0] = seen, asked.strides[0][1] = 1;
  asked.strides[1][0] = q_step, asked.strides[1][2] = 1;
  asked.strides[2][1] = 1, asked.strides[2][2] = run->T;
  void *ask[] = {scores, head_of(ins, run, 0, D, b, h) + t * q_step * item, run->rows[ins->outputs[1]].data, NULL};
  if (ins->n_inputs == 4) {
    asked.operands = 4, asked.strides[3][1] = step_stride(run, ins->inputs[3]);
    ask[3] = head_of(ins, run, 3, 1, b, run->values[ins->inputs[3]].size > 1 ? h : 0);
  }
  run->kernels->contract(&asked, &scaled, ask);
  share(ins, run, scores, t, n, seen);
  fg_nest mean = {.rank = 3, .outer = 2, .steps_and_rows = 1, .operands = 3, .dims = {n, E, seen}};
  mean.strides[0][0] = y_step, mean.strides[0][1] = 1;
  mean.strides[1][0] = seen, mean.strides[1][2] = 1;
  mean.strides[2][1] = 1, mean.strides[2][2] = v_step;
  char *y = frame_at(run, ins->output, item, t, b) + h * E * item;
  void *take[] = {y, scores, head_of(ins, run, 2, E, b, h)};
  run->kernels->contract(&mean, &as_it_is, take);
}

static void execute_attend(const fg_instruction *ins, fg_run *run) {
  const fg_idx most = run->values[ins->outputs[0]].size;
  for (fg_idx b = 0; b < run->B; b++)
    for (fg_idx h = 0; h < ins->attend.heads; h++) {
      turn_keys(ins, run, b, h);
      for (fg_idx t = 0; t < run->T; t += most) {
        if (fg_stopped(run)) return;
        attend(ins, run, b, h, t, fg_min(most, run->T - t));
      }
    }
}

#endif
