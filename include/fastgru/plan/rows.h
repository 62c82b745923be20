/* What bodies over whole rows need of their fields, recurrent layers among them. */
#ifndef FASTGRU_PLAN_ROWS_H
#define FASTGRU_PLAN_ROWS_H

#include "walk.h"

/* Inputs and output of `size` elements. */
static inline void check_same_size(fg_walk *c, const fg_instruction *ins) {
  for (int i = 0; i < ins->n_inputs; i++) need_size_of(c, "input", ins->inputs[i], ins->size);
  need_size(c, "output", ins->output, ins->size);
}

/* `size` elements, and a scale and a shift of as many. */
static inline void check_scaled(fg_walk *c, const fg_instruction *ins, const void *scale, const void *shift) {
  check_same_size(c, ins);
  need_shape(c, "", "scale", scale, SHAPE(ins->size));
  need_shape(c, "", "shift", shift, SHAPE(ins->size));
}

static inline void check_layer_norm(fg_walk *c, const fg_instruction *ins) {
  check_scaled(c, ins, ins->layer_norm.scale, ins->layer_norm.shift);
}

static inline void check_affine(fg_walk *c, const fg_instruction *ins) {
  check_scaled(c, ins, ins->affine.scale, ins->affine.shift);
}

static inline void check_activate(fg_walk *c, const fg_instruction *ins) {
  check_scaled(c, ins, NULL, ins->activate.shift);
}

/* An output of as many elements as all inputs have. */
static inline void check_concat(fg_walk *c, const fg_instruction *ins) {
  fg_idx sum = 0;
  for (int i = 0; i < ins->n_inputs; i++) sum += c->values[ins->inputs[i]].size;
  need_size(c, "output", ins->output, sum);
  need_size(c, "output", ins->output, ins->size);
}

/* A matrix of so many rows, or of any where that is -1, and `columns`; return its shape, NULL of any other. */
static inline const fg_shape *need_matrix(fg_walk *c, const fg_matrix *w, fg_idx rows, fg_idx columns) {
  const fg_shape *got = shape_of(c, w->data);
  if (got->rank != 2) {
    SAY("w must have two axes, got shape %s", fg_tuple(c, got->dims, got->rank));
    return NULL;
  }
  need_shape(c, "", "w", w->data, SHAPE(rows < 0 ? got->dims[0] : rows, columns < 0 ? got->dims[1] : columns));
  return got;
}

static inline void check_dense(fg_walk *c, const fg_instruction *ins) {
  const fg_shape *w = need_matrix(c, &ins->dense.w, ins->size, -1);
  need_shape(c, "", "bias", ins->dense.bias, SHAPE(ins->size));
  if (!w) return;
  need_size(c, "input", ins->inputs[0], w->dims[1]);
  need_size(c, "output", ins->output, ins->size);
}

/* Ids are checked to lie inside of a table of so many rows. */
static inline void need_bound(fg_walk *c, const char *of, int buffer, fg_idx rows) {
  fg_idx bound = c->values[buffer].bound;
  if (bound > rows)
    SAY("ids %d must be bounded by the %lld rows of %s, got a bound of %lld", buffer, LONG(rows), of, LONG(bound));
}

static inline void check_embedding(fg_walk *c, const fg_instruction *ins) {
  const fg_shape *w = need_matrix(c, &ins->embedding.w, -1, ins->size);
  if (!w) return;
  need_size(c, "output", ins->output, ins->size);
  need_bound(c, "w", ins->inputs[0], w->dims[0]);
}

static inline void check_mask(fg_walk *c, const fg_instruction *ins) { need_size(c, "input", ins->inputs[0], ins->size); }

static inline void check_apply_mask(fg_walk *c, const fg_instruction *ins) {
  need_size(c, "input", ins->inputs[0], ins->size);
  need_size(c, "output", ins->output, ins->size);
}

static inline void check_reverse(fg_walk *c, const fg_instruction *ins) { check_apply_mask(c, ins); }

/* Heads of queries, keys and values, and room for scores and the keys of a head at every step. */
static inline void check_attend(fg_walk *c, const fg_instruction *ins) {
  const fg_op_attend *own = &ins->attend;
  if (own->heads < 1 || own->width < 1 || ins->size < 1 || ins->size % own->heads) {
    SAY("heads and width must be at least 1, and size a multiple of heads, got %lld and %lld", LONG(own->heads),
        LONG(own->width));
    return;
  }
  need_size(c, "output", ins->output, ins->size);
  for (int i = 0; i < 3; i++)
    need_size_of(c, "input", ins->inputs[i], i < 2 ? fg_times(own->heads, own->width) : ins->size);
  if (ins->n_inputs > 3 && c->values[ins->inputs[3]].size != 1)
    need_size(c, "what is added", ins->inputs[3], own->heads);
  need_size(c, "room for keys", ins->outputs[1], own->width);
  need_steps_written(c, ins);
}

static inline void check_convert(fg_walk *c, const fg_instruction *ins) {
  if (c->values[ins->output].kind == FG_INTS)
    SAY("output must be floats or truth values, got integers, which only inputs have");
}

/* Recurrent layers ---------------------------------------------------------------------------------- */

static const int fg_gates[FG_PHASES] = {
  [FG_RNN] = 1, [FG_GRU_AFTER] = 3, [FG_GRU_AFTER_OUT] = 4, [FG_GRU_GATES] = 2, [FG_GRU_GATES_OUT] = 3,
  [FG_GRU_CANDIDATE] = 1, [FG_LSTM] = 4, [FG_LSTM_COUPLED] = 3, [FG_PROJECT] = 1,
};

/* Phases that follow each other, -1: none. */
static const int fg_chains[][2] = {
  {FG_RNN, -1}, {FG_GRU_AFTER, -1}, {FG_GRU_AFTER_OUT, -1}, {FG_LSTM, -1}, {FG_LSTM_COUPLED, -1},
  {FG_GRU_GATES, FG_GRU_CANDIDATE}, {FG_GRU_GATES_OUT, FG_GRU_CANDIDATE}, {FG_LSTM, FG_PROJECT},
  {FG_LSTM_COUPLED, FG_PROJECT},
};

static inline int has_cell_state(int phase) { return phase == FG_LSTM || phase == FG_LSTM_COUPLED; }

/* What a layer reads: rows of some width, or ids of a table of some rows; both 0: nothing. */
typedef struct {
  fg_idx width, rows;
} fg_reads;

/* The arrays of a phase of so many units and terms. */
static inline void check_phase(fg_walk *c, int number, const fg_phase *phase, fg_idx units, fg_idx terms, fg_reads *reads) {
  fg_idx gates = fg_gates[phase->kind];
  int alone = phase->kind == FG_PROJECT;
  const fg_shape *x = shape_of(c, phase->x.data), *table = shape_of(c, phase->table);
  char path[16];
  snprintf(path, sizeof path, "phases[%d].", number);
  *reads = (fg_reads){0, 0};
  need_shape(c, path, "u", phase->u.data, SHAPE(gates, units, terms));
  need_shape(c, path, "bias_x", phase->bias_x, SHAPE(gates, units));
  need_shape(c, path, "bias_h", phase->bias_h, SHAPE(gates, units));
  need_shape(c, path, "peephole", phase->peephole, SHAPE(3, units));
  if (phase->peephole && !has_cell_state(phase->kind))
    SAY("%speephole must be None for a cell that has none, got an array", path);
  if (alone ? x || table : !x == !table) {
    SAY("phases[%d] must have %s of x and table", number, alone ? "neither" : "one");
  } else if (table) {
    if (phase->bias_x) SAY("%sbias_x must be None beside a table, which has it, got an array", path);
    need_shape(c, path, "table", phase->table, SHAPE(table->dims[0], gates, units));
    reads->rows = table->dims[0];
  } else if (x) {
    if (!phase->bias_x) SAY("%sbias_x must be an array, got None", path);
    if (x->rank != 3) {
      SAY("%sx must have three axes, got shape %s", path, fg_tuple(c, x->dims, x->rank));
      return;
    }
    need_shape(c, path, "x", phase->x.data, SHAPE(gates, units, x->dims[2]));
    reads->width = x->dims[2];
  }
}

/* Whether the phases of a layer follow each other. */
static inline int check_chain(fg_walk *c, const fg_layer *layer) {
  int kinds[2] = {-1, -1};
  if (layer->n_phases < 1) {
    SAY("layer.phases must be one or two, got none");
    return 0;
  }
  for (int i = 0; i < layer->n_phases; i++) {
    kinds[i] = layer->phases[i].kind;
    if (kinds[i] < 0 || kinds[i] >= FG_PHASES) {
      SAY("phases[%d].kind must be the code of a kind of phase, got %d", i, kinds[i]);
      return 0;
    }
  }
  for (size_t i = 0; i < sizeof fg_chains / sizeof *fg_chains; i++)
    if (fg_chains[i][0] == kinds[0] && fg_chains[i][1] == kinds[1]) return 1;
  SAY("kinds of phases must follow each other, got %s", fg_tuple_of_ints(c, kinds, layer->n_phases));
  return 0;
}

/* A recurrent layer; return whether it is right, and what it reads. */
static inline int check_layer(fg_walk *c, const fg_layer *layer, fg_reads *reads) {
  int before = c->n_problems;
  if (!check_chain(c, layer)) return 0;
  const fg_phase *first = &layer->phases[0], *last = &layer->phases[layer->n_phases - 1];
  int gated = first->kind == FG_GRU_AFTER_OUT || first->kind == FG_GRU_GATES_OUT;
  fg_idx units = layer->units, features = layer->features;
  if (units < 1 || features < 1)
    SAY("layer.units and features must be at least 1, got %lld and %lld", LONG(units), LONG(features));
  if (last->kind != FG_PROJECT && features != units)
    SAY("layer.features must be as many as units, %lld, got %lld", LONG(units), LONG(features));
  if (layer->gated_output != gated)
    SAY("layer.gated_output must be %s for its phases, got %s", gated ? "True" : "False", gated ? "False" : "True");
  need_shape(c, "layer.", "initial_h", layer->initial_h, SHAPE(features));
  need_shape(c, "layer.", "initial_c", layer->initial_c, SHAPE(units));
  check_phase(c, 0, first, units, features, reads);
  if (layer->n_phases == 2) {
    fg_reads second;
    check_phase(c, 1, last, last->kind == FG_PROJECT ? features : units, units, &second);
    if ((second.width || second.rows) && memcmp(&second, reads, sizeof second))
      SAY("x or table of both phases must read inputs of one width, got others");
  }
  return c->n_problems == before;
}

static inline void check_recurrent(fg_walk *c, const fg_instruction *ins) {
  const fg_layer *layer = &ins->recurrent.layer;
  const fg_value *x = &c->values[ins->inputs[0]];
  fg_reads reads;
  c->recurrences[c->n_recurrences++] = c->at;
  if (!check_layer(c, layer, &reads)) return;
  if ((x->kind == FG_INTS) != (reads.width == 0))
    SAY("input must be %s, got a buffer of %s", reads.width ? "floats" : "ids", fg_numbers[x->kind]);
  else if (x->kind == FG_INTS) need_bound(c, "table", ins->inputs[0], reads.rows);
  else need_size(c, "input", ins->inputs[0], reads.width);
  need_size(c, "output", ins->output, layer->features);
  if (ins->size != layer->features)
    SAY("size must be the features, %lld, got %lld", LONG(layer->features), LONG(ins->size));
}

/* The gates and states that a layer can show, in ascending order of their codes; returns how many. */
static inline int find_shown(const fg_layer *layer, fg_idx *to) {
  int n = 0, cell = has_cell_state(layer->phases[0].kind);
  for (int p = 0; p < layer->n_phases; p++)
    for (int gate = 0; layer->phases[p].kind != FG_PROJECT && gate < fg_gates[layer->phases[p].kind]; gate++)
      to[n++] = p * FG_PHASE_GATES + gate;
  if (cell) to[n++] = FG_SHOWN_CELL;
  to[n++] = FG_SHOWN_HIDDEN;
  if (cell) to[n++] = FG_SHOWN_FORGET;
  return n;
}

/* A cell, and room for the gates and states that it shows, all of which it has. */
static inline void check_traced(fg_walk *c, const fg_instruction *ins) {
  const fg_op_traced *own = &ins->traced;
  const fg_layer *layer = &own->layer;
  fg_idx has[2 * FG_PHASE_GATES + 3], width = 0;
  int before = c->n_problems;
  check_recurrent(c, ins);
  if (c->n_problems > before) return;
  int n = find_shown(layer, has), unknown = 0;
  for (int i = 0; i < own->n_shown; i++) {
    int found = 0;
    for (int j = 0; j < n; j++) found |= has[j] == own->shown[i];
    unknown += !found;
    width = fg_plus(width, own->shown[i] == FG_SHOWN_HIDDEN ? layer->features : layer->units);
  }
  if (unknown)
    SAY("shown must be some of %s, which the cell has, got %s", fg_tuple(c, has, n),
        fg_tuple_of_ints(c, own->shown, own->n_shown));
  if (ins->n_outputs != (own->n_shown > 0))
    SAY("outputs must be one where something is shown, else none, got %d", ins->n_outputs);
  for (int i = 0; i < ins->n_outputs; i++) need_size(c, "what is shown", ins->outputs[i], width);
}

#endif
