/* The functions of elementwise programs against libm in a wider type, over the whole range of their arguments: the
 * largest error of each in units of the last place, which a bound beside it limits, and a hash of all results on the
 * last line. Built as tests/kernels/frame_check.c is. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastgru/fastgru.h"

extern const fg_kernels FG_TABLE;

#ifdef FG_DOUBLE
typedef double real;
typedef long double exact;
#define EXACT(f) f##l
enum { MANTISSA = 53, LEAST = -1074, IS_DOUBLE = 1 };
#else
typedef float real;
typedef double exact;
#define EXACT(f) f
enum { MANTISSA = 24, LEAST = -149, IS_DOUBLE = 0 };
#endif
enum { BATCH = 4093 }; /* no whole number of vectors */

static uint64_t state = 1, hash = 14695981039346656037u;
static uint64_t random_bits(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return state >> 32 | state << 32;
}
static double unit(void) { return (double)(random_bits() >> 11) * 0x1p-53; }

static real any(void) {
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
static real two(void) { return 2; }
static real half(void) { return (real)0.5; }
static real odd(void) {
  static const double all[] = {0.0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, INFINITY, -INFINITY, NAN, 1e30, -1e30, 1e-30};
  return (real)all[random_bits() % (sizeof all / sizeof *all)];
}

static exact exact_exp(exact x, exact y) { return (void)y, EXACT(exp)(x); }
static exact exact_log(exact x, exact y) { return (void)y, EXACT(log)(x); }
static exact exact_sin(exact x, exact y) { return (void)y, EXACT(sin)(x); }
static exact exact_cos(exact x, exact y) { return (void)y, EXACT(cos)(x); }
static exact exact_atan(exact x, exact y) { return (void)y, EXACT(atan)(x); }
static exact exact_atan2(exact y, exact x) { return EXACT(atan2)(y, x); }
static exact exact_erf(exact x, exact y) { return (void)y, EXACT(erf)(x); }
static exact exact_pow(exact x, exact y) { return EXACT(pow)(x, y); }

typedef real draw(void);
/* Behind the bounds, what was measured as float and double. */
static const struct {
  const char *name;
  int function;
  exact (*exact)(exact, exact);
  draw *a, *b;
  double bounds[2];
} rows[] = {
    {"exp", FG_EXP, exact_exp, any, any, {1.2, 1.1}},                  /* 0.99 0.90 */
    {"exp moderate", FG_EXP, exact_exp, moderate, any, {1.2, 1.1}},    /* 1.07 0.96 */
    {"log", FG_LOG, exact_log, any, any, {0.501, 0.6}},                /* 0.50 0.51 */
    {"log near 1", FG_LOG, exact_log, near_one, any, {0.501, 0.6}},    /* 0.50 0.54 */
    {"sin", FG_SIN, exact_sin, any, any, {0.501, 3}},                  /* 0.50 2.6 */
    {"sin moderate", FG_SIN, exact_sin, moderate, any, {0.501, 2}},    /* 0.50 1.54 */
    {"sin far", FG_SIN, exact_sin, far, any, {0.501, 3}},              /* 0.50 2.5 */
    {"cos", FG_COS, exact_cos, any, any, {0.501, 3}},                  /* 0.50 2.6 */
    {"cos moderate", FG_COS, exact_cos, moderate, any, {0.501, 2}},    /* 0.50 1.55 */
    {"atan", FG_ATAN, exact_atan, any, any, {0.501, 2.5}},              /* 0.50 1.67 */
    {"atan small", FG_ATAN, exact_atan, small, any, {0.501, 2.5}},      /* 0.50 1.00 */
    {"atan2", FG_ATAN2, exact_atan2, any, any, {0.501, 2.5}},           /* 0.50 1.57 */
    {"atan2 moderate", FG_ATAN2, exact_atan2, moderate, moderate, {0.501, 2.5}}, /* 0.50 1.59 */
    {"atan2 odd", FG_ATAN2, exact_atan2, odd, odd, {0.501, 2.5}},       /* 0.42 1.05 */
    {"erf", FG_ERF, exact_erf, any, any, {1.6, 1.5}},                  /* 1.23 0.80 */
    {"erf small", FG_ERF, exact_erf, small, any, {1.6, 1.5}},          /* 1.37 1.34 */
    {"erf moderate", FG_ERF, exact_erf, moderate, any, {1.6, 1.5}},    /* 1.23 1.27 */
    {"pow", FG_POW, exact_pow, any, moderate, {0.501, 1.3}},           /* 0.50 1.05 */
    {"pow moderate", FG_POW, exact_pow, positive, moderate, {0.501, 1.3}}, /* 0.50 1.14 */
    {"pow small", FG_POW, exact_pow, near_one, small, {0.501, 1.3}},   /* 0.50 1.10 */
    {"pow far", FG_POW, exact_pow, near_one, far, {0.501, 30}},        /* 0.50 24 */
    {"pow whole", FG_POW, exact_pow, moderate, integer, {0.501, 1.3}}, /* 0.50 1.11 */
    {"pow exact", FG_POW, exact_pow, integer, integer, {0.501, 0.999}}, /* 0.50 0.90: none where the result is exact */
    {"pow odd", FG_POW, exact_pow, odd, odd, {0.501, 0.999}},          /* 0.33 0.67 */
    {"square", FG_POW, exact_pow, moderate, two, {0.501, 0.501}},
    {"odd square", FG_POW, exact_pow, odd, two, {0.501, 0.501}},
    {"root", FG_POW, exact_pow, any, half, {0.501, 0.501}},
    {"odd root", FG_POW, exact_pow, odd, half, {0.501, 0.501}},
};

/* |got - want| in units of the last place of `want`; 1e9 where NaN, infinities or the sign of zero differ. */
static double error_of(real got, exact want) {
  const real rounded = (real)want;
  const int plain = rounded - rounded == 0 && rounded != 0 && got - got == 0;
  const int same = (got == rounded && signbit(got) == signbit(rounded)) || (got != got && rounded != rounded);
  if (!plain) return same ? 0 : 1e9;
  int e;
  EXACT(frexp)(want, &e);
  if (e - MANTISSA < LEAST) e = LEAST + MANTISSA;
  return (double)EXACT(ldexp)(EXACT(fabs)((exact)got - want), MANTISSA - e);
}

static void mix(real v) { /* all NaN alike */
  uint64_t word = 0;
  if (v != v) v = 0;
  memcpy(&word, &v, sizeof v), hash = (hash ^ word) * 1099511628211u;
}

/* n results, b being one number for all where `repeated`; each alone must have the same bits. */
static int run(int function, real *y, real *a, real *b, int repeated) {
  fg_nest nest = {1, 1, 0, 3, {BATCH}, {{1}, {1}, {!repeated}}};
  const fg_micro program = {function, 0, 1, 0, 0, 0};
  int same = 1;
  FG_TABLE.map(&nest, &program, 1, (void *[]){y, a, b});
  nest.dims[0] = 1;
  for (int i = 0; i < BATCH; i += 97) {
    real alone;
    FG_TABLE.map(&nest, &program, 1, (void *[]){&alone, a + i, repeated ? b : b + i});
    same = same && (memcmp(&alone, &y[i], sizeof alone) == 0 || alone != alone);
  }
  return same;
}

int main(int argc, char **argv) {
  const int batches = argc > 1 ? atoi(argv[1]) : 30;
  int failed = 0;
  for (unsigned r = 0; r < sizeof rows / sizeof rows[0]; r++) {
    const double bound = rows[r].bounds[IS_DOUBLE];
    double worst = 0, at[3] = {0};
    for (int batch = 0; batch < batches; batch++) {
      static real a[BATCH], b[BATCH], y[BATCH];
      for (int i = 0; i < BATCH; i++) a[i] = rows[r].a(), b[i] = rows[r].b();
      if (!run(rows[r].function, y, a, b, rows[r].b == two || rows[r].b == half))
        failed = 1, printf("%s: other bits for an element alone\n", rows[r].name);
      for (int i = 0; i < BATCH; i++) {
        const double error = error_of(y[i], rows[r].exact(a[i], b[i]));
        if (error > worst) worst = error, at[0] = a[i], at[1] = b[i], at[2] = y[i];
        mix(y[i]);
      }
    }
    printf("%-14s %8.4f of %5.3f at %.17g %.17g: %.17g\n", rows[r].name, worst, bound, at[0], at[1], at[2]);
    failed |= worst > bound;
  }
  printf("hash %016llx\n", (unsigned long long)hash);
  return failed;
}
