/* Products over pruned weights: strips of eight units, of which only the 8 x 4 blocks that are not all zero are kept;
 * their sums have the bits of the dense product, since what is left out would have added zero (for finite inputs).
 */
#ifndef FASTGRU_SPARSE_H
#define FASTGRU_SPARSE_H

#include "operands.h"

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
        sum[r] = dot_bytes_8(sum[r], job->prepared + (first + r) * job->stride + w->blocks[b] * FG_FOUR, v);
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

#endif
