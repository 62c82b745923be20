/* What products of fewer bytes share: their job, and rows of activations made into what dot.h multiplies. */
#ifndef FASTGRU_OPERANDS_H
#define FASTGRU_OPERANDS_H

#include "dot.h"
#include "tile.h"
#include "fastgru/math/vmath.h"

enum { FG_NARROW_GROUP = 16, FG_INT8_MAX = 127 }; /* rows whose operands are prepared together: a multiple of 8 */

typedef struct {
  const fg_matrix *w;
  const float *bias;
  fg_act act;
  fg_codes codes; /* of fake_quantize */
  fg_idx columns;
  int backward;
  fg_idx stride;                       /* bytes between prepared rows */
  char *prepared;                      /* (rows, stride) */
  const float *a[FG_NARROW_GROUP];     /* rows as given */
  float *c[FG_NARROW_GROUP];
  float scale[FG_NARROW_GROUP];        /* int8: of each row's codes */
  int32_t start[FG_NARROW_GROUP];      /* int8: of each row's sums; see FG_FLIPPED of dot.h */
  int32_t origin[FG_NARROW_GROUP];     /* affine int8: the byte that stands for 0 in each row */
  int32_t total[FG_NARROW_GROUP];      /* affine int8: of each row's codes less their zero point */
} narrow_job;

/* The bits of the largest |x|, as a whole number: that of infinity, or more, where the row is not finite. */
static int32_t largest_bits(const float *a, fg_idx K) {
  vi largest = {0};
  fg_idx k = 0;
  for (; k + FG_LANES <= K; k += FG_LANES) largest = larger(largest, (vi)magnitude(load(a + k)));
  if (k < K) largest = larger(largest, (vi)magnitude(load_some(a + k, K - k)));
  return largest_lane(largest);
}

/* The low byte of each lane. GCC makes a dozen instructions of the conversion on AVX2. */
FG_INLINE void store_bytes(vi v, char *to) {
#if defined(__AVX2__) && FG_BYTES == 32
  const __m256i low = _mm256_shuffle_epi8((__m256i)v, _mm256_set1_epi32(0x0C080400));
  _mm_storel_epi64((__m128i *)to, _mm_unpacklo_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
#else
  typedef int8_t bytes __attribute__((vector_size(FG_BYTES / 4)));
  const bytes b = __builtin_convertvector(v, bytes);
  memcpy(to, &b, sizeof b);
#endif
}

#if FG_FLIPPED
/* Of each four lanes the low bytes of size, then those of flip: of -128..127, or where `positive` of 0..255. */
FG_INLINE void store_fours(vi size, vi flip, int positive, char *to) {
#if FG_BYTES == 64
  const __m512i halves = _mm512_packs_epi32((__m512i)size, (__m512i)flip), even = _mm512_setr_epi64(0, 2, 4, 6, 0, 2, 4, 6);
  const __m512i packed = positive ? _mm512_packus_epi16(halves, halves) : _mm512_packs_epi16(halves, halves);
  _mm256_storeu_si256((__m256i *)to, _mm512_castsi512_si256(_mm512_permutexvar_epi64(even, packed)));
#else
  const __m256i halves = _mm256_packs_epi32((__m256i)size, (__m256i)flip);
  const __m256i packed = positive ? _mm256_packus_epi16(halves, halves) : _mm256_packs_epi16(halves, halves);
  _mm_storeu_si128((__m128i *)to, _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
#endif
}
#endif

/* One vector of codes, and the magnitudes of the negative ones added to `below`. The code is the low byte of the sum;
 * FG_UNSIGNED in it flips the code's sign bit. */
FG_INLINE vi store_codes(vr x, float inverse, char *codes, vi below) {
  const vi code = (vi)(settled(x * inverse) + (0x1.8p23f + FG_UNSIGNED));
#if FG_FLIPPED
  const vi flip = (code << 24) >> 31, size = ((code ^ flip) - flip) & 0xFF;
  store_fours(size, flip, 0, codes);
  return below + (size & flip);
#else
  store_bytes(code, codes);
  return below;
#endif
}

/* Codes of a row, zero-padded to whole fours, and where its sums start; returns their scale, NaN when the row is not
 * finite. */
static float prepare_int8(const float *a, fg_idx K, char *codes, int32_t *start) {
  enum { INFINITE = 0x7F800000 };
  vi below = {0};
  *start = 0;
  const int32_t bits = largest_bits(a, K);
  float top = 1;
  if (bits >= INFINITE) return (float)__builtin_nanf("");
  if (bits) memcpy(&top, &bits, sizeof top);
  const float inverse = FG_INT8_MAX / top;
  fg_idx k = 0;
  for (; k + FG_LANES <= K; k += FG_LANES) below = store_codes(load(a + k), inverse, codes + k / 4 * FG_FOUR, below);
  if (k < K) below = store_codes(load_some(a + k, K - k), inverse, codes + k / 4 * FG_FOUR, below);
  for (int i = 0; FG_FLIPPED && i < FG_LANES; i++) *start += below[i];
  return top / FG_INT8_MAX;
}

/* A row rounded to bfloat16, to nearest even; subnormal numbers become zero, the padding is zero. */
static void prepare_bfloat16(const float *a, fg_idx K, half_operand *halves) {
  for (fg_idx k = 0; k < K; k += FG_LANES) {
    const vr x = load_some(a + k, K - k);
    vi bits = (vi)x;
    bits = bits + 0x7FFF + ((bits >> 16) & 1);
    bits = bits & ~(magnitude(x) < 0x1p-126f);
    bits = (bits & (x == x)) | (0x7FC00000 & ~(x == x));
    store_halves(bits, halves + k);
  }
}

#endif
