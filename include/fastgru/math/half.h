/* float16 to float, exactly, in registers. */
#ifndef FASTGRU_HALF_H
#define FASTGRU_HALF_H

#include "vec.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef FG_DOUBLE
#if defined(__AVX512F__) && FG_BYTES == 64
FG_INLINE vr load_float16(const uint16_t *p) { return (vr)_mm512_cvtph_ps(_mm256_load_si256((const __m256i *)p)); }
#elif defined(__F16C__) && FG_BYTES == 32
FG_INLINE vr load_float16(const uint16_t *p) { return (vr)_mm256_cvtph_ps(_mm_load_si128((const __m128i *)p)); }
#elif defined(__aarch64__)
FG_INLINE vr load_float16(const uint16_t *p) {
  return (vr)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
#else
/* Exponent and mantissa in their places, then scaled by 2^112: subnormal halves come out right; an exponent of all
 * ones (infinity, NaN) does not occur, weights being finite. */
FG_INLINE vr load_float16(const uint16_t *p) {
  typedef uint16_t halves __attribute__((vector_size(FG_BYTES / 2), may_alias, aligned(2)));
  const vi bits = __builtin_convertvector(*(const halves *)p, vi);
  const vr value = (vr)((bits & 0x7FFF) << 13) * 0x1p112f;
  return (vr)((vi)value | ((bits & 0x8000) << 16));
}
#endif
#endif

#endif
