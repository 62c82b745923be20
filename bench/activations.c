/* The activations over every float32 there is: the largest error of each, absolute and in units of the last place of
 * the exact value, and where. The figures in include/fastgru/math/vmath.h are this program's; some three minutes.
 * From the repository:
 *
 *   gcc -std=gnu11 -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -Iinclude -DFG_ISA=avx2 \
 *     -DFG_TABLE=fg_table -mavx2 -mfma -mf16c fastgru/_native/kernels.c bench/activations.c -lm -o activations
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fastgru/fastgru.h"

extern const fg_kernels fg_table;

enum { BATCH = 4096 };

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static const struct {
  const char *name;
  int kind;
  double (*exact)(double);
} rows[] = {
    {"sigmoid", FG_SIGMOID, sigmoid},
    {"tanh", FG_TANH, tanh},
    {"fast sigmoid", FG_FAST_SIGMOID, sigmoid},
    {"fast tanh", FG_FAST_TANH, tanh},
};

static double last_place(double exact) { /* of a float of that size */
  int exponent;
  frexp(exact, &exponent);
  return ldexp(1, exponent < -125 ? -149 : exponent - 24);
}

int main(void) {
  static float x[BATCH], y[BATCH];
  const fg_rows in = {x, 0, BATCH}, out = {y, 0, BATCH};
  const fg_span one = {1, 0, 1, NULL, 0};
  for (unsigned r = 0; r < sizeof rows / sizeof *rows; r++) {
    const fg_act act = {rows[r].kind, 0, 0};
    double most = 0, places = 0;
    float at = 0, places_at = 0, least = 1, largest = -1;
    for (uint64_t first = 0; first < 1ull << 32; first += BATCH) {
      for (uint32_t i = 0; i < BATCH; i++) {
        const uint32_t bits = (uint32_t)first + i;
        memcpy(x + i, &bits, 4);
      }
      if (isnan(x[0])) continue;
      fg_table.activate(&act, NULL, &in, &out, BATCH, &one);
      for (int i = 0; i < BATCH; i++) {
        if (isnan(x[i])) continue;
        const double exact = rows[r].exact(x[i]), error = fabs(y[i] - exact), ulps = error / last_place(exact);
        if (error > most) most = error, at = x[i];
        if (ulps > places) places = ulps, places_at = x[i];
        if (y[i] < least) least = y[i];
        if (y[i] > largest) largest = y[i];
      }
    }
    printf("%-12s  absolute %.3g at %.9g, units of the last place %.4g at %.9g, from %.9g to %.9g\n", rows[r].name, most,
           at, places, places_at, least, largest);
  }
  return 0;
}
