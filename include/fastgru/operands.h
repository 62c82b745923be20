/* What products of fewer bytes share: their job, and rows of activations made into what dot.h multiplies. */
#ifndef FASTGRU_OPERANDS_H
#define FASTGRU_OPERANDS_H

#include "dot.h"
#include "tile.h"

enum { FG_NARROW_GROUP = 16, FG_INT8_MAX = 127 }; /* rows whose operands are prepared together: a multiple of 8 */

typedef struct {
  const fg_matrix *w;
  const float *bias;
  fg_idx columns;
  int backward;
  fg_idx stride;                       /* bytes between prepared rows */
  char *prepared;                      /* (rows, stride) */
  const float *a[FG_NARROW_GROUP];     /* rows as given */
  float *c[FG_NARROW_GROUP];
  float scale[FG_NARROW_GROUP];        /* int8: of each row's codes */
} narrow_job;

/* The bits of the largest |x|, as a whole number: that of infinity, or more, where the row is not finite. */
static int32_t largest_bits(const float *a, fg_idx K) {
  vi largest = {0};
  fg_idx k = 0;
  for (; k + FG_LANES <= K; k += FG_LANES) largest = larger(largest, (vi)magnitude(load(a + k)));
  if (k < K) largest = larger(largest, (vi)magnitude(load_some(a + k, K - k)));
  return largest_lane(largest);
}

/* One vector of codes. The code is the low byte of the sum; FG_UNSIGNED in it flips the code's sign bit. */
FG_INLINE void store_codes(vr x, float inverse, int8_t *codes) {
  typedef int8_t bytes __attribute__((vector_size(FG_BYTES / 4)));
  const vr rounded = settled(x * inverse) + (0x1.8p23f + FG_UNSIGNED);
  const bytes b = __builtin_convertvector((vi)rounded, bytes);
  memcpy(codes, &b, sizeof b);
}

/* Codes of a row, zero-padded to whole fours; returns their scale, NaN when the row is not finite. */
static float prepare_int8(const float *a, fg_idx K, int8_t *codes) {
  enum { INFINITE = 0x7F800000 };
  const int32_t bits = largest_bits(a, K);
  float top = 1;
  if (bits >= INFINITE) return (float)__builtin_nanf("");
  if (bits) memcpy(&top, &bits, sizeof top);
  const float inverse = FG_INT8_MAX / top;
  fg_idx k = 0;
  for (; k + FG_LANES <= K; k += FG_LANES) store_codes(load(a + k), inverse, codes + k);
  if (k < K) store_codes(load_some(a + k, K - k), inverse, codes + k);
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
    for (int i = 0; i < FG_LANES; i++) halves[k + i] = as_half((uint32_t)bits[i]);
  }
}

#endif
