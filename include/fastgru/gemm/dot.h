/* Four-byte and two-halfword dot products, and the operands they take: one definition a format, the best instruction
 * of the compiler's target under it.
 *
 * int8: sums are exact int32, so every instruction set gives the same bits. Codes of weights and activations lie in
 * -127..127; x86's vpdpbusd takes an unsigned first operand, so there activations are stored with 128 added, and the
 * sum starts at the matrix' `offset` of -128 times its row sums. So does vpmaddubsw, which cannot take those: two of them
 * leave int16. It takes |a| and, where a < 0, the weight with all bits flipped, -w - 1: the sum is then less by |a|
 * than it should be, whatever the weight, and starts at all of these together. (Zen 3: vpsignb in place of the exclusive
 * or waits for the multipliers' ports, 1.6 cycles a vector instead of 1.4; and no product makes magnitudes of its own.)
 *
 * bfloat16: both products of a pair are exact in float32; the odd one is added first, then the even one, each sum
 * rounded: what vdpbf16ps does. It also takes sums below 1.2e-38 for zero, which plain multiply-adds do not:
 * the bits agree for all others.
 */
#ifndef FASTGRU_DOT_H
#define FASTGRU_DOT_H

#include "fastgru/math/vec.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#define FG_UNSIGNED 0x80 /* activations are stored with the sign bit flipped */
#else
#define FG_UNSIGNED 0
#endif
#if !FG_UNSIGNED && ((defined(__AVX512BW__) && FG_BYTES == 64) || (defined(__AVX2__) && FG_BYTES == 32))
#define FG_FLIPPED 1 /* of four activations the magnitudes, then a byte of ones for each negative one */
#else
#define FG_FLIPPED 0
#endif
enum { FG_FOUR = FG_FLIPPED ? 8 : 4 }; /* bytes of four activations */
/* Whether two steps of four are added as int16, before vpmaddwd makes int32 of both: where magnitudes of weights, or of
 * flipped ones, sum up to 255 at most, beside activations of 128. AVX2 has two multipliers, which are what the product
 * waits for: three instructions of theirs in place of four (Zen 3: 98 instead of 90 GMAC/s). */
#define FG_PAIRED (FG_FLIPPED && FG_BYTES == 32)

typedef int32_t v8i __attribute__((vector_size(32), may_alias)); /* of the sparse products: strips of eight units */
typedef float v8 __attribute__((vector_size(32), may_alias));
typedef float v8_any __attribute__((vector_size(32), may_alias, aligned(4)));

FG_INLINE int32_t four_bytes(const char *p) {
  int32_t four;
  memcpy(&four, p, sizeof four);
  return four;
}

FG_INLINE int32_t dot4(int32_t a, int32_t w) { /* signed bytes */
  int32_t sum = 0;
  for (int i = 0; i < 4; i++) sum += (int8_t)(a >> 8 * i) * (int8_t)(w >> 8 * i);
  return sum;
}

/* sum[i] += the four activations at a by the four bytes of w[i], less what FG_FLIPPED says */
#if defined(__AVX512VNNI__) && FG_BYTES == 64
FG_INLINE vi dot_bytes(vi sum, const char *a, vi w) {
  return (vi)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(four_bytes(a)), (__m512i)w);
}
#elif defined(__AVX512BW__) && FG_BYTES == 64
FG_INLINE vi dot_bytes(vi sum, const char *a, vi w) {
  const __m512i size = _mm512_set1_epi32(four_bytes(a)), flip = _mm512_set1_epi32(four_bytes(a + 4));
  const __m512i pairs = _mm512_maddubs_epi16(size, _mm512_xor_si512((__m512i)w, flip));
  return sum + (vi)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
}
#elif defined(__AVXVNNI__) && FG_BYTES == 32
FG_INLINE vi dot_bytes(vi sum, const char *a, vi w) {
  return (vi)_mm256_dpbusd_avx_epi32((__m256i)sum, _mm256_set1_epi32(four_bytes(a)), (__m256i)w);
}
#elif defined(__AVX2__)
FG_INLINE vi dot_bytes(vi sum, const char *a, vi w) {
  const __m256i size = _mm256_set1_epi32(four_bytes(a)), flip = _mm256_set1_epi32(four_bytes(a + 4));
  const __m256i pairs = _mm256_maddubs_epi16(size, _mm256_xor_si256((__m256i)w, flip));
  return sum + (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); /* no pair leaves int16: 2 * 127 * 128 */
}
#elif defined(__ARM_FEATURE_DOTPROD)
FG_INLINE vi dot_bytes(vi sum, const char *a, vi w) {
  return (vi)vdotq_s32((int32x4_t)sum, (int8x16_t)w, (int8x16_t)vdupq_n_s32(four_bytes(a)));
}
#elif defined(__aarch64__)
FG_INLINE vi dot_bytes(vi sum, const char *a, vi w) {
  const int8x16_t x = (int8x16_t)vdupq_n_s32(four_bytes(a)), v = (int8x16_t)w;
  const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(v)), high = vmull_high_s8(x, v);
  return sum + (vi)vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
}
#elif defined(__x86_64__) && FG_BYTES == 16
FG_INLINE vi dot_bytes(vi sum, const char *a, vi w) { /* odd bytes of each lane, then even ones, as int16 */
  const __m128i x = _mm_set1_epi32(four_bytes(a)), v = (__m128i)w;
  const __m128i odd = _mm_madd_epi16(_mm_srai_epi16(x, 8), _mm_srai_epi16(v, 8));
  const __m128i even = _mm_madd_epi16(_mm_srai_epi16(_mm_slli_epi16(x, 8), 8), _mm_srai_epi16(_mm_slli_epi16(v, 8), 8));
  return sum + (vi)_mm_add_epi32(odd, even);
}
#else
FG_INLINE vi dot_bytes(vi sum, const char *a, vi w) {
  for (int i = 0; i < FG_LANES; i++) sum[i] += dot4(four_bytes(a), w[i]);
  return sum;
}
#endif

#if FG_PAIRED
/* The four at a by w and the next four by next. */
FG_INLINE vi dot_pairs(vi sum, const char *a, vi w, vi next) {
  const __m256i size = _mm256_set1_epi32(four_bytes(a)), flip = _mm256_set1_epi32(four_bytes(a + 4));
  const __m256i next_size = _mm256_set1_epi32(four_bytes(a + 8)), next_flip = _mm256_set1_epi32(four_bytes(a + 12));
  const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(size, _mm256_xor_si256((__m256i)w, flip)),
                                         _mm256_maddubs_epi16(next_size, _mm256_xor_si256((__m256i)next, next_flip)));
  return sum + (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
#endif

/* The same for eight lanes, and whole: sums of blocks of which some are left out have no common start. */
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
FG_INLINE v8i dot_bytes_8(v8i sum, const char *a, v8i w) {
  return (v8i)_mm256_dpbusd_epi32((__m256i)sum, _mm256_set1_epi32(four_bytes(a)), (__m256i)w);
}
#elif defined(__AVXVNNI__) && FG_BYTES == 32
FG_INLINE v8i dot_bytes_8(v8i sum, const char *a, v8i w) { return (v8i)dot_bytes((vi)sum, a, (vi)w); }
#elif defined(__AVX2__)
FG_INLINE v8i dot_bytes_8(v8i sum, const char *a, v8i w) {
  const __m256i size = _mm256_set1_epi32(four_bytes(a)), flip = _mm256_set1_epi32(four_bytes(a + 4));
  const __m256i signed_w = _mm256_sub_epi8(_mm256_xor_si256((__m256i)w, flip), flip);
  return sum + (v8i)_mm256_madd_epi16(_mm256_maddubs_epi16(size, signed_w), _mm256_set1_epi16(1));
}
#else
FG_INLINE v8i dot_bytes_8(v8i sum, const char *a, v8i w) {
  vi half[2];
  memcpy(half, &w, sizeof half);
  vi sums[2];
  memcpy(sums, &sum, sizeof sums);
  for (int i = 0; i < 2; i++) sums[i] = dot_bytes(sums[i], a, half[i]);
  memcpy(&sum, sums, sizeof sums);
  return sum;
}
#endif

/* Pairs of bfloat16, the even one in the low half of each lane. An operand pair is what `pair_at` reads: two
 * bfloat16 where the CPU multiplies them itself, else two floats that hold them; `store_halves` writes the upper halves
 * of a vector so. */
#if defined(__AVX512BF16__) && FG_BYTES == 64
typedef uint16_t half_operand;
FG_INLINE vr dot_halves(vr sum, const half_operand *pair, vi w) {
  int32_t a;
  memcpy(&a, pair, sizeof a);
  return (vr)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(a), (__m512bh)(__m512i)w);
}
FG_INLINE void store_halves(vi bits, half_operand *to) {
  typedef uint16_t halves __attribute__((vector_size(FG_BYTES / 2)));
  const halves upper = __builtin_convertvector(bits >> 16, halves);
  memcpy(to, &upper, sizeof upper);
}
#else
typedef float half_operand;
FG_INLINE vr dot_halves(vr sum, const half_operand *pair, vi w) {
  const vi odd = w & (int32_t)0xFFFF0000, even = (vi)((vi)w << 16);
  sum = sum + (vr)odd * pair[1];
  return sum + (vr)even * pair[0];
}
FG_INLINE void store_halves(vi bits, half_operand *to) { store(to, (vr)(bits & (int32_t)0xFFFF0000)); }
#endif

#endif
