/* Products over weights of fewer bytes, and over pruned ones: the same tiles as product.h, one loop a format.
 *
 * float16: converted in registers, sums as for float32 weights. bfloat16 and int8: see dot.h. Block-sparse: strips
 * of eight units, of which only the 8 x 4 blocks that are not all zero are kept; their sums have the bits of the
 * dense product, since what is left out would have added zero (for finite inputs).
 */
#ifndef FASTGRU_NARROW_H
#define FASTGRU_NARROW_H

#include "dot.h"
#include "tile.h"
#include "vmath.h"

enum { FG_NARROW_GROUP = 16, FG_INT8_MAX = 127 }; /* rows whose operands are prepared together: a multiple of 8 */

typedef struct {
  const fg_matrix *w;
  const float *bias;
  fg_idx columns;
  fg_idx stride;                       /* bytes between prepared rows */
  char *prepared;                      /* (rows, stride) */
  const float *a[FG_NARROW_GROUP];     /* rows as given */
  float *c[FG_NARROW_GROUP];
  float scale[FG_NARROW_GROUP];        /* int8: of each row's codes */
} narrow_job;

/* Preparing rows ------------------------------------------------------------------------------------------------- */

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

/* Dense tiles: acc[(r * P + p) * G + g] as in tile.h, chains in registers and the rest in memory --------------------------------------------------------------- */

FG_INLINE void tile_float16(int R, int P, int G, vr *acc, const float *const *a, const uint16_t *w, fg_idx K) {
  const fg_idx panel = K * G * FG_LANES;
  for (fg_idx from = 0; from < K; from += FG_CHAIN) {
    const fg_idx to = from + FG_CHAIN < K ? from + FG_CHAIN : K;
    vr part[32];
    FG_UNROLL for (int i = 0; i < R * P * G; i++) part[i] = splat(0);
    for (fg_idx k = from; k < to; k++) {
      vr v[32];
      FG_UNROLL for (int p = 0; p < P; p++)
        FG_UNROLL for (int g = 0; g < G; g++) v[p * G + g] = load_float16(w + p * panel + (k * G + g) * FG_LANES);
      FG_UNROLL for (int r = 0; r < R; r++) {
        const vr x = splat(a[r][k]);
        FG_UNROLL for (int i = 0; i < P * G; i++) part[r * P * G + i] += x * v[i];
      }
    }
    FG_UNROLL for (int i = 0; i < R * P * G; i++) acc[i] += part[i];
  }
}

FG_INLINE void tile_bfloat16(int R, int P, int G, vr *acc, const char *a, fg_idx stride, const vi *w, fg_idx pairs) {
  vr part[32];
  FG_UNROLL for (int i = 0; i < R * P * G; i++) part[i] = acc[i];
  for (fg_idx k = 0; k < pairs; k++) {
    vi v[32];
    FG_UNROLL for (int p = 0; p < P; p++)
      FG_UNROLL for (int g = 0; g < G; g++) v[p * G + g] = w[(p * pairs + k) * G + g];
    FG_UNROLL for (int r = 0; r < R; r++) {
      const half_operand *x = (const half_operand *)(a + r * stride) + 2 * k;
      FG_UNROLL for (int i = 0; i < P * G; i++) part[r * P * G + i] = dot_halves(part[r * P * G + i], x, v[i]);
    }
  }
  FG_UNROLL for (int i = 0; i < R * P * G; i++) acc[i] = part[i];
}

FG_INLINE void tile_int8(int R, int P, int G, vi *acc, const char *a, fg_idx stride, const vi *w, fg_idx fours) {
  vi part[32];
  FG_UNROLL for (int i = 0; i < R * P * G; i++) part[i] = acc[i];
  for (fg_idx k = 0; k < fours; k++) {
    vi v[32];
    FG_UNROLL for (int p = 0; p < P; p++)
      FG_UNROLL for (int g = 0; g < G; g++) v[p * G + g] = w[(p * fours + k) * G + g];
    FG_UNROLL for (int r = 0; r < R; r++) {
      const int32_t x = ((const int32_t *)(a + r * stride))[k];
      FG_UNROLL for (int i = 0; i < P * G; i++) part[r * P * G + i] = dot_bytes(part[r * P * G + i], x, v[i]);
    }
  }
  FG_UNROLL for (int i = 0; i < R * P * G; i++) acc[i] = part[i];
}

/* One tile of c = a w' + bias. */
FG_INLINE void narrow_tile(const narrow_job *job, fg_idx first, fg_idx panel, int R, int P, int G, int format) {
  vr acc[32];
  const fg_idx width = G * FG_LANES, K = job->w->inner;
  const float *bias = job->bias ? job->bias + panel * width : NULL;
  const char *prepared = job->prepared + first * job->stride;
  if (format == FG_INT8) {
    const fg_idx fours = (K + 3) / 4;
    const vi *offset = (const vi *)(job->w->offset + panel * width);
    const vr *scale = (const vr *)(job->w->scale + panel * width);
    vi sum[32];
    FG_UNROLL for (int r = 0; r < R; r++)
      FG_UNROLL for (int i = 0; i < P * G; i++) sum[r * P * G + i] = FG_UNSIGNED ? offset[i] : (vi){0};
    tile_int8(R, P, G, sum, prepared, job->stride, (const vi *)job->w->data + panel * fours * G, fours);
    FG_UNROLL for (int i = 0; i < P * G; i++) {
      const vr start = bias ? *(const vr *)(bias + i * FG_LANES) : splat(0), factor = scale[i];
      FG_UNROLL for (int r = 0; r < R; r++)
        acc[r * P * G + i] =
          __builtin_convertvector(sum[r * P * G + i], vr) * settled(factor * job->scale[first + r]) + start;
    }
  } else {
    tile_start(R, P, G, acc, bias);
    if (format == FG_FLOAT16)
      tile_float16(R, P, G, acc, job->a + first, (const uint16_t *)job->w->data + panel * K * width, K);
    else
      tile_bfloat16(R, P, G, acc, prepared, job->stride, (const vi *)job->w->data + panel * ((K + 1) / 2) * G,
                    (K + 1) / 2);
  }
  const fg_idx from = panel * width;
  if (from + P * width <= job->columns) {
    FG_UNROLL for (int r = 0; r < R; r++)
      FG_UNROLL for (int i = 0; i < P * G; i++) store(job->c[first + r] + from + i * FG_LANES, acc[r * P * G + i]);
    return;
  }
  for (int r = 0; r < R; r++)
    for (int i = 0; i < P * G && from + i * FG_LANES < job->columns; i++)
      store_some(job->c[first + r] + from + i * FG_LANES, acc[r * P * G + i], job->columns - from - i * FG_LANES);
}

/* Panels of one row taken together: more than in tile.h, since a dot product does four times the work of a multiply-add
 * per load and leaves its chain as long. But one by one where they come from the L2 cache: what counts there is one
 * stream of reads (Zen 5, int8 GRU and LSTM of 256 units: 1.4 and 1.8 us with four panels, 1.2 and 1.5 with one). */
#define FG_NARROW_PANELS(G) ((G) >= 3 ? 4 : (G) == 2 ? 4 : 8)
enum { FG_NEAR = 49152 }; /* bytes of the L1 cache */
#define FG_NARROW_ROWS(G) (FG_ROWS(G) > 4 ? 4 : FG_ROWS(G)) /* divides the 8 rows of a step taken together */

FG_INLINE void narrow_group(const narrow_job *job, fg_idx n, int G, int format) {
  const fg_idx panels = job->w->panels;
  fg_idx p = 0;
  if (n == 1 && (G < 3 || panels * G * FG_LANES * job->w->inner * (format == FG_INT8 ? 1 : 2) <= FG_NEAR))
    for (; p + FG_NARROW_PANELS(G) <= panels; p += FG_NARROW_PANELS(G))
      narrow_tile(job, 0, p, 1, FG_NARROW_PANELS(G), G, format);
  for (; p < panels; p++) {
    fg_idx i = 0;
    for (; i + FG_NARROW_ROWS(G) <= n; i += FG_NARROW_ROWS(G)) narrow_tile(job, i, p, FG_NARROW_ROWS(G), 1, G, format);
    for (; i < n; i++) narrow_tile(job, i, p, 1, 1, G, format);
  }
}

/* Block-sparse ----------------------------------------------------------------------------------------------------- */

enum { FG_STRIP_STEP = FG_LANES < 8 ? FG_LANES : 8 }; /* a strip is two vectors where they are of four lanes */

/* Where unit `u` of gate `g` lies in a row of (panels, G, L). */
FG_INLINE fg_idx strip_at(const fg_matrix *w, fg_idx g, fg_idx u) {
  return (u / FG_LANES * w->gates + g) * FG_LANES + u % FG_LANES;
}

FG_INLINE void store_strip(float *c, const fg_matrix *w, fg_idx g, fg_idx unit, fg_idx columns, v8 v) {
  for (int i = 0; i < 8; i += FG_STRIP_STEP) {
    const fg_idx to = strip_at(w, g, unit + i), n = columns - to < FG_STRIP_STEP ? columns - to : FG_STRIP_STEP;
    if (n == 8)
      *(v8_any *)(c + to) = v;
    else if (n > 0)
      memcpy(c + to, (const float *)&v + i, sizeof(float) * (size_t)n);
  }
}

FG_INLINE v8 load_strip(const float *bias, const fg_matrix *w, fg_idx g, fg_idx unit) {
  v8 v = {0};
  for (int i = 0; i < 8 && unit + i < w->panels * FG_LANES; i += FG_STRIP_STEP)
    memcpy((float *)&v + i, bias + strip_at(w, g, unit + i), sizeof(float) * FG_STRIP_STEP);
  return v;
}

/* R rows of strip s: units unit .. unit + 7 of gate g. */
FG_INLINE void sparse_strip(const narrow_job *job, fg_idx first, fg_idx s, fg_idx g, fg_idx unit, int R, int format) {
  const fg_matrix *w = job->w;
  const int32_t begin = w->starts[s], end = w->starts[s + 1];
  const v8 start = job->bias ? load_strip(job->bias, w, g, unit) : (v8){0};
  v8 total[4];
  if (format == FG_SPARSE_INT8) {
    v8i sum[4];
    FG_EACH(r, R) sum[r] = FG_UNSIGNED ? *(const v8i *)(w->offset + s * 8) : (v8i){0};
    for (int32_t b = begin; b < end; b++) {
      const v8i v = ((const v8i *)w->data)[b];
      FG_EACH(r, R)
        sum[r] = dot_bytes_8(sum[r], ((const int32_t *)(job->prepared + (first + r) * job->stride))[w->blocks[b]], v);
    }
    FG_EACH(r, R) {
      v8 factor = *(const v8 *)(w->scale + s * 8) * job->scale[first + r];
#if defined(__AVX2__)
      __asm__("" : "+x"(factor)); /* rounded: see settled() */
#else
      __asm__("" : "+m"(factor));
#endif
      total[r] = __builtin_convertvector(sum[r], v8) * factor + start;
    }
  } else {
    v8 part[4];
    FG_EACH(r, R) total[r] = start, part[r] = (v8){0};
    for (int32_t b = begin; b < end; b++) {
      const v8 *v = (const v8 *)w->data + 4 * (fg_idx)b;
      const fg_idx k = 4 * (fg_idx)w->blocks[b];
      const int whole = k + 4 <= w->inner; /* zero weights, but no reading, behind the row's end */
      FG_EACH(r, R) {
        const float *x = job->a[first + r] + k;
        part[r] += v[0] * x[0];
        if (whole) {
          part[r] += v[1] * x[1];
          part[r] += v[2] * x[2];
          part[r] += v[3] * x[3];
        } else {
          for (fg_idx i = 1; k + i < w->inner; i++) part[r] += v[i] * x[i];
        }
      }
      if (b + 1 == end || w->blocks[b + 1] / (FG_CHAIN / 4) != w->blocks[b] / (FG_CHAIN / 4))
        FG_EACH(r, R) total[r] += part[r], part[r] = (v8){0};
    }
    FG_EACH(r, R) total[r] += (v8){0}; /* -0 becomes 0, as in the dense product */
  }
  FG_EACH(r, R) store_strip(job->c[first + r], w, g, unit, job->columns, total[r]);
}

FG_INLINE void sparse_group(const narrow_job *job, fg_idx n, int format) {
  fg_idx s = 0;
  for (fg_idx g = 0; g < job->w->gates; g++)
    for (fg_idx unit = 0; unit < job->w->units; unit += 8, s++) {
      fg_idx i = 0;
      for (; i + 4 <= n; i += 4) sparse_strip(job, i, s, g, unit, 4, format);
      for (; i < n; i++) sparse_strip(job, i, s, g, unit, 1, format);
    }
}

/* The whole product ------------------------------------------------------------------------------------------------ */

#define FG_BY_GATES(format)                                     \
  static void group_##format(const narrow_job *job, fg_idx n) { \
    switch (job->w->gates) {                                    \
      case 1: narrow_group(job, n, 1, format); break;           \
      case 2: narrow_group(job, n, 2, format); break;           \
      case 3: narrow_group(job, n, 3, format); break;           \
      default: narrow_group(job, n, 4, format); break;          \
    }                                                           \
  }
FG_BY_GATES(FG_FLOAT16)
FG_BY_GATES(FG_BFLOAT16)
FG_BY_GATES(FG_INT8)
static void group_FG_SPARSE(const narrow_job *job, fg_idx n) { sparse_group(job, n, FG_SPARSE); }
static void group_FG_SPARSE_INT8(const narrow_job *job, fg_idx n) { sparse_group(job, n, FG_SPARSE_INT8); }

typedef void group_fn(const narrow_job *, fg_idx);
static group_fn *const group_table[FG_FORMATS] = {
    NULL, group_FG_FLOAT16, group_FG_BFLOAT16, group_FG_INT8, group_FG_SPARSE, group_FG_SPARSE_INT8,
};

static fg_idx prepared_stride(const fg_matrix *w) {
  const fg_idx K = (w->inner + FG_LANES - 1) / FG_LANES * FG_LANES;
  switch (w->format) {
    case FG_BFLOAT16: return K * (fg_idx)sizeof(half_operand);
    case FG_INT8:
    case FG_SPARSE_INT8: return (K + 63) / 64 * 64;
    default: return 0;
  }
}

static fg_idx narrow_scratch(const fg_matrix *w) { return FG_NARROW_GROUP * prepared_stride(w); }

static void narrow_product(const fg_matrix *w, const void *bias, const fg_act *act, const fg_rows *a, const fg_rows *c,
                           fg_idx columns, const fg_span *rows, void *scratch) {
  narrow_job job; /* without an initialiser, which would clear its addresses */
  job.w = w, job.bias = (const float *)bias, job.columns = columns, job.prepared = scratch;
  job.stride = prepared_stride(w);
  for (fg_idx first = 0; first < rows->count; first += FG_NARROW_GROUP) {
    const fg_idx n = rows->count - first < FG_NARROW_GROUP ? rows->count - first : FG_NARROW_GROUP;
    for (fg_idx i = 0; i < n; i++) {
      char *to = job.prepared + i * job.stride;
      job.a[i] = row_at(a, rows, first + i);
      job.c[i] = row_at(c, rows, first + i);
      if (w->format == FG_BFLOAT16) prepare_bfloat16(job.a[i], w->inner, (half_operand *)to);
      if (w->format == FG_INT8 || w->format == FG_SPARSE_INT8)
        job.scale[i] = prepare_int8(job.a[i], w->inner, (int8_t *)to);
    }
    group_table[w->format](&job, n);
    for (fg_idx i = 0; i < n && act->kind != FG_LINEAR; i++)
      for (fg_idx j = 0; j < columns; j += FG_LANES)
        store_some(job.c[i] + j, fg_activation(act, load_some(job.c[i] + j, columns - j)), columns - j);
  }
}

/* One row of an embedding table (V, E): w->inner = E, codes as they lie, int8 with a scale per row. */
static void narrow_lookup(const fg_matrix *w, fg_idx id, void *row) {
  float *y = (float *)row;
  const fg_idx n = w->inner;
  if (w->format == FG_FLOAT16) {
    const uint16_t *codes = (const uint16_t *)w->data + id * n;
    for (fg_idx j = 0; j < n; j += FG_LANES) {
      uint16_t block[FG_LANES] __attribute__((aligned(64))) = {0};
      memcpy(block, codes + j, sizeof(uint16_t) * (size_t)(n - j < FG_LANES ? n - j : FG_LANES));
      store_some(y + j, load_float16(block), n - j);
    }
  } else if (w->format == FG_BFLOAT16) {
    const uint16_t *codes = (const uint16_t *)w->data + id * n;
    for (fg_idx j = 0; j < n; j++) {
      const uint32_t bits = (uint32_t)codes[j] << 16;
      memcpy(y + j, &bits, sizeof bits);
    }
  } else {
    const int8_t *codes = (const int8_t *)w->data + id * n;
    for (fg_idx j = 0; j < n; j++) y[j] = (float)codes[j] * w->scale[id];
  }
}

#endif
