/* exp, sigmoid, tanh, softplus on vectors, and the activation switch. No libm, no table look-ups.
 *
 * expm1(x) = 2^n q + (2^n - 1) with q = expm1(r), x = n ln2 + r, |r| <= ln2/2, q = r + r^2 P(r).
 * P interpolates at Chebyshev nodes: relative error of exp 1.0e-8 (float), 2.3e-19 (double) before
 * rounding. Every multiply-add is written so that it can be fused in one way only.
 * Largest errors over every float (bench/activations.c): sigmoid 8.9e-8, tanh 8.9e-8 and 2.5 units of the last place;
 * in double 2.2e-16. The others stand in tests/kernels/test_kernels.py, which holds them to it.
 *
 * Tried on Zen 3, kernels alone: a base of 2 with fewer terms, by pairs, and the exponent added as a whole number (8
 * multiply-adds of a sigmoid instead of 10, 13 cycles less of latency): 0 to 4 % faster, 2 % on average. Not worth a
 * second set of constants.
 */
#ifndef FASTGRU_VMATH_H
#define FASTGRU_VMATH_H

#include "fastgru/fastgru.h"
#include "vec.h"

#ifdef FG_DOUBLE
#define FG_MAGIC 0x1.8p52 /* adding it rounds to a whole number in the low mantissa bits */
#define FG_LN2_HI 0x1.62e42fefap-1 /* few bits: n * FG_LN2_HI is exact */
#define FG_LN2_LO 0x1.cf79abc9e3b3ap-40
#define FG_MANTISSA 52
#define FG_EXP_MAX 708.0
#define FG_ATANH_TERMS 17 /* (1/9)^17 / 35 < 2e-18 */
static const real fg_expm1_p[] = {0.5, 0.16666666666666670991, 0.041666666666666669755, 0.0083333333333261351258,
                                  0.0013888888888883748305, 1.9841269874820625271e-4, 2.4801587325547741216e-5,
                                  2.755725540020642443e-6, 2.7557273643110295328e-7, 2.5105217004720745164e-8,
                                  2.0914686968086877233e-9};
#else
#define FG_MAGIC 0x1.8p23f
#define FG_LN2_HI 0x1.62e4p-1f
#define FG_LN2_LO 0x1.7f7d1cp-20f
#define FG_MANTISSA 23
#define FG_EXP_MAX 87.0f
#define FG_ATANH_TERMS 8 /* (1/9)^8 / 17 < 2e-9 */
static const real fg_expm1_p[] = {0.5f, 0.16666576989698775683f, 0.041666554617204574203f, 0.0083631790527225773704f,
                                  0.0013926183587713494542f};
#endif

/* The functions that gates use take n vectors, a constant in every caller: n chains of dependent instructions side by
 * side, where one alone waits some 60 cycles for itself. */
enum { FG_FLIGHT = 8 }; /* the most */

/* 2^n and expm1(r) of the header's formula, for x within +-FG_EXP_MAX; NaN gives q = NaN. */
FG_INLINE void fg_expm1_parts(int n, const vr *x, vr *power, vr *q) {
  const real log2e = (real)1.4426950408889634074;
  vr whole[FG_FLIGHT], r[FG_FLIGHT];
  FG_EACH(i, n) whole[i] = x[i] * log2e + FG_MAGIC;
  FG_EACH(i, n) power[i] = (vr)(((vi)whole[i] << FG_MANTISSA) + (vi)splat((real)1));
  FG_EACH(i, n) whole[i] = whole[i] - FG_MAGIC;
  FG_EACH(i, n) r[i] = x[i] - whole[i] * FG_LN2_HI;
  FG_EACH(i, n) r[i] = r[i] - whole[i] * FG_LN2_LO;
  const int terms = sizeof fg_expm1_p / sizeof fg_expm1_p[0];
  FG_EACH(i, n) q[i] = splat(fg_expm1_p[terms - 1]);
  FG_UNROLL for (int k = terms - 2; k >= 0; k--) FG_EACH(i, n) q[i] = q[i] * r[i] + fg_expm1_p[k];
  FG_EACH(i, n) q[i] = q[i] * (r[i] * r[i]) + r[i];
}

FG_INLINE vr fg_exp(vr x) { /* at least exp(-FG_EXP_MAX): enough for softmax and gates */
  vr power, q;
  x = at_least(at_most(x, FG_EXP_MAX), -FG_EXP_MAX);
  fg_expm1_parts(1, &x, &power, &q);
  return power * q + power;
}

FG_INLINE vr fg_expm1(vr x) {
  vr power, q;
  x = at_least(at_most(x, FG_EXP_MAX), -FG_EXP_MAX);
  fg_expm1_parts(1, &x, &power, &q);
  return power * q + (power - (real)1);
}

/* The division costs little: its unit works beside the multiply-add ports. Newton's iteration in its place (eight
 * instructions of those ports) made a batched step of 128 units 10 % slower on Sapphire Rapids. */
FG_INLINE void fg_sigmoids(int n, vr *x) {
  vr power[FG_FLIGHT], q[FG_FLIGHT];
  FG_EACH(i, n) x[i] = at_least(at_most(-x[i], FG_EXP_MAX), -FG_EXP_MAX);
  fg_expm1_parts(n, x, power, q);
  FG_EACH(i, n) x[i] = (real)1 / (power[i] * q[i] + (power[i] + (real)1));
}

/* tanh |x| = e / (e + 2), e = expm1(2 |x|): no cancellation near zero, and tanh(-x) = -tanh(x). */
FG_INLINE void fg_tanhs(int n, vr *x) {
  vr power[FG_FLIGHT], q[FG_FLIGHT], a[FG_FLIGHT];
  FG_EACH(i, n) a[i] = at_most(magnitude(x[i]), (real)20); /* tanh(20) is 1 in double, too */
  FG_EACH(i, n) a[i] = a[i] + a[i];
  fg_expm1_parts(n, a, power, q);
  FG_EACH(i, n) a[i] = power[i] * q[i] + (power[i] - (real)1);
  FG_EACH(i, n) x[i] = with_sign_of(a[i] / (a[i] + (real)2), x[i]);
}

/* The fast tier: tanh x = x P(x^2) / Q(x^2) for |x| <= FG_FAST_MAX and constant beyond, sigmoid x = (1 + tanh(x / 2)) / 2,
 * 12 and 13 instructions instead of 20 and 17. P and Q are of degree 3, their error the least in its largest relative
 * value, 1.1e-6; largest errors over every float: sigmoid 6.9e-7, tanh 1.3e-6, and no result beyond 0 or +-1. The same
 * formula and numbers are in fastgru/graph/activations.py. Steps of GRU and LSTM, kernels alone, Zen 3: 16 to 32 units
 * 8 to 20 % faster, 64 units 11 %, 128 5 to 9 %; 32 rows 4 to 15 %. Tried: degrees 2 and 3, error 1.3e-5, another 1 to
 * 3 %; degree 4, of which only the rounding is left, 4e-7, 4 % slower than this. */
#define FG_FAST_MAX ((real)7)
enum { FG_FAST_TERMS = 4 };
static const real fg_fast_p[FG_FAST_TERMS] = {1, (real)0.12330129713287633, (real)0.0022996951803621653,
                                              (real)4.023165971405458e-06};
static const real fg_fast_q[FG_FAST_TERMS] = {1, (real)0.4566293919080159, (real)0.02118404410615605,
                                              (real)0.00014465821219507237};

/* tanh(x / s) / s for s = 1 or 2, which scale the coefficients exactly. */
FG_INLINE void fg_fast_odd(int n, vr *x, real s) {
  vr y[FG_FLIGHT], y2[FG_FLIGHT], p[FG_FLIGHT], q[FG_FLIGHT];
  real cp[FG_FAST_TERMS], cq[FG_FAST_TERMS], scale = 1;
  FG_EACH(k, FG_FAST_TERMS) {
    cq[k] = fg_fast_q[k] * scale;
    scale /= s * s;
    cp[k] = fg_fast_p[k] * scale;
  }
  FG_EACH(i, n) x[i] = at_least(at_most(x[i], s * FG_FAST_MAX), -s * FG_FAST_MAX);
  FG_EACH(i, n) y[i] = x[i] * x[i];
  FG_EACH(i, n) y2[i] = y[i] * y[i];
  FG_EACH(i, n) p[i] = (cp[3] * y[i] + cp[2]) * y2[i] + (cp[1] * y[i] + cp[0]);
  FG_EACH(i, n) q[i] = (cq[3] * y[i] + cq[2]) * y2[i] + (cq[1] * y[i] + cq[0]);
  FG_EACH(i, n) x[i] = x[i] * p[i] / q[i];
}

FG_INLINE void fg_fast_tanhs(int n, vr *x) { fg_fast_odd(n, x, 1); }

FG_INLINE void fg_fast_sigmoids(int n, vr *x) {
  fg_fast_odd(n, x, 2);
  FG_EACH(i, n) x[i] = x[i] + (real)0.5;
}

FG_INLINE vr fg_sigmoid(vr x) {
  fg_sigmoids(1, &x);
  return x;
}

FG_INLINE vr fg_tanh(vr x) {
  fg_tanhs(1, &x);
  return x;
}

/* max(x, 0) + log1p(exp(-|x|)), log1p(u) = 2 atanh(u / (2 + u)) by its series: u <= 1, so s^2 <= 1/9. */
FG_INLINE vr fg_softplus(vr x) {
  const vr u = fg_exp(-magnitude(x));
  const vr s = u / ((real)2 + u);
  const vr s2 = s * s;
  vr p = splat((real)1 / (2 * FG_ATANH_TERMS + 1));
  FG_UNROLL for (int i = FG_ATANH_TERMS - 1; i >= 0; i--) p = p * s2 + (real)1 / (2 * i + 1);
  return (s + s) * p + at_least(x, 0);
}

/* Correctly rounded: the compiler's builtin becomes the CPU's instruction (-fno-math-errno). */
FG_INLINE real square_root(real x) {
#ifdef FG_DOUBLE
  return __builtin_sqrt(x);
#else
  return __builtin_sqrtf(x);
#endif
}

/* Codes low .. high of a scale, and what these two stand for. */
typedef struct {
  real scale, inverse, least, most;
} fg_codes;

FG_INLINE fg_codes codes_of(real scale, real low) {
  return (fg_codes){scale, 1 / scale, low * scale, (low + 255) * scale};
}

/* x / scale of what is clipped to the codes, which rounds a bound to its own code. With the rounded inverse, the rest of
 * a first quotient makes the next one that of a division (Markstein, IBM J. Res. Dev. 34, 1990), in a third of its time
 * on Zen 3. Without fused multiply-adds it would not be exact. */
FG_INLINE vr steps_of(vr x, const fg_codes *codes) {
  const vr at = at_most(at_least(x, codes->least), codes->most);
#if defined(__FMA__) || defined(__AVX512F__) || defined(__aarch64__)
  const vr first = settled(at * codes->inverse);
  return settled(first + settled(at - first * codes->scale) * codes->inverse);
#else
  return settled(at / codes->scale);
#endif
}

/* The number that the code of x stands for; never -0. */
FG_INLINE vr fg_fake_quantize(vr x, const fg_codes *codes) {
#ifdef FG_DOUBLE
  const real whole = 0x1.8p52;
#else
  const real whole = 0x1.8p23f;
#endif
  return ((steps_of(x, codes) + whole) - whole) * codes->scale;
}

/* Any activation of the table, chosen at run time: not inlined, so that it costs no code in each kernel. */
static __attribute__((noinline)) vr fg_activation(const fg_act *act, vr x) {
  const real a = (real)act->alpha, b = (real)act->beta;
  fg_codes codes;
  switch (act->kind) {
    case FG_SIGMOID: return fg_sigmoid(x);
    case FG_TANH: return fg_tanh(x);
    case FG_RELU: return at_least(x, 0);
    case FG_HARD_SIGMOID: return at_most(at_least(x * a + b, 0), 1);
    case FG_SOFTSIGN: return x / ((real)1 + magnitude(x));
    case FG_SOFTPLUS: return fg_softplus(x);
    case FG_ELU: return pick(x > 0, x, a * fg_expm1(at_most(x, 0)));
    case FG_LEAKY_RELU: return pick(x > 0, x, x * a);
    case FG_THRESHOLDED_RELU: return pick(x <= a, splat(0), x);
    case FG_SCALED_TANH: return a * fg_tanh(x * b);
    case FG_AFFINE: return x * a + b;
    case FG_FAST_SIGMOID: fg_fast_sigmoids(1, &x); return x;
    case FG_FAST_TANH: fg_fast_tanhs(1, &x); return x;
    case FG_FAKE_QUANTIZE: codes = codes_of(a, b); return fg_fake_quantize(x, &codes);
    default: return x;
  }
}

/* The first columns of n rows through an activation. Rows that lie one after the other are one: those of a single column
 * by themselves would each take a vector (Zen 4, AVX-512, 32 units to one, sigmoid, 256 rows: 9.3 us, now 3.7). */
static __attribute__((unused)) void activate_columns(const fg_act *act, real *const *rows, fg_idx n, fg_idx columns) {
  fg_idx joined = 1;
  while (joined < n && rows[joined] == rows[joined - 1] + columns) joined++;
  const fg_idx runs = joined < n ? n : 1, run = joined < n ? columns : n * columns;
  for (fg_idx i = 0; i < runs; i++)
    for (fg_idx j = 0; j < run; j += FG_LANES)
      store_some(rows[i] + j, fg_activation(act, load_some(rows[i] + j, run - j)), run - j);
}

#endif
