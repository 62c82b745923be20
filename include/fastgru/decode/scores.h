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

/* x -= log(sum(exp(x))) for each of `rows` rows; rows of -inf alone stay as they are. */
static inline void fg_log_softmax(double *x, fg_size rows, fg_size n) {
  for (; rows > 0; rows--, x += n) {
    const double sum = fg_log_sum(x, n);
    if (sum == -INFINITY) continue;
    for (fg_size i = 0; i < n; i++) x[i] -= sum;
  }
}

#endif
