/* Which steps count: masks made and applied, steps that count in reverse, and other kinds of numbers. */
#ifndef FASTGRU_OPS_MASKS_H
#define FASTGRU_OPS_MASKS_H

#include "run.h"

/* True if one of n numbers differs from `number`. */
static int differs(const char *x, fg_idx n, fg_idx item, double number) {
  int different = 0;
  if (item == 4)
    for (fg_idx j = 0; j < n; j++) different |= ((const float *)x)[j] != (float)number;
  else
    for (fg_idx j = 0; j < n; j++) different |= ((const double *)x)[j] != number;
  return different;
}

static void execute_mask(const fg_instruction *ins, fg_run *run) {
  const fg_value *from = &run->values[ins->inputs[0]];
  const double number = ins->mask.value;
  for (fg_idx m = 0; m < run->T * run->B; m++) {
    const char *x = row_of(run, ins->inputs[0], from->item, m);
    *(uint8_t *)row_of(run, ins->output, 1, m) = (uint8_t)(
        from->size == 0 ? (double)*(const int64_t *)x != number : differs(x, ins->size, from->item, number));
  }
}

static void execute_apply_mask(const fg_instruction *ins, fg_run *run) {
  const fg_idx item = run->kernels->item;
  const size_t width = (size_t)(ins->size * item);
  for (fg_idx m = 0; m < run->T * run->B; m++) {
    char *y = row_of(run, ins->output, item, m);
    if (*(const uint8_t *)row_of(run, ins->inputs[1], 1, m))
      memcpy(y, row_of(run, ins->inputs[0], item, m), width);
    else
      memset(y, 0, width);
  }
}

/* The steps of a row that count, by a value without time; at most all of them. */
static inline fg_idx steps_of_row(const fg_run *run, int lengths, fg_idx b) {
  const double n = number_of(fg_row(&run->rows[lengths], run->kernels->item, 0, b), 0, run->kernels->item);
  return n > (double)run->T ? run->T : n >= 0 ? (fg_idx)n : 0;
}

static void execute_reverse(const fg_instruction *ins, fg_run *run) {
  const fg_idx item = run->kernels->item;
  for (fg_idx t = 0; t < run->T; t++) {
    if (t % FG_LOOK_STEPS == FG_LOOK_STEPS - 1 && fg_stopped(run)) return;
    for (fg_idx b = 0; b < run->B; b++) {
      const fg_idx n = ins->n_inputs == 2 ? steps_of_row(run, ins->inputs[1], b) : run->T;
      memcpy(fg_row(&run->rows[ins->output], item, t, b),
             fg_row(&run->rows[ins->inputs[0]], item, t < n ? n - 1 - t : t, b), (size_t)(ins->size * item));
    }
  }
}

/* Ids and masks of whole rows to floats, and floats to masks. */
static void execute_convert(const fg_instruction *ins, fg_run *run) {
  const fg_value *from = &run->values[ins->inputs[0]];
  const fg_idx to = run->values[ins->output].item;
  for (fg_idx t = 0; t < (run->values[ins->output].time ? run->T : 1); t++)
    for (fg_idx b = 0; b < run->B; b++) {
      const char *x = frame_at(run, ins->inputs[0], from->item, t, b);
      char *y = fg_row(&run->rows[ins->output], to, t, b);
      const double number = from->item == 1                                ? *(const uint8_t *)x
                            : from->size == 0                              ? (double)*(const int64_t *)x
                                                                           : number_of(x, 0, from->item);
      if (to == 1)
        *(uint8_t *)y = number != 0;
      else
        set_number(y, 0, to, number);
    }
}

#endif
