/* Ops over whole rows: products, tables, norms, activations, rows side by side or onto each other; and the same over
 * rows inside of frames. */
#ifndef FASTGRU_OPS_ROWS_H
#define FASTGRU_OPS_ROWS_H

#include "products.h"

static void execute_dense(const fg_instruction *ins, fg_run *run) {
  const fg_op_dense *dense = &ins->dense;
  fg_span span = some_rows(run);
  const fg_rows *x = &run->rows[ins->inputs[0]], *y = &run->rows[ins->output];
  const fg_idx count = count_rows(ins, run), item = run->kernels->item;
  if (run->gemm != NULL) {
    for (fg_idx m = 0; m < count; m++) memset(row_of(run, ins->output, item, m), 0, (size_t)(ins->size * item));
    multiply_rows(&dense->w, x, y, ins->size, count / run->B, run);
  }
  while (next_rows(ins, run, count, &span)) {
    if (run->gemm == NULL)
      product(&dense->w, dense->bias, &dense->act, x, y, ins->size, &span, run);
    else
      run->kernels->activate(&dense->act, dense->bias, y, y, ins->size, &span);
    if (dense->softmax) run->kernels->softmax(y, y, ins->size, &span);
  }
}

/* Ids were checked against V before the call. */
static void execute_embedding(const fg_instruction *ins, fg_run *run) {
  const fg_matrix *w = &ins->embedding.w;
  const fg_idx item = run->kernels->item, width = ins->size * item;
  for (fg_idx m = 0; m < count_rows(ins, run); m++) {
    if (m % FG_LOOK_COPIES == FG_LOOK_COPIES - 1 && fg_stopped(run)) return;
    const int64_t key = *(const int64_t *)row_of(run, ins->inputs[0], 8, m);
    char *y = row_of(run, ins->output, item, m);
    if (w->format == FG_NATIVE)
      memcpy(y, (const char *)w->data + key * width, (size_t)width);
    else
      run->narrow->lookup(w, key, y);
  }
}

static void execute_layer_norm(const fg_instruction *ins, fg_run *run) {
  const fg_op_layer_norm *norm = &ins->layer_norm;
  const fg_rows *x = &run->rows[ins->inputs[0]], *y = &run->rows[ins->output];
  fg_span span = some_rows(run);
  while (next_rows(ins, run, count_rows(ins, run), &span))
    run->kernels->layer_norm(norm->scale, norm->shift, norm->eps, x, y, ins->size, &span);
}

static void execute_affine(const fg_instruction *ins, fg_run *run) {
  const fg_rows *x = &run->rows[ins->inputs[0]], *y = &run->rows[ins->output];
  fg_span span = some_rows(run);
  while (next_rows(ins, run, count_rows(ins, run), &span))
    run->kernels->affine(ins->affine.scale, ins->affine.shift, x, y, ins->size, &span);
}

static void execute_activate(const fg_instruction *ins, fg_run *run) {
  fg_span span = some_rows(run);
  const fg_rows *x = &run->rows[ins->inputs[0]], *y = &run->rows[ins->output];
  while (next_rows(ins, run, count_rows(ins, run), &span)) {
    if (ins->activate.softmax)
      run->kernels->softmax(x, y, ins->size, &span);
    else
      run->kernels->activate(&ins->activate.act, ins->activate.shift, x, y, ins->size, &span);
  }
}

static void execute_concat(const fg_instruction *ins, fg_run *run) {
  const fg_idx item = run->kernels->item;
  for (fg_idx m = 0; m < count_rows(ins, run); m++) {
    if (m % FG_LOOK_COPIES == FG_LOOK_COPIES - 1 && fg_stopped(run)) return;
    char *y = row_of(run, ins->output, item, m);
    for (int i = 0; i < ins->n_inputs; i++) {
      const fg_idx width = run->values[ins->inputs[i]].size * item;
      memcpy(y, row_of(run, ins->inputs[i], item, m), (size_t)width);
      y += width;
    }
  }
}

/* Add, multiply or average: the first input copied, then the others onto it, in order. */
static void execute_merge(const fg_instruction *ins, fg_run *run) {
  fg_span span = some_rows(run);
  const fg_act linear = {.kind = FG_LINEAR};
  const fg_rows *y = &run->rows[ins->output];
  while (next_rows(ins, run, count_rows(ins, run), &span)) {
    run->kernels->activate(&linear, NULL, &run->rows[ins->inputs[0]], y, ins->size, &span);
    for (int i = 1; i < ins->n_inputs; i++) {
      if (ins->op == FG_OP_MULTIPLY)
        run->kernels->multiply(&run->rows[ins->inputs[i]], y, ins->size, &span);
      else
        run->kernels->add(&run->rows[ins->inputs[i]], y, ins->size, &span);
    }
    if (ins->op == FG_OP_AVERAGE) run->kernels->activate(&ins->average.act, NULL, y, y, ins->size, &span);
  }
}

/* The rows inside the frames of step t and row b that an op over rows reads and writes. */
static void frame_rows(const fg_instruction *ins, const fg_run *run, const fg_strides *read, const fg_strides *write,
                       fg_idx t, fg_idx b, fg_rows *x, fg_rows *y) {
  const fg_idx item = run->kernels->item;
  x->data = frame_at(run, ins->inputs[0], item, t, b) + read->offset * item;
  x->t_stride = read->outer, x->b_stride = read->inner;
  y->data = frame_at(run, ins->output, item, t, b) + write->offset * item;
  y->t_stride = write->outer, y->b_stride = write->inner;
}

/* The op of an instruction over such rows. */
static void run_rows(const fg_instruction *ins, fg_run *run, const fg_rows *x, const fg_rows *y, fg_idx batch,
                     fg_idx count) {
  const fg_op_frame_product *dense = &ins->frame_product;
  const fg_op_frame_norm *norm = &ins->frame_norm;
  const fg_idx item = run->kernels->item;
  fg_span span = {.batch = batch};
  if (ins->op == FG_OP_FRAME_PRODUCT && run->gemm != NULL)
    for (fg_idx m = 0; m < count / batch; m++) {
      for (fg_idx j = 0; j < batch; j++) memset(fg_row(y, item, m, j), 0, (size_t)(ins->size * item));
      multiply_even(&dense->w, fg_row(x, item, m, 0), x->b_stride, fg_row(y, item, m, 0), y->b_stride, batch, ins->size,
                    run);
    }
  while (next_rows(ins, run, count, &span)) {
    if (ins->op == FG_OP_FRAME_PRODUCT && run->gemm == NULL)
      product(&dense->w, dense->bias, &dense->act, x, y, ins->size, &span, run);
    else if (ins->op == FG_OP_FRAME_PRODUCT)
      run->kernels->activate(&dense->act, dense->bias, y, y, ins->size, &span);
    else if (ins->op == FG_OP_FRAME_SOFTMAX)
      run->kernels->softmax(x, y, ins->size, &span);
    else
      run->kernels->layer_norm(norm->scale, norm->shift, norm->eps, x, y, ins->size, &span);
  }
}

/* Rows of one loop inside the frames of one row of the batch are one call over all steps. */
static void execute_rows(const fg_instruction *ins, fg_run *run) {
  const fg_op_frame_rows *own = &ins->frame_rows;
  const fg_idx T = run->values[ins->output].time ? run->T : 1;
  const int joined = own->dims[0] == 1;
  const fg_idx count = joined ? T * own->dims[1] : own->dims[0] * own->dims[1];
  fg_rows x, y;
  for (fg_idx b = 0; b < run->B; b++)
    for (fg_idx t = 0; t < (joined ? 1 : T); t++) {
      frame_rows(ins, run, &own->read, &own->write, t, b, &x, &y);
      if (joined) x.t_stride = step_stride(run, ins->inputs[0]), y.t_stride = step_stride(run, ins->output);
      run_rows(ins, run, &x, &y, own->dims[1], count);
      if (count > ins->slice && fg_stopped(run)) return;
    }
}

#endif
