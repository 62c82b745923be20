/* The extremes of rows inside frames, and where they lie. */
#ifndef FASTGRU_OPS_TOP_K_H
#define FASTGRU_OPS_TOP_K_H

#include "run.h"

/* True if a comes before b: NaN is larger than any number. */
static inline int precedes(double a, double b, int smallest) {
  return smallest ? a < b || (a == a && b != b) : a > b || (a != a && b == b);
}

/* The first k extremes of n numbers by insertion: of equal elements the first stays in front. */
static void top_of_row(const char *x, char *values, char *places, fg_idx n, fg_idx k, int smallest, fg_idx item) {
  for (fg_idx i = 0, found = 0; i < n; i++) {
    const double a = number_of(x, i, item);
    fg_idx at = found;
    for (; at > 0; at--) {
      const double b = number_of(values, at - 1, item);
      if (!precedes(a, b, smallest)) break;
      if (at < k) {
        set_number(values, at, item, b);
        set_number(places, at, item, number_of(places, at - 1, item));
      }
    }
    if (at < k) {
      set_number(values, at, item, a);
      set_number(places, at, item, (double)i);
      found = fg_min(k, found + 1);
    }
  }
}

static void execute_top_k(const fg_instruction *ins, fg_run *run) {
  const fg_op_top_k *top = &ins->top_k;
  const fg_idx item = run->kernels->item, width = top->count * item;
  for (fg_idx t = 0; t < (run->values[ins->output].time ? run->T : 1); t++)
    for (fg_idx b = 0; b < run->B; b++) {
      if (fg_stopped(run)) return;
      const char *x = frame_at(run, ins->inputs[0], item, t, b) + top->read.offset * item;
      char *values = frame_at(run, ins->output, item, t, b);
      char *places = fg_row(&run->rows[ins->outputs[0]], item, run->values[ins->output].time ? t : 0, b);
      for (fg_idx n = 0; n < top->dims[1]; n++)
        top_of_row(x + n * top->read.inner * item, values + n * width, places + n * width, ins->size, top->count,
                   top->smallest, item);
    }
}

#endif
