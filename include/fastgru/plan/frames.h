/* What bodies over frames need of their fields: loop nests, rows of frames, scans. */
#ifndef FASTGRU_PLAN_FRAMES_H
#define FASTGRU_PLAN_FRAMES_H

#include "rows.h"

enum { FG_NEST_LOOPS = FG_RANK - 2 }; /* the executor adds those over steps and rows */
#define FG_LEAST_TOO_LARGE ((fg_idx)1 << 40)

/* Loops over elements, from an offset on. */
typedef struct {
  fg_idx offset;
  int rank;
  fg_idx dims[FG_RANK], strides[FG_RANK];
} fg_region;

static inline fg_region region_of(fg_idx offset, const fg_idx *dims, const fg_idx *strides, int rank) {
  fg_region region = {.offset = offset, .rank = rank};
  memcpy(region.dims, dims, (size_t)rank * sizeof *dims);
  memcpy(region.strides, strides, (size_t)rank * sizeof *strides);
  return region;
}

static inline void add_loop(fg_region *region, fg_idx count, fg_idx stride) {
  region->dims[region->rank] = count;
  region->strides[region->rank++] = stride;
}

static inline fg_idx distance(fg_idx n, fg_idx stride) { return fg_times(n - 1, stride < 0 ? -stride : stride); }

/* Loops reach none but so many elements. */
static inline void check_inside(fg_walk *c, const char *of, fg_idx room, const fg_region *region) {
  fg_idx ahead = 0, behind = 0;
  for (int i = 0; i < region->rank; i++) {
    fg_idx *to = region->strides[i] > 0 ? &ahead : &behind;
    *to = fg_plus(*to, distance(region->dims[i], region->strides[i]));
  }
  fg_idx low = region->offset - behind, high = region->offset + ahead;
  if (low < 0 || high >= room)
    SAY("%s must lie within elements 0 to %lld, got %lld to %lld", of, LONG(room - 1), LONG(low), LONG(high));
}

/* Each element is written once: the work of a plan then follows from its memory. */
static inline void check_once(fg_walk *c, const fg_region *region) {
  fg_idx strides[FG_RANK], counts[FG_RANK], reached = 0;
  int n = 0;
  for (int i = 0; i < region->rank; i++) { /* by rising strides */
    fg_idx stride = region->strides[i] < 0 ? -region->strides[i] : region->strides[i];
    int j = n;
    if (region->dims[i] < 2) continue;
    for (; j > 0 && strides[j - 1] > stride; j--) strides[j] = strides[j - 1], counts[j] = counts[j - 1];
    strides[j] = stride, counts[j] = region->dims[i], n++;
  }
  for (int i = 0; i < n; i++) {
    if (strides[i] <= reached) {
      SAY("elements must each be written once, got dims %s and strides %s",
          fg_tuple(c, region->dims, region->rank), fg_tuple(c, region->strides, region->rank));
      return;
    }
    reached = fg_plus(reached, distance(counts[i], strides[i]));
  }
}

/* The elements of its output that a nest writes, or rows of a frame. */
static inline fg_region written_region(const fg_instruction *ins) {
  if (fg_is_nest(ins)) {
    const fg_nest *nest = &ins->nest.nest;
    return region_of(ins->nest.operands[0].offset, nest->dims, nest->strides[0], nest->outer);
  }
  const fg_op_frame_rows *rows = &ins->frame_rows;
  fg_idx strides[] = {rows->write.outer, rows->write.inner};
  fg_region region = region_of(rows->write.offset, rows->dims, strides, 2);
  add_loop(&region, ins->op == FG_OP_TOP_K ? ins->top_k.count : ins->size, 1);
  return region;
}

/* Loop nests ---------------------------------------------------------------------------------------- */

/* Where the operand of this number lies; note its buffer, where it is one. */
static inline void check_operand(fg_walk *c, int number, const fg_operand *operand, fg_region *region, int *reads, int *n) {
  const fg_shape *constant = shape_of(c, operand->constant);
  char of[24];
  fg_idx room;
  if (constant) {
    if (operand->buffer != -1 || constant->rank != 1) {
      SAY("operand %d must be of a buffer or a flat array, got buffer %d and shape %s", number, operand->buffer,
          fg_tuple(c, constant->dims, constant->rank));
      return;
    }
    room = constant->dims[0];
  } else if (0 <= operand->buffer && operand->buffer < c->n_values) {
    reads[(*n)++] = operand->buffer;
    room = c->values[operand->buffer].size;
  } else {
    SAY("operand %d must be of one of %d buffers or an array, got buffer %d", number, c->n_values, operand->buffer);
    return;
  }
  snprintf(of, sizeof of, "operand %d", number);
  region->offset = operand->offset;
  check_inside(c, of, room, region);
}

/* The loops of a nest, of which at most so many fold. */
static inline int check_loops(fg_walk *c, const fg_nest *nest, int folds) {
  int rank = nest->rank, outer = nest->outer;
  fg_idx all = 1, folded = 1, least = 1;
  if (outer < 0 || outer > rank || rank - outer > folds) {
    SAY("loops must be at most %d, of which at most %d are folded, got %d, outer %d", FG_NEST_LOOPS, folds, rank, outer);
    return 0;
  }
  for (int i = 0; i < rank; i++) least = nest->dims[i] < least ? nest->dims[i] : least;
  for (int i = 0; i < rank && least > 0; i++) {
    all = fg_times(all, nest->dims[i]);
    if (i >= outer) folded = fg_times(folded, nest->dims[i]);
  }
  if (least < 1 || all >= FG_LEAST_TOO_LARGE || (outer < rank && folded > INT32_MAX)) {
    SAY("dims must be at least 1 and make fewer than 2**40 elements, 2**31 of them folded, got %s",
        fg_tuple(c, nest->dims, rank));
    return 0;
  }
  return 1;
}

/* A nest with that many operands; an axis of which any element may be read stands in `axis`. */
static inline void check_nest(fg_walk *c, const fg_instruction *ins, int fewest, int most, int folds,
                       const fg_op_gather *axis) {
  const fg_op_nest *own = &ins->nest;
  const fg_nest *nest = &own->nest;
  int reads[FG_OPERANDS + 1], n = 0, right;
  if (!check_loops(c, nest, folds)) return;
  if (own->n_operands < fewest || own->n_operands > most) {
    SAY("operands must be %d to %d, got %d", fewest, most, own->n_operands);
    return;
  }
  if (nest->operands != own->n_operands) {
    SAY("strides must be %d for each of %d operands, got those of %d", nest->rank, own->n_operands, nest->operands);
    return;
  }
  for (int i = 0; i < own->n_operands; i++) {
    fg_region region = region_of(0, nest->dims, nest->strides[i], nest->rank);
    if (axis && i == 1) add_loop(&region, axis->count, axis->stride);
    check_operand(c, i, &own->operands[i], &region, reads, &n);
  }
  right = n == ins->n_inputs + 1 && reads[0] == ins->output && !own->operands[0].constant;
  for (int i = 1; right && i < n; i++) right = reads[i] == ins->inputs[i - 1];
  if (!right)
    SAY("operands must be of the output, %d, and the inputs, %s, got %s", ins->output,
        fg_tuple_of_ints(c, ins->inputs, ins->n_inputs), fg_tuple_of_ints(c, reads, n));
  for (int i = nest->outer; i < nest->rank; i++)
    if (nest->strides[0][i]) {
      SAY("strides of the output must be 0 in folded loops, got %s", fg_tuple(c, nest->strides[0], nest->rank));
      break;
    }
  if (own->over_time && ins->op != FG_OP_REDUCE) SAY("over_time must be False, got True");
  if (own->over_time && !own->some_steps && c->given[ins->output] == 2)
    SAY("some_steps must be True for an output of the plan, got False");
  fg_region written = written_region(ins);
  check_once(c, &written);
}

/* An elementwise program, which may be a copy. */
static inline void check_map(fg_walk *c, const fg_instruction *ins) {
  const fg_op_map *map = &ins->map;
  int first = map->n_operands - 1;
  check_nest(c, ins, 2, map->n_program ? FG_OPERANDS : 2, 0, NULL);
  for (int i = 0; i < map->n_program; i++) {
    const fg_micro *f = &map->program[i];
    int known = (0 <= f->function && f->function <= FG_FAKE_QUANTIZE) ||
                (FG_ADD <= f->function && f->function < FG_FUNCTIONS);
    if (!known || !fg_has_parameters(f->function, f->alpha, f->beta))
      SAY("function %d must be one there is, with finite parameters that it takes, got %d", i, f->function);
    fg_idx reads[] = {f->a, f->b, f->c};
    for (int j = 0; j < 3; j++)
      if (reads[j] < 0 || reads[j] >= i + first) {
        SAY("function %d must read registers below %d, got %s", i, i + first, fg_tuple(c, reads, 3));
        break;
      }
  }
}

static inline void check_reduce(fg_walk *c, const fg_instruction *ins) {
  check_nest(c, ins, 2, 2, FG_NEST_LOOPS, NULL);
  if (ins->reduce.function < 0 || ins->reduce.function > FG_FOLD_SUM_ABS)
    SAY("function must be the code of a fold, 0 to %d, got %d", FG_FOLD_SUM_ABS, ins->reduce.function);
}

static inline void check_contract(fg_walk *c, const fg_instruction *ins) { check_nest(c, ins, 3, 4, FG_NEST_LOOPS, NULL); }

static inline void check_arg_reduce(fg_walk *c, const fg_instruction *ins) { check_nest(c, ins, 2, 2, 1, NULL); }

/* A lookup by computed ids: any of the axis may be read. */
static inline void check_gather(fg_walk *c, const fg_instruction *ins) {
  if (ins->gather.count < 1) SAY("count must be at least 1, got %lld", LONG(ins->gather.count));
  else check_nest(c, ins, 3, 3, 0, &ins->gather);
}

/* Rows of frames ------------------------------------------------------------------------------------ */

/* Where rows of so many elements lie that are read and written. */
static inline void check_rows(fg_walk *c, const fg_instruction *ins, fg_idx read, fg_idx written) {
  const fg_op_frame_rows *own = &ins->frame_rows;
  const fg_idx *dims = own->dims;
  if (dims[0] < 1 || dims[1] < 1 || fg_times(dims[0], dims[1]) >= FG_LEAST_TOO_LARGE || read < 1 || written < 1) {
    SAY("dims must be at least 1 and make fewer than 2**40 rows of some elements, got %s", fg_tuple(c, dims, 2));
    return;
  }
  fg_idx strides[] = {own->read.outer, own->read.inner};
  fg_region from = region_of(own->read.offset, dims, strides, 2), to = written_region(ins);
  add_loop(&from, read, 1);
  check_inside(c, "read", c->values[ins->inputs[0]].size, &from);
  check_inside(c, "write", c->values[ins->output].size, &to);
  check_once(c, &to);
}

static inline void check_frame_product(fg_walk *c, const fg_instruction *ins) {
  const fg_shape *w = need_matrix(c, &ins->frame_product.w, ins->size, -1);
  need_shape(c, "", "bias", ins->frame_product.bias, SHAPE(ins->size));
  if (w) check_rows(c, ins, w->dims[1], ins->size);
}

static inline void check_frame_softmax(fg_walk *c, const fg_instruction *ins) { check_rows(c, ins, ins->size, ins->size); }

static inline void check_frame_norm(fg_walk *c, const fg_instruction *ins) {
  check_rows(c, ins, ins->size, ins->size);
  need_shape(c, "", "scale", ins->frame_norm.scale, SHAPE(ins->size));
  need_shape(c, "", "shift", ins->frame_norm.shift, SHAPE(ins->size));
}

/* A further output has as many steps as the first. */
static inline void need_clock_of_output(fg_walk *c, const fg_instruction *ins, int v) {
  if (c->values[v].time != c->values[ins->output].time)
    SAY("output %d must have the clock of the output, got %d", v, c->values[v].time);
}

/* The extremes of rows and their places. */
static inline void check_top_k(fg_walk *c, const fg_instruction *ins) {
  const fg_op_top_k *own = &ins->top_k;
  fg_idx count = own->count, write[] = {own->write.offset, own->write.outer, own->write.inner};
  check_rows(c, ins, ins->size, count);
  if (own->dims[0] != 1 || write[0] || write[1] || write[2] != count || count < 1 || count > ins->size)
    SAY("rows written must lie side by side, each of 1 to %lld elements, got %lld by %s", LONG(ins->size), LONG(count),
        fg_tuple(c, write, 3));
  for (int i = 0; i < 2; i++) {
    int v = i ? ins->outputs[0] : ins->output;
    need_size_of(c, "output", v, fg_times(own->dims[1], count));
    need_clock_of_output(c, ins, v);
  }
}

/* Scans --------------------------------------------------------------------------------------------- */

/* A recurrent layer along an axis of a frame. */
static inline void check_scan(fg_walk *c, const fg_instruction *ins) {
  const fg_op_scan *own = &ins->scan;
  const fg_layer *layer = &own->layer->recurrent.layer;
  fg_reads reads;
  int right = check_layer(c, layer, &reads), read[5] = {ins->inputs[0]}, n = 1;
  c->recurrences[c->n_recurrences++] = -1;
  if (own->steps < 1 || own->rows < 1)
    SAY("steps and rows must be at least 1, got %lld and %lld", LONG(own->steps), LONG(own->rows));
  if (!right || own->steps < 1 || own->rows < 1) return;
  if (layer->last || !reads.width) SAY("layer of a scan must give all steps of floats, got one of the last step or of ids");
  if (ins->n_outputs == 2 && !has_cell_state(layer->phases[0].kind))
    SAY("outputs must be the final h alone for a cell without c, got two");
  fg_idx dims[] = {own->steps, own->rows, reads.width}, strides[] = {own->read.outer, own->read.inner, 1};
  fg_region from = region_of(own->read.offset, dims, strides, 3);
  check_inside(c, "read", c->values[ins->inputs[0]].size, &from);
  need_size(c, "output", ins->output, fg_times(fg_times(own->steps, own->rows), layer->features));
  fg_idx widths[] = {layer->features, layer->units, 1};
  for (int i = 0; i < ins->n_outputs; i++) {
    need_size(c, "a final state", ins->outputs[i], fg_times(own->rows, widths[i]));
    need_clock_of_output(c, ins, ins->outputs[i]);
  }
  if (own->n_operands != 3) {
    SAY("operands must be three, the initial h and c and the lengths, got %d", own->n_operands);
    return;
  }
  for (int i = 0; i < 3; i++) {
    fg_idx flat = fg_times(own->rows, widths[i]), step = 1;
    fg_region region = region_of(0, &flat, &step, 1);
    if (own->operands[i].buffer != FG_ABSENT) check_operand(c, i, &own->operands[i], &region, read, &n);
  }
  if (n != ins->n_inputs || memcmp(read, ins->inputs, (size_t)n * sizeof *read))
    SAY("inputs must be the buffers read, %s, got %s", fg_tuple_of_ints(c, read, n),
        fg_tuple_of_ints(c, ins->inputs, ins->n_inputs));
}

#endif
