/* Products of operands of fewer bytes, and over pruned weights: the same tiles as product.h, one loop a format.
 *
 * bfloat16 and int8: see dot.h. Block-sparse: sparse.h. (float16 is a way to load weights, and lies in tile.h.)
 */
#ifndef FASTGRU_NARROW_H
#define FASTGRU_NARROW_H

#include "affine.h"
#include "sparse.h"
#include "fastgru/math/vmath.h"

/* Dense tiles: acc[(r * P + p) * G + g] as in tile.h, one chain each ---------------------------------------- */

FG_INLINE void tile_bfloat16(int R, int P, int G, vr *acc, const char *a, fg_idx stride, const vi *w, fg_idx pairs,
                             int far) {
  vr part[32];
  FG_UNROLL for (int i = 0; i < R * P * G; i++) part[i] = acc[i];
  for (fg_idx k = 0; k < pairs; k++) {
    vi v[32];
    FG_UNROLL for (int p = 0; p < P; p++)
      FG_UNROLL for (int g = 0; g < G; g++) {
        if (far && g * sizeof(vi) % 64 == 0) prefetch(w + (p * pairs + k) * G + g);
        v[p * G + g] = w[(p * pairs + k) * G + g];
      }
    FG_UNROLL for (int r = 0; r < R; r++) {
      const half_operand *x = (const half_operand *)(a + r * stride) + 2 * k;
      FG_UNROLL for (int i = 0; i < P * G; i++) part[r * P * G + i] = dot_halves(part[r * P * G + i], x, v[i]);
    }
  }
  FG_UNROLL for (int i = 0; i < R * P * G; i++) acc[i] = part[i];
}

/* `paired`: of one panel, see FG_PAIRED. With both ways in one function, chosen step by step, neither gained anything. */
FG_INLINE void tile_int8(int R, int P, int G, vi *acc, const char *a, fg_idx stride, const vi *w, fg_idx fours,
                         int far, int paired) {
  vi part[32];
  FG_UNROLL for (int i = 0; i < R * P * G; i++) part[i] = acc[i];
  fg_idx k = 0;
#if FG_PAIRED
  for (; paired && k + 2 <= fours; k += 2)
    FG_UNROLL for (int r = 0; r < R; r++) {
      const char *x = a + r * stride + k * FG_FOUR;
      FG_UNROLL for (int g = 0; g < G; g++)
        part[r * G + g] = dot_pairs(part[r * G + g], x, w[k * G + g], w[(k + 1) * G + g]);
    }
#else
  (void)paired;
#endif
  for (; k < fours; k++) {
    vi v[32];
    FG_UNROLL for (int p = 0; p < P; p++)
      FG_UNROLL for (int g = 0; g < G; g++) {
        if (far && g * sizeof(vi) % 64 == 0) prefetch(w + (p * fours + k) * G + g);
        v[p * G + g] = w[(p * fours + k) * G + g];
      }
    FG_UNROLL for (int r = 0; r < R; r++) {
      const char *x = a + r * stride + k * FG_FOUR;
      FG_UNROLL for (int i = 0; i < P * G; i++) part[r * P * G + i] = dot_bytes(part[r * P * G + i], x, v[i]);
    }
  }
  FG_UNROLL for (int i = 0; i < R * P * G; i++) acc[i] = part[i];
}

/* R rows of n vectors, of which the last columns are not all there. */
static __attribute__((noinline)) void store_edge(const narrow_job *job, fg_idx first, int R, fg_idx from, int n,
                                                 const vr *acc) {
  for (int r = 0; r < R; r++)
    for (int i = 0; i < n && from + i * FG_LANES < job->columns; i++)
      store_some(job->c[first + r] + from + i * FG_LANES, acc[r * n + i], job->columns - from - i * FG_LANES);
}

/* What sums of R rows and n vectors start from: with codes a of zero point p, and w of z, sum (a - p) (w - z) is that of
 * (a - origin) w, less (p - origin) times the sum of w and z times that of a - p. */
FG_INLINE void affine_start(const narrow_job *job, fg_idx first, fg_idx from, int R, int n, vi *sum) {
  const vi *sums = (const vi *)(job->w->sums + from);
  FG_UNROLL for (int i = 0; i < n; i++) {
    vi away = sums[i] * job->origin[first];
    FG_UNROLL for (int r = 0; r < R; r++) {
      if (r && !job->w->input_scale) away = sums[i] * job->origin[first + r]; /* else that of all rows */
      sum[r * n + i] = job->start[first + r] - away;
    }
  }
  if (!job->w->zero) return;
  const vi *zero = (const vi *)(job->w->zero + from);
  FG_UNROLL for (int r = 0; r < R; r++)
    FG_UNROLL for (int i = 0; i < n; i++) sum[r * n + i] -= zero[i] * job->total[first + r];
}

/* Sums of R rows and n vectors as the numbers they stand for. */
FG_INLINE void scale_sums(const narrow_job *job, fg_idx first, fg_idx from, int R, int n, const vi *sum, vr *acc) {
  const vr *scale = (const vr *)(job->w->scale + from), *bias = (const vr *)(job->bias + from);
  const float given = job->w->input_scale;
  if (given) {
    FG_UNROLL for (int i = 0; i < n; i++) {
      const vr start = job->bias ? bias[i] : splat(0), factor = settled(scale[i] * given);
      FG_UNROLL for (int r = 0; r < R; r++) acc[r * n + i] = __builtin_convertvector(sum[r * n + i], vr) * factor + start;
    }
    return;
  }
  FG_UNROLL for (int i = 0; i < n; i++) {
    const vr start = job->bias ? bias[i] : splat(0), factor = scale[i];
    FG_UNROLL for (int r = 0; r < R; r++)
      acc[r * n + i] = __builtin_convertvector(sum[r * n + i], vr) * settled(factor * job->scale[first + r]) + start;
  }
}

/* One tile of c = a w' + bias. */
FG_INLINE void narrow_tile(const narrow_job *job, fg_idx first, fg_idx panel, int R, int P, int G, int format, int far,
                           int paired) {
  vr acc[32];
  const fg_idx width = G * FG_LANES, K = job->w->inner;
  const float *bias = job->bias ? job->bias + panel * width : NULL;
  const char *prepared = job->prepared + first * job->stride;
  if (format == FG_INT8) {
    const fg_idx fours = (K + 3) / 4;
    const vi *offset = (const vi *)(job->w->offset + panel * width);
    vi sum[32];
    if (job->w->sums)
      affine_start(job, first, panel * width, R, P * G, sum);
    else
      FG_UNROLL for (int r = 0; r < R; r++)
        FG_UNROLL for (int i = 0; i < P * G; i++)
          sum[r * P * G + i] = FG_UNSIGNED ? offset[i] : (vi)((vi){0} + job->start[first + r]); /* 0 but where FG_FLIPPED */
    tile_int8(R, P, G, sum, prepared, job->stride, (const vi *)job->w->data + panel * fours * G, fours, far, paired);
    scale_sums(job, first, panel * width, R, P * G, sum, acc);
  } else {
    const fg_idx pairs = (K + 1) / 2;
    tile_start(R, P, G, acc, bias);
    tile_bfloat16(R, P, G, acc, prepared, job->stride, (const vi *)job->w->data + panel * pairs * G, pairs, far);
  }
  if (job->act.kind == FG_RELU) {
    FG_UNROLL for (int i = 0; i < R * P * G; i++) acc[i] = at_least(acc[i], 0);
  } else if (job->act.kind == FG_FAKE_QUANTIZE) {
    FG_UNROLL for (int i = 0; i < R * P * G; i++) acc[i] = fg_fake_quantize(acc[i], &job->codes);
  }
  const fg_idx from = panel * width;
  if (from + P * width <= job->columns) {
    FG_UNROLL for (int r = 0; r < R; r++)
      FG_UNROLL for (int i = 0; i < P * G; i++) store(job->c[first + r] + from + i * FG_LANES, acc[r * P * G + i]);
    return;
  }
  vr edge[32]; /* a copy: with its address taken, acc would lie in memory always */
  FG_UNROLL for (int i = 0; i < R * P * G; i++) edge[i] = acc[i];
  store_edge(job, first, R, from, P * G, edge);
}

/* Panels of one row taken together: more than in tile.h, since a dot product does four times the work of a multiply-add
 * per load and leaves its chain as long. But one by one where they come from the L2 cache: what counts there is one
 * stream of reads (Zen 5, int8 GRU and LSTM of 256 units: 1.4 and 1.8 us with four panels, 1.2 and 1.5 with one). */
#if FG_REGISTERS == 32
#define FG_NARROW_PANELS(G) ((G) >= 2 ? 4 : 8)
#else /* two, wherever they come from: int8 one by one takes a sixth longer, three and four are as two (Zen 3) */
#define FG_NARROW_PANELS(G) ((G) >= 3 ? 2 : (G) == 2 ? 4 : 8)
#endif
enum { FG_NEAR = 49152 }; /* bytes of the L1 cache */
/* Divides the 8 rows of a step taken together; a dot product of AVX2 needs registers of its own. */
#define FG_NARROW_ROWS(G) (FG_REGISTERS < 32 && (G) == 4 ? 2 : 4)

/* The panels p .. to - 1. */
FG_INLINE void narrow_stretch(const narrow_job *job, fg_idx n, fg_idx p, fg_idx to, int G, int format, int near, int far) {
  if (n == 1 && far)
    for (; p + FG_FAR_PANELS(G) <= to; p += FG_FAR_PANELS(G))
      narrow_tile(job, 0, p, 1, FG_FAR_PANELS(G), G, format, 1, 0);
  if (n == 1 && (G < 3 || near || FG_REGISTERS < 32))
    for (; p + FG_NARROW_PANELS(G) <= to; p += FG_NARROW_PANELS(G))
      narrow_tile(job, 0, p, 1, FG_NARROW_PANELS(G), G, format, 0, 0);
  if (n == 1 && near && format == FG_INT8) /* bfloat16 of 32 units loses by it what int8 gains: a tenth */
    for (; p + 2 <= to; p += 2) narrow_tile(job, 0, p, 1, 2, G, format, 0, 0);
  for (; p < to; p++) {
    const int paired = FG_PAIRED && format == FG_INT8 && job->w->paired && job->w->paired[p];
    fg_idx i = 0;
    for (; paired && i + FG_NARROW_ROWS(G) <= n; i += FG_NARROW_ROWS(G))
      narrow_tile(job, i, p, FG_NARROW_ROWS(G), 1, G, format, 0, 1);
    for (; i + FG_NARROW_ROWS(G) <= n; i += FG_NARROW_ROWS(G))
      narrow_tile(job, i, p, FG_NARROW_ROWS(G), 1, G, format, 0, 0);
    for (; i < n; i++) narrow_tile(job, i, p, 1, 1, G, format, 0, 0);
  }
}

FG_INLINE void narrow_group(const narrow_job *job, fg_idx n, int G, int format) {
  const fg_idx item = format == FG_INT8 ? 1 : 2, panel_bytes = job->w->inner * G * FG_LANES * item;
  const int near = job->w->panels * panel_bytes <= FG_NEAR, far = is_far(job->w, item);
  const fg_idx stretch = stretch_of(job->w, panel_bytes, far ? FG_FAR_PANELS(G) : FG_NARROW_PANELS(G));
#define FG_AT(from, to) narrow_stretch(job, n, from, to, G, format, near, far)
  FG_EACH_STRETCH(job->w, stretch, job->backward, FG_AT)
#undef FG_AT
}

/* The whole product ------------------------------------------------------------------------------------------------ */

#define FG_BY_GATES(format)                                                           \
  static __attribute__((unused)) void group_##format(const narrow_job *job, fg_idx n) { \
    switch (job->w->gates) {                                                          \
      case 1: narrow_group(job, n, 1, format); break;                                 \
      case 2: narrow_group(job, n, 2, format); break;                                 \
      case 3: narrow_group(job, n, 3, format); break;                                 \
      default: narrow_group(job, n, 4, format); break;                                \
    }                                                                                 \
  }
#define FG_BY_STRIPS(format) \
  static __attribute__((unused)) void group_##format(const narrow_job *job, fg_idx n) { sparse_group(job, n, format); }
FG_BY_GATES(FG_BFLOAT16)
FG_BY_GATES(FG_INT8)
FG_BY_STRIPS(FG_SPARSE)
FG_BY_STRIPS(FG_SPARSE_INT8)

/* The formats whose products these instructions make, all but where setup.py lists them: then the others are made by the
 * table FG_REST, whose object has the same code for them. */
#ifdef FG_REST
extern const fg_narrow FG_REST;
#else
#define FG_MADE(row) row(FG_BFLOAT16) row(FG_INT8) row(FG_SPARSE) row(FG_SPARSE_INT8)
#endif
typedef void group_fn(const narrow_job *, fg_idx);
#define FG_GROUP_ENTRY(format) [format] = group_##format,
static group_fn *const group_table[FG_FORMATS] = {FG_MADE(FG_GROUP_ENTRY)};

/* Activations that the tiles of dense matrices do not apply to what they hold in registers. */
FG_INLINE int in_second_pass(int kind) { return kind != FG_LINEAR && kind != FG_RELU && kind != FG_FAKE_QUANTIZE; }

static fg_idx prepared_stride(const fg_matrix *w) {
  const fg_idx K = (w->inner + FG_LANES - 1) / FG_LANES * FG_LANES;
  switch (w->format) {
    case FG_BFLOAT16: return K * (fg_idx)sizeof(half_operand);
    case FG_INT8:
    case FG_SPARSE_INT8: return (K / 4 * FG_FOUR + 63) / 64 * 64;
    default: return 0;
  }
}

static fg_idx narrow_scratch(const fg_matrix *w) {
#ifdef FG_REST
  if (!group_table[w->format]) return FG_REST.scratch(w);
#endif
  return FG_NARROW_GROUP * prepared_stride(w);
}

static void narrow_product(const fg_matrix *w, const void *bias, const fg_act *act, const fg_rows *a, const fg_rows *c,
                           fg_idx columns, const fg_span *rows, void *scratch) {
#ifdef FG_REST
  if (!group_table[w->format]) {
    FG_REST.product(w, bias, act, a, c, columns, rows, scratch);
    return;
  }
#endif
  narrow_job job; /* without an initialiser, which would clear its addresses */
  job.w = w, job.bias = (const float *)bias, job.columns = columns, job.backward = rows->backward;
  job.act = *act, job.prepared = scratch;
  job.stride = prepared_stride(w);
  if (act->kind == FG_FAKE_QUANTIZE) job.codes = codes_of((float)act->alpha, (float)act->beta);
  const int later = w->format > FG_INT8 ? act->kind != FG_LINEAR : in_second_pass(act->kind);
  for (fg_idx first = 0; first < rows->count; first += FG_NARROW_GROUP) {
    const fg_idx n = rows->count - first < FG_NARROW_GROUP ? rows->count - first : FG_NARROW_GROUP;
    for (fg_idx i = 0; i < n; i++) {
      char *to = job.prepared + i * job.stride;
      job.a[i] = row_at(a, rows, first + i);
      job.c[i] = row_at(c, rows, first + i);
      if (w->format == FG_BFLOAT16) prepare_bfloat16(job.a[i], w->inner, (half_operand *)to);
      if (w->format == FG_INT8 && w->sums)
        prepare_affine(&job, i, to);
      else if (w->format == FG_INT8 || w->format == FG_SPARSE_INT8)
        job.scale[i] = prepare_int8(job.a[i], w->inner, to, &job.start[i]);
    }
    group_table[w->format](&job, n);
    for (fg_idx i = 0; i < n && w->format == FG_INT8 && w->input_scale; i++)
      if (job.scale[i] != job.scale[i]) /* its codes stand for no numbers */
        for (fg_idx j = 0; j < columns; j++) job.c[i][j] = job.scale[i];
    if (later) activate_columns(act, job.c, n, columns);
  }
}

/* One row of an embedding table (V, E): w->inner = E, codes as they lie, int8 with a scale per row. */
static void narrow_lookup(const fg_matrix *w, fg_idx id, void *row) {
#ifdef FG_REST
  FG_REST.lookup(w, id, row);
#else
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
    const int32_t zero = w->zero ? w->zero[id] : 0;
    for (fg_idx j = 0; j < n; j++) y[j] = (float)(codes[j] - zero) * w->scale[id];
  }
#endif
}

#endif
