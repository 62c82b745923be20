/* The byte instructions of AVX-512 that include/fastgru uses, out of AVX2's: what narrow.c computes with 64-byte vectors,
 * with VNNI (-DWIDE_VNNI) and without, on a machine that has neither. Included before everything else by
 * tests/aarch64.sh. */
#ifndef FASTGRU_WIDE_NARROW_H
#define FASTGRU_WIDE_NARROW_H

#include <immintrin.h>
#include <stdint.h>

#define FG_BYTES 64
#define FG_REGISTERS 32
#define __AVX512BW__ 1
#ifdef WIDE_VNNI
#define __AVX512VNNI__ 1
#define __AVX512VL__ 1
#endif

typedef union {
  __m512i all;
  __m256i half[2];
  __m128i quarter[4];
  int32_t lane[16];
  int64_t pair[8];
} wide;

#define WIDE_OF_TWO(name, half_name)                             \
  static inline __m512i name(__m512i a, __m512i b) {             \
    const wide x = {.all = a}, y = {.all = b};                   \
    wide z;                                                      \
    for (int i = 0; i < 2; i++) z.half[i] = half_name(x.half[i], y.half[i]); \
    return z.all;                                                \
  }
WIDE_OF_TWO(wide_maddubs, _mm256_maddubs_epi16)
WIDE_OF_TWO(wide_madd, _mm256_madd_epi16)
WIDE_OF_TWO(wide_xor, _mm256_xor_si256)
WIDE_OF_TWO(wide_packs_epi32, _mm256_packs_epi32)
WIDE_OF_TWO(wide_packs_epi16, _mm256_packs_epi16)
WIDE_OF_TWO(wide_packus_epi16, _mm256_packus_epi16)

static inline __m512i wide_set1(int32_t a) {
  wide z;
  for (int i = 0; i < 16; i++) z.lane[i] = a;
  return z.all;
}

static inline __m512i wide_setr(long long a, long long b, long long c, long long d, long long e, long long f, long long g,
                                long long h) {
  const wide z = {.pair = {a, b, c, d, e, f, g, h}};
  return z.all;
}

static inline __m512i wide_permute(__m512i order, __m512i a) {
  const wide x = {.all = a}, at = {.all = order};
  wide z;
  for (int i = 0; i < 8; i++) z.pair[i] = x.pair[at.pair[i] & 7];
  return z.all;
}

static inline __m256i wide_low(__m512i a) {
  const wide x = {.all = a};
  return x.half[0];
}

static inline int32_t wide_dot4(int32_t sum, int32_t a, int32_t w) { /* unsigned by signed bytes */
  for (int i = 0; i < 4; i++) sum += (uint8_t)(a >> 8 * i) * (int8_t)(w >> 8 * i);
  return sum;
}

static inline __m512i wide_dpbusd(__m512i sum, __m512i a, __m512i w) {
  const wide x = {.all = a}, y = {.all = w};
  wide z = {.all = sum};
  for (int i = 0; i < 16; i++) z.lane[i] = wide_dot4(z.lane[i], x.lane[i], y.lane[i]);
  return z.all;
}

static inline __m256i wide_dpbusd_8(__m256i sum, __m256i a, __m256i w) {
  wide x = {.half = {a, a}}, y = {.half = {w, w}}, z = {.half = {sum, sum}};
  for (int i = 0; i < 8; i++) z.lane[i] = wide_dot4(z.lane[i], x.lane[i], y.lane[i]);
  return z.half[0];
}

#define _mm512_maddubs_epi16 wide_maddubs
#define _mm512_madd_epi16 wide_madd
#define _mm512_xor_si512 wide_xor
#define _mm512_packs_epi32 wide_packs_epi32
#define _mm512_packs_epi16 wide_packs_epi16
#define _mm512_packus_epi16 wide_packus_epi16
#define _mm512_set1_epi32 wide_set1
#define _mm512_set1_epi16(a) wide_set1((a) * 0x10001)
#undef _mm512_setr_epi64
#define _mm512_setr_epi64 wide_setr
#define _mm512_permutexvar_epi64 wide_permute
#define _mm512_castsi512_si256 wide_low
#define _mm512_dpbusd_epi32 wide_dpbusd
#undef _mm256_dpbusd_epi32
#define _mm256_dpbusd_epi32 wide_dpbusd_8

#endif
