/* Affine int8: rows of activations made into bytes 0..255 of a scale and a zero point, as ONNX's QuantizeLinear makes them.
 *
 * The scale and the zero point are those of the matrix where it has them, else of what the row holds, as of
 * DynamicQuantizeLinear. Less their zero point bytes lie in -255..255; the product takes them less `origin`, as bytes
 * that dot.h multiplies: without FG_UNSIGNED -128..127, of which two fit beside -128..127 in the int16 of vpmaddubsw
 * even so, since the weight of a negative one is flipped.
 */
#ifndef FASTGRU_AFFINE_H
#define FASTGRU_AFFINE_H

#include "operands.h"

typedef struct {
  float scale, zero;
  int32_t lift; /* from codes less their zero point to what is multiplied */
} affine_row;

#if FG_FLIPPED && FG_BYTES == 32
/* Four vectors of a row at once: all but the division is done on 32 bytes. */

typedef struct {
  fg_codes codes;
  __m256i lift;       /* int16 */
  vi odd;             /* lanes that met no number */
  __m256i below, sum; /* int64: magnitudes of negative codes, and codes with 128 added */
} affine_block;

/* Codes less their zero point. */
FG_INLINE __m256i centred_codes(affine_block *b, vr x) {
  b->odd |= x != x;
  return _mm256_cvtps_epi32((__m256)steps_of(x, &b->codes));
}

/* 32 codes (of -128..127) in the order 0-3, 8-11, 16-19, 24-27, 4-7, ...: magnitudes and flips of each four. */
FG_INLINE void store_affine_block(affine_block *b, const __m256i *centred, char *to) {
  const __m256i low = _mm256_add_epi16(_mm256_packs_epi32(centred[0], centred[1]), b->lift);
  const __m256i high = _mm256_add_epi16(_mm256_packs_epi32(centred[2], centred[3]), b->lift);
  const __m256i code = _mm256_packs_epi16(low, high), nothing = _mm256_setzero_si256();
  const __m256i flip = _mm256_cmpgt_epi8(nothing, code), size = _mm256_abs_epi8(code);
  b->below = _mm256_add_epi64(b->below, _mm256_sad_epu8(_mm256_and_si256(size, flip), nothing));
  b->sum = _mm256_add_epi64(b->sum, _mm256_sad_epu8(_mm256_xor_si256(code, _mm256_set1_epi8(-128)), nothing));
  const __m256i first = _mm256_unpacklo_epi32(size, flip), last = _mm256_unpackhi_epi32(size, flip);
  _mm256_storeu_si256((__m256i *)to, _mm256_permute4x64_epi64(first, 0xD8));
  _mm256_storeu_si256((__m256i *)(to + 32), _mm256_permute4x64_epi64(last, 0xD8));
}

FG_INLINE int32_t sum_of_pairs(__m256i v) {
  const __m128i half = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return _mm_cvtsi128_si32(half) + _mm_extract_epi32(half, 2);
}

static void prepare_bytes(narrow_job *job, fg_idx i, char *codes, const affine_row *row) {
  const float *a = job->a[i];
  const fg_idx K = job->w->inner, blocks = (K + 31) / 32;
  affine_block b = {.codes = codes_of(row->scale, -row->zero), .lift = _mm256_set1_epi16((int16_t)row->lift)};
  fg_idx k = 0;
  for (; k + 32 <= K; k += 32) {
    __m256i centred[4];
    FG_EACH(j, 4) centred[j] = centred_codes(&b, load(a + k + 8 * j));
    store_affine_block(&b, centred, codes + 2 * k);
  }
  if (k < K) {
    __m256i centred[4];
    FG_EACH(j, 4) {
      const fg_idx left = K - k - 8 * j > 0 ? K - k - 8 * j : 0;
      const vi kept = first_lanes(left);
      centred[j] = (__m256i)(((vi)centred_codes(&b, load_some(a + k + 8 * j, left)) & kept) | (~kept & -row->lift));
    }
    store_affine_block(&b, centred, codes + 2 * k);
  }
  job->start[i] = sum_of_pairs(b.below);
  job->total[i] = sum_of_pairs(b.sum) - (int32_t)(128 * 32 * blocks) - row->lift * (int32_t)K;
  if (!_mm256_testz_si256((__m256i)b.odd, (__m256i)b.odd)) job->scale[i] = (float)__builtin_nanf("");
}
#else
/* One vector of codes, of which `kept` has the lanes of the row; the magnitudes of the negative ones are added to
 * `below`, and the codes less their zero point to `total`. */
FG_INLINE vi store_affine(vr x, const fg_codes *codes, int32_t lift, vi kept, char *to, vi below, vi *total) {
  const vi centred = ((vi)(steps_of(x, codes) + 0x1.8p23f) - 0x4B400000) & kept, code = (centred + lift) & kept;
  *total += centred;
#if FG_FLIPPED
  const vi flip = code >> 31, size = (code ^ flip) - flip;
  store_fours(size, flip & 0xFF, 1, to);
  return below + (size & flip);
#else
  store_bytes(code, to);
  return below;
#endif
}

static void prepare_bytes(narrow_job *job, fg_idx i, char *codes, const affine_row *row) {
  const float *a = job->a[i];
  const fg_idx K = job->w->inner;
  const fg_codes steps = codes_of(row->scale, -row->zero);
  vi below = {0}, total = {0}, odd = {0};
  fg_idx k = 0;
  for (; k + FG_LANES <= K; k += FG_LANES) {
    const vr x = load(a + k);
    odd |= x != x;
    below = store_affine(x, &steps, row->lift, (vi){0} - 1, codes + k / 4 * FG_FOUR, below, &total);
  }
  if (k < K) {
    const vr x = load_some(a + k, K - k);
    odd |= x != x;
    below = store_affine(x, &steps, row->lift, first_lanes(K - k), codes + k / 4 * FG_FOUR, below, &total);
  }
  int32_t strange = 0;
  for (int j = 0; j < FG_LANES; j++) job->start[i] += below[j], job->total[i] += total[j], strange |= odd[j];
  if (strange) job->scale[i] = (float)__builtin_nanf("");
}
#endif

/* The scale and the zero point of a row by its least number or 0, and its largest or 0; false where none is
 * finite. */
static int measured(const float *a, fg_idx K, affine_row *row) {
  enum { INFINITE = 0x7F800000, FEWEST = 0x0D800000 /* 2^-100 */ };
  vi top = {0}, bottom = {0};
  for (fg_idx k = 0; k < K; k += FG_LANES) { /* as whole numbers: a negative float is a negative one */
    const vi x = (vi)load_some(a + k, K - k);
    top = larger(top, x), bottom = larger(bottom, x ^ INT32_MIN);
  }
  const int32_t bits[2] = {largest_lane(top), largest_lane(bottom)}, fewest = FEWEST;
  if (bits[0] >= INFINITE || bits[1] >= INFINITE) return 0;
  float ends[2], least;
  memcpy(ends, bits, sizeof ends), memcpy(&least, &fewest, sizeof least);
  const float range = ends[0] + ends[1];
  if (range > 0x1.fffffep127f) return 0;
  row->scale = range > least ? range / 255 : 1;
  const float zero = ends[1] / row->scale;
  row->zero = ((zero < 255 ? zero : 255) + 0x1.8p23f) - 0x1.8p23f;
  return 1;
}

static void prepare_affine(narrow_job *job, fg_idx i, char *codes) {
  const fg_matrix *w = job->w;
  affine_row row = {w->input_scale, w->input_zero, 0};
  job->start[i] = job->total[i] = job->origin[i] = 0;
  job->scale[i] = (float)__builtin_nanf("");
  if (!w->input_scale && !measured(job->a[i], w->inner, &row)) return;
  job->origin[i] = row.lift = (int32_t)row.zero - (FG_UNSIGNED ? 0 : 128);
  job->scale[i] = row.scale;
  prepare_bytes(job, i, codes, &row);
}

#endif
