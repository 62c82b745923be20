/* exp, log, pow, sin, cos, atan2, erf over their whole range, in double: a float build widens halves of its vectors, works on
 * them and rounds once; only exp and erf, which many networks take of every element, stay in float. Largest errors
 * measured, in units of the last place: float 0.51, exp 1.07, erf 1.37; double 2.6, pow beyond 1e+-200 25.
 *
 * Polynomials interpolate at Chebyshev nodes; their relative errors are below 1e-16. Products that must be exact are of
 * factors whose low bits were cut off, so that a fused multiply-add and two operations give the same bits.
 */
#ifndef FASTGRU_ELEMENTARY_H
#define FASTGRU_ELEMENTARY_H

#include "vmath.h"

typedef double vd __attribute__((vector_size(FG_BYTES), may_alias));
typedef int64_t vl __attribute__((vector_size(FG_BYTES), may_alias));
typedef uint64_t vu __attribute__((vector_size(FG_BYTES), may_alias));
enum { FG_WIDE = FG_BYTES / (int)sizeof(double) };

#define FG_SHIFT 0x1.8p52 /* adding it rounds to a whole number in the low mantissa bits */
#define FG_HIGH_BITS (~0xffffffffull) /* 21 bits of mantissa: products of two such are exact */
#define FG_SIGN_BIT 0x8000000000000000ull

FG_INLINE vd wide(double x) { return x - (vd){0}; }
FG_INLINE vd wide_pick(vl mask, vd yes, vd no) { return (vd)((mask & (vl)yes) | (~mask & (vl)no)); }
FG_INLINE vd wide_abs(vd x) { return (vd)((vu)x & ~FG_SIGN_BIT); }
FG_INLINE vd wide_signed(vd x, vd sign) { return (vd)(((vu)x & ~FG_SIGN_BIT) | ((vu)sign & FG_SIGN_BIT)); }
FG_INLINE vd wide_high(vd x) { return (vd)((vu)x & FG_HIGH_BITS); }
FG_INLINE vd wide_settled(vd x) {
#ifdef FG_DOUBLE
  return settled(x);
#else
  return (vd)settled((vr)x);
#endif
}

#define FG_HORNER(value, coefficients, x)                                                  \
  do {                                                                                     \
    const int terms = sizeof(coefficients) / sizeof *(coefficients);                       \
    value = wide((coefficients)[terms - 1]);                                               \
    FG_UNROLL for (int i = terms - 2; i >= 0; i--) value = value * (x) + (coefficients)[i]; \
  } while (0)

/* Whole numbers nearest to x, halves to even; exact from 2^52 on, where all are whole. */
FG_INLINE vd wide_round(vd x) {
  const vd unit = wide_signed(wide(0x1p52), x);
  return wide_pick(wide_abs(x) < 0x1p52, wide_signed((x + unit) - unit, x), x);
}

/* exp(x + rest), |rest| < 0.001. */
FG_INLINE vd wide_exp(vd x, vd rest) {
  static const double p[] = {0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333325985,
                             0.0013888888888883642, 0.00019841269875342141, 2.4801587325920163e-05,
                             2.7557254740405416e-06, 2.7557273171941026e-07, 2.5105490906986696e-08,
                             2.091488256348507e-09};
  x = wide_pick(x < -800, wide(-800), wide_pick(x > 800, wide(800), x));
  vd n = x * 1.4426950408889634074 + FG_SHIFT;
  const vu whole = (vu)n - (vu)wide(FG_SHIFT);
  n = n - FG_SHIFT;
  vd r = x - n * 0x1.62e42fefap-1; /* few bits: the product is exact */
  r = (r - n * 0x1.cf79abc9e3b3ap-40) + rest;
  vd q;
  FG_HORNER(q, p, r);
  q = q * (r * r) + r;
  const vu half = ((whole + 4096) >> 1) - 2048; /* 2^n as two factors: the result may lie below 2^-1022 */
  const vd a = (vd)((half + 1023) << 52), b = (vd)((whole - half + 1023) << 52);
  return (a * q + a) * b;
}

/* log(x) = high + low for finite x > 0: log(m 2^e) = e ln2 + 2 atanh(s), s = (m - 1) / (m + 1), m from sqrt(1/2) to
 * sqrt(2). A float build leaves out what only double can tell. */
FG_INLINE vd wide_log(vd x, vd *low) {
  static const double p[] = {0.6666666666666666, 0.40000000000000885, 0.28571428570799784, 0.22222222392581045,
                             0.18181795547521137, 0.15386244737621665, 0.13268638369266825, 0.13088034850927555};
  const vl tiny = x < 0x1p-1022;
  const vu bits = (vu)wide_pick(tiny, x * 0x1p54, x);
  const uint64_t root = 0x3fe6a09e667f3bcdull; /* of 1/2 */
  const vu biased = (bits + (0x3ff0000000000000ull - root)) >> 52;
  const vd m = (vd)(bits - ((biased - 1023) << 52));
  const vd e = ((vd)(biased + (uint64_t)0x4338000000000000) - (FG_SHIFT + 1023)) - (vd)(tiny & (vl)wide(54));
  const vd f = m - 1, t = f + 2, s = f / t;
#ifdef FG_DOUBLE
  const vd s_high = wide_high(s), t_high = wide_high(t), t_low = f - (t_high - 2);
  const vd s_low = ((f - s_high * t_high) - s_high * t_low) / t;
#else
  const vd s_high = s, s_low = wide(0);
#endif
  const vd z = s * s;
  vd q;
  FG_HORNER(q, p, z);
  const vd a = e * 0x1.62e42fefap-1, b = s_high + s_high, high = a + b; /* a, b exact */
  const vd rest = wide_settled(s * z) * q + (s_low + s_low);
  const vd behind = (b - (high - a)) + (e * 0x1.cf79abc9e3b3ap-40 + rest), sum = high + behind;
  *low = behind - (sum - high);
  return sum;
}

FG_INLINE vd wide_logarithm(vd x) {
  vd low;
  const vd high = wide_log(x, &low);
  const vd y = wide_pick(x < __builtin_inf(), high + low, x); /* inf and NaN stay */
  return wide_pick(x == 0, wide(-__builtin_inf()), wide_pick(x < 0, wide(__builtin_nan("")), y));
}

/* As IEEE 754 has pow: negative bases to whole exponents, zeros, infinities, NaN. */
FG_INLINE vd wide_pow(vd x, vd y) {
  const vd base = wide_abs(x), inf = wide(__builtin_inf()), far = wide(0x1p70);
  const vd e = wide_pick(y > far, far, wide_pick(y < -far, -far, y)); /* far enough for any base but 1 */
  vd low;
  const vd high = wide_log(base, &low);
#ifdef FG_DOUBLE
  const vd h = wide_high(high), e_high = wide_high(e), rest = e * ((high - h) + low) + wide_settled((e - e_high) * h);
  vd power = wide_exp(e_high * h, wide_pick(wide_abs(e_high * h) < 800, rest, wide(0)));
#else
  vd power = wide_exp(e * (high + low), wide(0));
#endif
  power = wide_pick((base == 0) | (base == inf), wide_pick((base == 0) ^ (y < 0), wide(0), inf), power);
  const vl integer = wide_round(y) == y, odd = integer & (wide_round(y * 0.5) != y * 0.5);
  const vl negative = (vl)((vl)x < 0);
  power = wide_pick(negative & odd, -power, power);
  power = wide_pick((x < 0) & ~integer & (base < inf), wide(__builtin_nan("")), power);
  power = wide_pick((x != x) | (y != y), x + y, power);
  return wide_pick((y == 0) | (x == 1), wide(1), power);
}

FG_INLINE int any_lane(vl mask) {
  int64_t any = 0;
  FG_UNROLL for (int i = 0; i < FG_WIDE; i++) any |= mask[i];
  return any != 0;
}

/* Of a large finite x: its distance from the nearest whole number of quarter turns, and that number modulo 4. The bits
 * of 2 / pi that make multiples of 4 are left out; 192 of those behind them leave 137 bits of the fraction correct. */
static __attribute__((noinline)) double far_turns(double x, uint64_t *quarters) {
  static const uint32_t two_over_pi[] = { /* behind two words of zeros */
    0, 0, 0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab,
    0xdebbc561, 0xb7246e3a, 0x424dd2e0, 0x06492eea, 0x09d1921c, 0xfe1deb1c, 0xb129a73e, 0xe88235f5, 0x2ebb4484,
    0xe99c7026, 0xb45f7e41, 0x3991d639, 0x835339f4, 0x9c845f8b, 0xbdf9283b, 0x1ff897ff, 0xde05980f, 0xef2f118b,
    0x5a0a6d1f, 0x6d367ecf, 0x27cb09b7, 0x4f463f66, 0x9e5fea2d, 0x7527bac7, 0xebe5f17b, 0x3d0739f7, 0x8a5292ea,
    0x6bfb5fb1, 0x1f8d5d08, 0x56033046, 0xfc7b6bab, 0xf0cfbc20};
  uint64_t bits, carry = 0;
  memcpy(&bits, &x, sizeof bits);
  const int start = (int)(bits >> 52 & 2047) - 1075 - 2 + 64; /* first bit that counts */
  const uint64_t m = (bits & 0xfffffffffffffull) | 1ull << 52, low = m & 0xffffffff, high = m >> 32;
  uint32_t window[6], product[6]; /* the last word first */
  for (int i = 0; i < 6; i++) {
    const uint32_t *w = two_over_pi + start / 32 + 5 - i;
    window[i] = (uint32_t)((((uint64_t)w[0] << 32 | w[1]) << start % 32) >> 32);
  }
  for (int i = 0; i < 6; i++) {
    const uint64_t a = window[i] * low, b = i ? window[i - 1] * high : 0;
    carry += (a & 0xffffffff) + (b & 0xffffffff);
    product[i] = (uint32_t)carry;
    carry = (carry >> 32) + (a >> 32) + (b >> 32);
  }
  const int up = product[5] >> 29 & 1; /* a half or more: the next whole number is nearer */
  *quarters = (product[5] >> 30) + (uint64_t)up;
  double part = (double)((product[5] ^ -(uint32_t)up) & 0x3fffffff) * 0x1p-30, unit = 0x1p-62;
  for (int i = 4; i >= 1; i--, unit *= 0x1p-32) part += (double)(product[i] ^ -(uint32_t)up) * unit;
  if (x < 0) *quarters = -*quarters;
  return part * ((x < 0) == up ? 1.57079632679489661923 : -1.57079632679489661923);
}

/* sin of x + quarter turns. */
FG_INLINE vd wide_sin(vd x, uint64_t quarters) {
  static const double ps[] = {-0.16666666666666666, 0.008333333333333331, -0.00019841269841265017,
                              2.7557319219301936e-06, -2.5052106219528367e-08, 1.6058529573291737e-10,
                              -7.586576648405261e-13};
  static const double pc[] = {0.041666666666666664, -0.0013888888888888887, 2.4801587301584618e-05,
                              -2.7557319221382125e-07, 2.0876755783897636e-09, -1.1470459750244853e-11,
                              4.74580492324984e-14};
  vd n = x * 0.63661977236758134308 + FG_SHIFT;
  vu turn = (vu)n;
  n = n - FG_SHIFT;
  /* pi/2 in three parts of 33 bits and what is behind them */
  vd r = x - n * 1.57079632673412561417e+00;
  r = r - n * 6.07710050630396597660e-11;
  r = r - n * 2.02226624879595063154e-21;
  const vl far = (wide_abs(x) > 0x1p19) & (wide_abs(x) < __builtin_inf());
  if (any_lane(far))
    for (int i = 0; i < FG_WIDE; i++)
      if (far[i]) {
        uint64_t turns;
        r[i] = far_turns(x[i], &turns), turn[i] = turns;
      }
  turn = turn + quarters;
  const vd z = r * r;
  vd s, c;
  FG_HORNER(s, ps, z);
  FG_HORNER(c, pc, z);
  s = wide_settled(r * z) * s + r;
  c = wide_settled(z * z) * c + (1 - 0.5 * z);
  const vd y = wide_pick((vl)((turn & 1) == 0), s, c);
  return (vd)((vu)y ^ ((turn & 2) << 62));
}

/* The angle of (x, y), as IEEE 754 has it: the smaller of the two over the larger, less an eighth of a turn where that
 * leaves less, then s + s^3 P(s^2) for |s| < tan(pi / 8). */
FG_INLINE vd wide_atan2(vd y, vd x) {
  static const double p[] = {-0.3333333333333333, 0.19999999999999804, -0.14285714285659748, 0.11111111105147764,
                             -0.09090908753118594, 0.07692296363979952, -0.066664246872465, 0.05878926715756726,
                             -0.052304374642516874, 0.045515165635903104, -0.0345685906686069, 0.01628357235648259};
  const vd up = wide_abs(y), along = wide_abs(x);
  const vl steep = up > along;
  vd large = wide_pick(steep, up, along), small = wide_pick(steep, along, up);
#ifdef FG_DOUBLE
  const vd scale = wide_pick(large > 0x1p1000, wide(0x1p-100), wide(1)); /* their sum must be finite */
  large = large * scale, small = small * scale;
#endif
  const vl infinite = small == __builtin_inf(), far = (small > 0.41421356237309503 * large) | infinite;
  vd s = wide_pick(far, small - large, small) / wide_pick(far, small + large, large), q;
  s = wide_pick(infinite | (large == 0), wide(0), s);
  const vd z = s * s;
  FG_HORNER(q, p, z);
  vd angle = wide_settled(s * z) * q + wide_pick(far, wide(0x1.1a62633145c07p-55), wide(0));
  angle = wide_pick(far, wide(0x1.921fb54442d18p-1), wide(0)) + (s + angle);
  angle = wide_pick(steep, (0x1.921fb54442d18p+0 - angle) + 0x1.1a62633145c07p-54, angle);
  angle = wide_pick((vl)((vl)x < 0), (0x1.921fb54442d18p+1 - angle) + 0x1.1a62633145c07p-53, angle);
  return wide_pick((x != x) | (y != y), x + y, wide_signed(angle, y));
}

/* x + x P(x^2) up to 1, then 1 - exp(-x^2) Q((x - 3) / (x + 3)). */
FG_INLINE vd wide_erf(vd x) {
  static const double p[] = {0.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792,
                             0.0052239776248180145, -0.000854832698083379, 0.0001205533111164271,
                             -1.4925595266831182e-05, 1.6461000484121368e-06, -1.6350312701054695e-07,
                             1.4659775274047436e-08, -1.1372848856791674e-09, 5.957176147748911e-11};
  static const double q[] = {0.17900115118138996, -0.3262335600430372, 0.2456038017123309, -0.15011593650077742,
                             0.07166583719797347, -0.024392499318655416, 0.004269136333148302, 0.0007077464385177353,
                             -0.0005970619586158305, 4.5255298034073955e-05, 6.405673342206844e-05,
                             -1.2860318447907675e-05, -7.979817704348727e-06, 2.1169509641489688e-06,
                             1.2598817267482604e-06, -2.7269500546476834e-07, -2.389387463474792e-07,
                             -2.5925894581233316e-08};
  const vd a = wide_abs(x), far = wide_pick(a > 6, wide(6), a), z = a * a;
  vd near, tail;
  FG_HORNER(near, p, z);
  near = a * near + a;
  const vd t = (far - 3) / (far + 3);
  FG_HORNER(tail, q, t);
  tail = 1 - wide_exp(-(far * far), wide(0)) * tail;
  return wide_signed(wide_pick(a < 1, near, tail), x);
}

/* The functions of one element type. */
#ifdef FG_DOUBLE
#define FG_WIDEN(name, call) \
  FG_INLINE vr name(vr x, vr y) { (void)y; return call; }
#else
typedef float vh __attribute__((vector_size(FG_BYTES / 2), may_alias));
#define FG_WIDEN(name, call)                                                           \
  FG_INLINE vr name(vr a, vr b) {                                                      \
    vh as[2], bs[2];                                                                   \
    memcpy(as, &a, sizeof a), memcpy(bs, &b, sizeof b);                                \
    for (int i = 0; i < 2; i++) {                                                      \
      const vd x = __builtin_convertvector(as[i], vd), y = __builtin_convertvector(bs[i], vd); \
      (void)y;                                                                         \
      as[i] = __builtin_convertvector(call, vh);                                       \
    }                                                                                  \
    memcpy(&a, as, sizeof a);                                                          \
    return a;                                                                          \
  }
#endif
FG_WIDEN(fg_log, wide_logarithm(x))
FG_WIDEN(fg_pow, wide_pow(x, y))
FG_WIDEN(fg_atan2, wide_atan2(x, y)) /* of a over b */
FG_WIDEN(fg_sin, wide_sin(x, 0))
FG_WIDEN(fg_cos, wide_sin(x, 1))

/* fg_exp down to the smallest number and up to infinity: 2^n as two factors. */
FG_INLINE vr fg_whole_exp(vr x) {
#ifdef FG_DOUBLE
  return wide_exp(x, wide(0));
#else
  vr power, q;
  const vr within = at_least(at_most(x, 89), -104), number = pick(x == x, within, splat(0));
  fg_expm1_parts(1, &number, &power, &q);
  const vi one = (vi)splat(1), n = ((vi)power - one) >> FG_MANTISSA, half = n >> 1;
  const vr a = (vr)((half << FG_MANTISSA) + one), b = (vr)(((n - half) << FG_MANTISSA) + one);
  return (a * q + a) * b + (within - within); /* NaN stays */
#endif
}

/* x + x P(x^2) up to 1; then 1 + Q(|x| - 2.5), of absolute error 1e-8, up to 4. */
FG_INLINE vr fg_erf(vr x) {
#ifdef FG_DOUBLE
  return wide_erf(x);
#else
  static const float p[] = {
    0.1283791671f, -0.3761263847f, 0.112837825f, -0.02686543073f, 0.005221031808f, -0.0008484080406f,
    0.0001126595903f, -9.667044571e-06f};
  static const float q[] = {
    -0.0004069520174f, 0.002178180237f, -0.005445702404f, 0.008351824079f, -0.008622514286f, 0.006108916376f,
    -0.00279777894f, 0.0005606543764f, 0.000258999119f, -0.0002708359885f, 8.093341967e-05f, 1.783762571e-05f,
    -1.566748478e-05f, 4.879900533e-07f, 8.837966382e-07f};
  const vr a = magnitude(x), z = a * a, t = at_most(a, 4) - 2.5f;
  vr near = splat(p[7]), far = splat(q[14]);
  FG_UNROLL for (int i = 6; i >= 0; i--) near = near * z + p[i];
  FG_UNROLL for (int i = 13; i >= 0; i--) far = far * t + q[i];
  return with_sign_of(pick(a < 1, near * a + a, far + 1), x);
#endif
}

#endif
