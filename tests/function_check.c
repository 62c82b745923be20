/* The functions of elementwise programs against libm in a wider type, over the whole range of their arguments: the
 * largest error of each in units of the last place, and a hash of all results on the last line. Built as
 * tests/frame_check.c is. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastgru/fastgru.h"
#include "fastgru/vec.h"

extern const fg_kernels FG_TABLE;

#ifdef FG_DOUBLE
typedef long double exact;
#define EXACT(f) f##l
enum { MANTISSA = 53, LEAST = -1074 };
#else
typedef double exact;
#define EXACT(f) f
enum { MANTISSA = 24, LEAST = -149 };
#endif
enum { BATCH = 4096 };

static uint64_t state = 1, hash = 14695981039346656037u;
static uint64_t random_bits(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return state >> 32 | state << 32;
}
static double unit(void) { return (double)(random_bits() >> 11) * 0x1p-53; }

static real any_bits(void) {
  const uint64_t bits = random_bits();
  real x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
static real moderate(void) { return (real)(unit() * 40 - 20); }
static real near_one(void) { return (real)(0.5 + unit()); }
static real small(void) { return (real)(unit() * 2 - 1); }
static real far(void) { return (real)((unit() * 2 - 1) * 0x1p20); }
static real positive(void) { return (real)exp(unit() * 14 - 7); }
static real integer(void) { return (real)((int)(unit() * 41) - 20); }
static real odd_one(void) {
  static const double odd[] = {0.0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, INFINITY, -INFINITY, NAN, 1e30, -1e30, 1e-30};
  return (real)odd[random_bits() % (sizeof odd / sizeof *odd)];
}

static exact wide_exp(exact x, exact y) { return (void)y, EXACT(exp)(x); }
static exact wide_log(exact x, exact y) { return (void)y, EXACT(log)(x); }
static exact wide_sin(exact x, exact y) { return (void)y, EXACT(sin)(x); }
static exact wide_cos(exact x, exact y) { return (void)y, EXACT(cos)(x); }
static exact wide_erf(exact x, exact y) { return (void)y, EXACT(erf)(x); }
static exact wide_pow(exact x, exact y) { return EXACT(pow)(x, y); }

typedef real draw(void);
static const struct {
  const char *name;
  int function;
  exact (*exact)(exact, exact);
  draw *a, *b;
} rows[] = {
    {"exp", FG_EXP, wide_exp, any_bits, NULL},     {"exp moderate", FG_EXP, wide_exp, moderate, NULL},
    {"log", FG_LOG, wide_log, any_bits, NULL},     {"log near 1", FG_LOG, wide_log, near_one, NULL},
    {"sin", FG_SIN, wide_sin, any_bits, NULL},     {"sin moderate", FG_SIN, wide_sin, moderate, NULL},
    {"sin far", FG_SIN, wide_sin, far, NULL},      {"cos", FG_COS, wide_cos, any_bits, NULL},
    {"cos moderate", FG_COS, wide_cos, moderate, NULL}, {"erf", FG_ERF, wide_erf, any_bits, NULL},
    {"erf small", FG_ERF, wide_erf, small, NULL},  {"erf moderate", FG_ERF, wide_erf, moderate, NULL},
    {"pow", FG_POW, wide_pow, any_bits, moderate}, {"pow moderate", FG_POW, wide_pow, positive, moderate},
    {"pow small", FG_POW, wide_pow, near_one, small}, {"pow far", FG_POW, wide_pow, near_one, far}, {"pow whole", FG_POW, wide_pow, moderate, integer},
    {"pow exact", FG_POW, wide_pow, integer, integer}, {"pow odd", FG_POW, wide_pow, odd_one, odd_one},
};

/* |got - want| in units of the last place of `want`; 1e9 where NaN, infinities or the sign of zero differ. */
static double error_of(real got, exact want) {
  const real rounded = (real)want;
  const int plain = rounded - rounded == 0 && rounded != 0 && got - got == 0;
  if (!plain) return (got == rounded && signbit(got) == signbit(rounded)) || (got != got && rounded != rounded) ? 0 : 1e9;
  int e;
  EXACT(frexp)(want, &e);
  if (e - MANTISSA < LEAST) e = LEAST + MANTISSA;
  return (double)EXACT(ldexp)(EXACT(fabs)((exact)got - want), MANTISSA - e);
}

int main(int argc, char **argv) {
  const int batches = argc > 1 ? atoi(argv[1]) : 100;
  int failed = 0;
  for (unsigned r = 0; r < sizeof rows / sizeof rows[0]; r++) {
    double worst = 0;
    real at_a = 0, at_b = 0, was = 0;
    for (int batch = 0; batch < batches; batch++) {
      static real a[BATCH], b[BATCH], y[BATCH];
      for (int i = 0; i < BATCH; i++) a[i] = rows[r].a(), b[i] = rows[r].b ? rows[r].b() : 0;
      const fg_nest nest = {1, 1, 3, {BATCH - 3}, {{1}, {1}, {1}}};
      const fg_micro program = {rows[r].function, 0, 1, 0, 0, 0};
      FG_TABLE.map(&nest, &program, 1, (void *[]){y, a, b});
      for (int i = 0; i < BATCH - 3; i++) {
        const double error = error_of(y[i], rows[r].exact(a[i], b[i]));
        if (error > worst) worst = error, at_a = a[i], at_b = b[i], was = y[i];
        if (y[i] != y[i]) y[i] = 0;
        uint64_t word = 0;
        memcpy(&word, &y[i], sizeof y[i]), hash = (hash ^ word) * 1099511628211u;
      }
    }
    const double bound = sizeof(real) == 4 ? 0.502 : 2;
    printf("%-14s %10.4f  at %.17g %.17g: %.17g\n", rows[r].name, worst, (double)at_a, (double)at_b, (double)was);
    failed |= worst > bound;
  }
  printf("hash %016llx\n", (unsigned long long)hash);
  return failed;
}
