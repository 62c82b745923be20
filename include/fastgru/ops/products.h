/* Products with a packed matrix, by kernels or by BLAS, of all its panels or of those of one thread. */
#ifndef FASTGRU_OPS_PRODUCTS_H
#define FASTGRU_OPS_PRODUCTS_H

#include "run.h"

/* c = act(a w' + bias) by the kernel of the matrix' format. */
static inline void product(const fg_matrix *w, const void *bias, const fg_act *act, const fg_rows *a, const fg_rows *c,
                           fg_idx columns, const fg_span *span, fg_run *run) {
  if (w->format <= FG_FLOAT16)
    run->kernels->product(w, bias, act, a, c, columns, span);
  else
    run->narrow->product(w, bias, act, a, c, columns, span, run->scratch);
}

/* c += a w' by BLAS for M evenly spaced rows; one by one where they overlap or repeat, which BLAS does not take. */
static void multiply_even(const fg_matrix *w, const char *a, fg_idx a_stride, char *c, fg_idx c_stride, fg_idx M,
                          fg_idx N, fg_run *run) {
  const fg_idx item = run->kernels->item, most = fg_slice_rows(N * w->inner);
  const int K = (int)w->inner;
  if (a_stride >= K && c_stride >= N && fg_max(a_stride, c_stride) <= INT32_MAX) {
    for (fg_idx m = 0, some; m < M && (m == 0 || !fg_stopped(run)); m += some) {
      some = fg_min(most, M - m);
      run->gemm((int)some, (int)N, K, a + m * a_stride * item, (int)a_stride, w->data, K, c + m * c_stride * item,
                (int)c_stride);
    }
    return;
  }
  for (fg_idx m = 0; m < M; m++) {
    if (m % most == most - 1 && fg_stopped(run)) return;
    run->gemm(1, (int)N, K, a + m * a_stride * item, K, w->data, K, c + m * c_stride * item, (int)N);
  }
}

/* c += a w' by BLAS: one product where the rows are evenly spaced, else one a batch row. */
static void multiply_rows(const fg_matrix *w, const fg_rows *a, const fg_rows *c, fg_idx N, fg_idx T, fg_run *run) {
  const fg_idx B = run->B, item = run->kernels->item;
  if (T == 1)
    multiply_even(w, a->data, a->b_stride, c->data, c->b_stride, B, N, run);
  else if (a->t_stride == B * a->b_stride && c->t_stride == B * c->b_stride)
    multiply_even(w, a->data, a->b_stride, c->data, c->b_stride, T * B, N, run);
  else
    for (fg_idx b = 0; b < B; b++)
      multiply_even(w, fg_row(a, item, 0, b), a->t_stride, fg_row(c, item, 0, b), c->t_stride, T, N, run);
}

/* The panels of one thread, and where they begin, in (panels, G, L) and in units. */
typedef struct {
  fg_matrix matrix;
  fg_idx column, unit;
} fg_slice;

static fg_idx panel_bytes(const fg_matrix *w, const fg_run *run) {
  const fg_idx width = w->gates * run->kernels->lanes;
  switch (w->format) {
    case FG_FLOAT16: return w->inner * width * 2;
    case FG_BFLOAT16: return (w->inner + 1) / 2 * width * 4;
    case FG_INT8: return (w->inner + 3) / 4 * width * 4;
    default: return w->inner * width * run->kernels->item;
  }
}

/* The panels of this thread; a sparse matrix, whose strips are not in panels, is the first thread's. */
static fg_slice slice_of(const fg_matrix *w, const fg_run *run) {
  const int whole = w->format == FG_SPARSE || w->format == FG_SPARSE_INT8;
  const fg_idx begin = whole ? 0 : w->panels * run->part / run->parts;
  const fg_idx end = whole ? w->panels * (run->part == 0) : w->panels * (run->part + 1) / run->parts;
  fg_slice s = {.matrix = *w, .unit = begin * run->kernels->lanes};
  s.column = s.unit * w->gates;
  s.matrix.panels = end - begin;
  s.matrix.data = (const char *)w->data + begin * panel_bytes(w, run);
  if (w->format == FG_INT8) {
    s.matrix.scale += s.column;
    if (w->offset != NULL) s.matrix.offset += s.column;
    if (w->sums != NULL) s.matrix.sums += s.column;
    if (w->zero != NULL) s.matrix.zero += s.column;
    if (w->paired != NULL) s.matrix.paired += begin;
  }
  return s;
}

/* The numbers of a row that a slice makes. */
static inline fg_idx slice_columns(const fg_slice *s, const fg_run *run) {
  return s->matrix.panels * s->matrix.gates * run->kernels->lanes;
}

static inline void *shifted(const void *p, fg_idx bytes) { return p == NULL ? NULL : (char *)p + bytes; }

#endif
