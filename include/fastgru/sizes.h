/* Sizes of buffers and counts of steps that come from files: sums and products that stop at FG_TOO_LARGE instead of
 * overflowing. Both take and return numbers of 0 .. FG_TOO_LARGE, so that one comparison at the end tells. */
#ifndef FASTGRU_SIZES_H
#define FASTGRU_SIZES_H

#include <stddef.h>

typedef ptrdiff_t fg_size;

#define FG_TOO_LARGE ((fg_size)1 << (8 * sizeof(fg_size) - 4))

static inline fg_size fg_plus(fg_size a, fg_size b) {
  fg_size sum;
  return __builtin_add_overflow(a, b, &sum) || sum > FG_TOO_LARGE ? FG_TOO_LARGE : sum;
}

static inline fg_size fg_times(fg_size a, fg_size b) {
  fg_size product;
  return __builtin_mul_overflow(a, b, &product) || product > FG_TOO_LARGE ? FG_TOO_LARGE : product;
}

/* The multiple of `unit` that holds `size`. */
static inline fg_size fg_round_up(fg_size size, fg_size unit) {
  return size >= FG_TOO_LARGE - unit ? FG_TOO_LARGE : (size + unit - 1) / unit * unit;
}

#endif
