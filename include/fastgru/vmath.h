/* exp, sigmoid, tanh, softplus on vectors, and the activation switch. No libm, no table look-ups.
 *
 * expm1(x) = 2^n q + (2^n - 1) with q = expm1(r), x = n ln2 + r, |r| <= ln2/2, q = r + r^2 P(r).
 * P interpolates at Chebyshev nodes: relative error of exp 1.0e-8 (float), 2.3e-19 (double) before
 * rounding. Every multiply-add is written so that it can be fused in one way only.
 * Measured maxima, absolute: sigmoid 8.9e-8, tanh 8.9e-8 (float), 2.2e-16 (double); the others stand in
 * tests/test_kernels.py, which holds them to it.
 *
 * There is no faster, less exact tier: tried with 5 of the 17 instructions of a sigmoid left out (error 1e-4), batches
 * of 32 rows of 64 units ran 2 to 3 % faster in float32 and 6 % in int8 (Zen 5, input products included).
 */
#ifndef FASTGRU_VMATH_H
#define FASTGRU_VMATH_H

#include "fastgru.h"
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

/* Any activation of the table, chosen at run time: not inlined, so that it costs no code in each kernel. */
static __attribute__((noinline)) vr fg_activation(const fg_act *act, vr x) {
  const real a = (real)act->alpha, b = (real)act->beta;
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
    default: return x;
  }
}

#endif
