/* Sums of probabilities as logarithms, in double: -inf is a probability of 0. */
#ifndef FASTGRU_DECODE_SCORES_H
#define FASTGRU_DECODE_SCORES_H

#include <math.h>
#include <stdint.h>

#include "fastgru/sizes.h"

/* log(exp(a) + exp(b)). */
static inline double fg_log_add(double a, double b) {
  const double most = a > b ? a : b, least = a > b ? b : a;
  return least == -INFINITY ? most : most + log1p(exp(least - most));
}

/* log(sum(exp(x))) of n numbers. */
static inline double fg_log_sum(const double *x, fg_size n) {
  double most = -INFINITY, sum = 0;
  for (fg_size i = 0; i < n; i++)
    if (x[i] > most) most = x[i];
  if (most == -INFINITY) return most;
  for (fg_size i = 0; i < n; i++) sum += exp(x[i] - most);
  return most + log(sum);
}

/* The first index of the largest of n numbers, n > 0. */
static inline fg_size fg_largest(const double *x, fg_size n) {
  fg_size best = 0;
  for (fg_size i = 1; i < n; i++)
    if (x[i] > x[best]) best = i;
  return best;
}

/* The first index whose number is NaN or above `most`; n if there is none. */
static inline fg_size fg_first_above(const double *x, fg_size n, double most) {
  fg_size i = 0;
  while (i < n && x[i] <= most) i++;
  return i;
}

/* The first index of the largest of n logits, n > 0, and the logarithm of the sum of their exponentials; NaN where one of
 * them is NaN or infinity. */
#define FG_CHOICE(name, type)                                         \
  static inline fg_size name(const type *x, fg_size n, double *sum) { \
    fg_size best = 0;                                                 \
    int wrong = 0;                                                    \
    for (fg_size i = 0; i < n; i++) {                                 \
      if (x[i] > x[best]) best = i;                                   \
      wrong |= !(x[i] < (type)INFINITY);                              \
    }                                                                 \
    const double most = x[best];                                      \
    *sum = wrong ? (double)NAN : most;                                \
    if (wrong || most == -INFINITY) return best;                      \
    double all = 0;                                                   \
    for (fg_size i = 0; i < n; i++) all += exp(x[i] - most);          \
    *sum = most + log(all);                                           \
    return best;                                                      \
  }
FG_CHOICE(fg_choice_f32, float)
FG_CHOICE(fg_choice_f64, double)

/* True if n numbers are finite. */
#define FG_FINITE(name, type)                              \
  static inline int name(const type *x, fg_size n) {       \
    int good = 1;                                          \
    for (fg_size i = 0; i < n; i++) good &= x[i] - x[i] == 0; \
    return good;                                           \
  }
FG_FINITE(fg_finite_f32, float)
FG_FINITE(fg_finite_f64, double)

/* x -= log(sum(exp(x))) for each of `rows` rows; rows of -inf alone stay as they are. */
static inline void fg_log_softmax(double *x, fg_size rows, fg_size n) {
  for (; rows > 0; rows--, x += n) {
    const double sum = fg_log_sum(x, n);
    if (sum == -INFINITY) continue;
    for (fg_size i = 0; i < n; i++) x[i] -= sum;
  }
}

#endif
