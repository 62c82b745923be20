/* The vector type: GNU C vectors, as wide as the compiler's target has registers.
 *
 * FG_DOUBLE selects the element type of the object being compiled. In C, GNU vectors have no `?:`, so
 * selection is by mask; comparisons give lanes of all ones or all zeros.
 */
#ifndef FASTGRU_VEC_H
#define FASTGRU_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define FG_INLINE static inline __attribute__((always_inline))
#define FG_UNROLL _Pragma("GCC unroll 16")
#define FG_EACH(i, n) FG_UNROLL for (int i = 0; i < (n); i++)

/* Bytes of a vector, and how many registers there are for them. Both may be given to the compiler: tests/aarch64.sh runs
 * the tiles of AVX-512 so on machines that lack it. */
#ifndef FG_BYTES
#if defined(__AVX512F__)
#define FG_BYTES 64
#elif defined(__AVX2__)
#define FG_BYTES 32
#else
#define FG_BYTES 16 /* SSE2, NEON; elsewhere the compiler splits it into scalars */
#endif
#endif
#ifndef FG_REGISTERS
#if defined(__AVX512F__) || defined(__aarch64__)
#define FG_REGISTERS 32
#else
#define FG_REGISTERS 16
#endif
#endif

#ifdef FG_DOUBLE
typedef double real;
typedef int64_t whole;
#else
typedef float real;
typedef int32_t whole;
#endif
#define FG_LANES ((int)(FG_BYTES / sizeof(real)))

typedef real vr __attribute__((vector_size(FG_BYTES), may_alias));
typedef whole vi __attribute__((vector_size(FG_BYTES), may_alias));
typedef real vr_any __attribute__((vector_size(FG_BYTES), may_alias, aligned(sizeof(real))));

FG_INLINE vr load(const real *p) { return *(const vr_any *)p; }
FG_INLINE void store(real *p, vr v) { *(vr_any *)p = v; }
FG_INLINE vr splat(real x) { return x - (vr){0}; }

/* All ones in the first n lanes, zeros in the others. */
FG_INLINE vi first_lanes(ptrdiff_t n) {
  static const whole numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  vi lane;
  memcpy(&lane, numbers, sizeof lane);
  return lane < (whole)(n < FG_LANES ? n : FG_LANES) - (vi){0};
}

/* The first n lanes; the others read as zero, and are not written. By masks where there are any: what is copied number
 * by number and then read as a vector waits for the copy, 20 ns a row of 20 (Zen 4). Sanitizers do not see what is read
 * and written so. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FG_MASKED 0
#else
#define FG_MASKED 1
#endif
#if defined(__AVX512F__) && FG_BYTES == 64 && FG_MASKED
#define FG_MASK(n) ((n) >= FG_LANES ? -1 : (n) < 0 ? 0 : (1 << (n)) - 1)
#ifdef FG_DOUBLE
FG_INLINE vr load_some(const real *p, ptrdiff_t n) { return (vr)_mm512_maskz_loadu_pd((__mmask8)FG_MASK(n), p); }
FG_INLINE void store_some(real *p, vr v, ptrdiff_t n) { _mm512_mask_storeu_pd(p, (__mmask8)FG_MASK(n), (__m512d)v); }
#else
FG_INLINE vr load_some(const real *p, ptrdiff_t n) { return (vr)_mm512_maskz_loadu_ps((__mmask16)FG_MASK(n), p); }
FG_INLINE void store_some(real *p, vr v, ptrdiff_t n) { _mm512_mask_storeu_ps(p, (__mmask16)FG_MASK(n), (__m512)v); }
#endif
#elif defined(__AVX2__) && FG_BYTES == 32 && FG_MASKED
/* Stores in halves: by a mask one takes 40 instructions of Zen's own. */
#ifdef FG_DOUBLE
FG_INLINE vr load_some(const real *p, ptrdiff_t n) { return (vr)_mm256_maskload_pd(p, (__m256i)first_lanes(n)); }
FG_INLINE void store_some(real *p, vr v, ptrdiff_t n) {
  __m128d half = _mm256_castpd256_pd128((__m256d)v);
  if (n >= FG_LANES) {
    store(p, v);
    return;
  }
  if (n >= 2) {
    _mm_storeu_pd(p, half);
    half = _mm256_extractf128_pd((__m256d)v, 1);
  }
  if (n == 1 || n == 3) _mm_store_sd(p + n - 1, half);
}
#else
FG_INLINE vr load_some(const real *p, ptrdiff_t n) { return (vr)_mm256_maskload_ps(p, (__m256i)first_lanes(n)); }
FG_INLINE void store_some(real *p, vr v, ptrdiff_t n) {
  __m128 half = _mm256_castps256_ps128((__m256)v);
  if (n >= FG_LANES) {
    store(p, v);
    return;
  }
  if (n <= 0) return;
  if (n & 4) {
    _mm_storeu_ps(p, half);
    half = _mm256_extractf128_ps((__m256)v, 1), p += 4;
  }
  if (n & 2) {
    _mm_storel_pi((__m64 *)p, half);
    half = _mm_movehl_ps(half, half), p += 2;
  }
  if (n & 1) _mm_store_ss(p, half);
}
#endif
#else
FG_INLINE vr load_some(const real *p, ptrdiff_t n) {
  vr v = {0};
  if (n >= FG_LANES) return load(p);
  for (ptrdiff_t i = 0; i < n; i++) v[i] = p[i];
  return v;
}
FG_INLINE void store_some(real *p, vr v, ptrdiff_t n) {
  if (n >= FG_LANES)
    store(p, v);
  else
    for (ptrdiff_t i = 0; i < n; i++) p[i] = v[i];
}
#endif

FG_INLINE vr pick(vi mask, vr yes, vr no) { return (vr)((mask & (vi)yes) | (~mask & (vi)no)); }
/* NaN stays, and so does the sign of zero: what x86's max and min do with x as their second operand. */
#if defined(__AVX512F__) && !defined(FG_DOUBLE)
FG_INLINE vr at_least(vr x, real low) { return (vr)_mm512_max_ps((__m512)splat(low), (__m512)x); }
FG_INLINE vr at_most(vr x, real high) { return (vr)_mm512_min_ps((__m512)splat(high), (__m512)x); }
#elif defined(__AVX2__) && FG_BYTES == 32 && !defined(FG_DOUBLE)
FG_INLINE vr at_least(vr x, real low) { return (vr)_mm256_max_ps((__m256)splat(low), (__m256)x); }
FG_INLINE vr at_most(vr x, real high) { return (vr)_mm256_min_ps((__m256)splat(high), (__m256)x); }
#else
FG_INLINE vr at_least(vr x, real low) { return pick(x < low, splat(low), x); }
FG_INLINE vr at_most(vr x, real high) { return pick(x > high, splat(high), x); }
#endif
FG_INLINE vr magnitude(vr x) { return (vr)((vi)x & ~(vi)splat((real)-0.0)); }

/* A rounded product: in a * b + c * d the compiler may fuse either one, and would choose differently in
 * two copies of the same code. */
FG_INLINE vr settled(vr v) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(v));
#elif defined(__x86_64__) && FG_BYTES <= 32
  __asm__("" : "+x"(v));
#elif defined(__aarch64__)
  __asm__("" : "+w"(v));
#else
  __asm__("" : "+m"(v));
#endif
  return v;
}

/* The larger of each lane's whole numbers, and the largest of all lanes. */
#ifndef FG_DOUBLE
#if defined(__AVX512F__)
FG_INLINE vi larger(vi a, vi b) { return (vi)_mm512_max_epi32((__m512i)a, (__m512i)b); }
FG_INLINE int32_t largest_lane(vi v) { return _mm512_reduce_max_epi32((__m512i)v); }
#else
#if defined(__AVX2__) && FG_BYTES == 32
FG_INLINE vi larger(vi a, vi b) { return (vi)_mm256_max_epi32((__m256i)a, (__m256i)b); }
#else
FG_INLINE vi larger(vi a, vi b) { return ((a > b) & a) | (~(a > b) & b); }
#endif
FG_INLINE int32_t largest_lane(vi v) {
  int32_t top[FG_LANES];
  memcpy(top, &v, sizeof top);
  for (int half = FG_LANES / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) top[i] = top[i] > top[i + half] ? top[i] : top[i + half];
  return top[0];
}
#endif
#endif

FG_INLINE vr with_sign_of(vr x, vr sign) {
  const vi bit = (vi)splat((real)-0.0);
  return (vr)(((vi)x & ~bit) | ((vi)sign & bit));
}

#endif
