/* Check a plan that comes from a file before the engine trusts it.
 *
 * Bodies read and write where the fields of their instructions say. `fg_check` finds a problem unless every access lies
 * inside of a buffer or array that belongs to the plan, whatever the numbers in its arrays are. What stays in a line
 * from call to call follows from how many steps a call has: the engine checks that as it runs (ops/lines.h). */
#ifndef FASTGRU_PLAN_CHECK_H
#define FASTGRU_PLAN_CHECK_H

#include "steps.h"

/* A row of `Needs`, see fastgru/lowering/kinds.py. */
typedef struct {
  const char *mnemonic;
  void (*time)(fg_walk *, const fg_instruction *);
  void (*check)(fg_walk *, const fg_instruction *);
  int inputs[2], outputs[2], first, rest, made, whole;
} fg_needs;

#define FG_NEED(op, time, check, least, most, fewest, further, first, rest, made, whole) \
  [FG_OP_##op] = {#op, time_##time, check_##check, {least, most}, {fewest, further}, first, rest, made, whole},
static const fg_needs fg_all_needs[] = {FG_EACH_NEED(FG_NEED)};

/* Buffers and loops --------------------------------------------------------------------------------- */

/* Every buffer by itself. */
static inline void check_buffer(fg_walk *c, int n, const fg_value *v) {
  const fg_shape *initial = shape_of(c, v->initial);
  if ((v->size > 0) != (v->kind == FG_FLOATS))
    SAY_OF_PLAN("buffer %d: size must be at least 1 for float and 0 for int and bool, got %lld for %s", n,
                LONG(v->size), fg_numbers[v->kind]);
  else if (v->time > c->clocks)
    SAY_OF_PLAN("buffer %d: time must be at most %d, got %d", n, c->clocks, v->time);
  else if (v->slot < -1 || v->slot >= c->n_values)
    SAY_OF_PLAN("buffer %d: slot must be -1 to %d, got %d", n, c->n_values - 1, v->slot);
  else if (v->slot >= 0 && (v->state || v->line || v->apart))
    SAY_OF_PLAN("buffer %d: slot must be -1 of a state, of a line and of what lies apart, got %d", n, v->slot);
  else if (v->state && (v->time || v->line || v->kind != FG_FLOATS))
    SAY_OF_PLAN("buffer %d: a state must be floats without time and no line, got others", n);
  else if (initial && (!v->state || fg_elements(initial) != v->size))
    SAY_OF_PLAN("buffer %d: initial must be of a state and have %lld elements, got shape %s", n, LONG(v->size),
                fg_tuple(c, initial->dims, initial->rank));
  else if (v->line && (!v->time || v->kind != FG_FLOATS))
    SAY_OF_PLAN("buffer %d: a line must be floats with time, got others", n);
}

static inline fg_idx item_elements(const fg_value *v) {
  fg_idx n = 1;
  for (int i = 0; i < v->n_shape; i++) n = fg_times(n, v->shape[i]);
  return n;
}

/* Inputs and outputs: some buffers, each once. */
static inline int check_which(fg_walk *c) {
  for (int i = 0; i < c->n_inputs + c->n_outputs; i++) {
    int v = i < c->n_inputs ? c->inputs[i] : c->outputs[i - c->n_inputs];
    if (v < 0 || v >= c->n_values) {
      SAY_OF_PLAN("inputs and outputs must be buffers 0 to %d, got %d", c->n_values - 1, v);
      return 0;
    }
    if (c->given[v]) {
      SAY_OF_PLAN("inputs and outputs must be some buffers, each once, got %d twice", v);
      return 0;
    }
    c->given[v] = i < c->n_inputs ? 1 : 2;
  }
  if (!c->n_inputs || !c->n_outputs)
    SAY_OF_PLAN("inputs and outputs must be some buffers, each once, got %d and %d", c->n_inputs, c->n_outputs);
  return c->n_inputs && c->n_outputs;
}

static inline void check_ends(fg_walk *c) {
  if (!check_which(c)) return;
  for (int v = 0; v < c->n_values; v++) {
    const fg_value *own = &c->values[v];
    int input = c->given[v] == 1;
    fg_idx wanted = own->kind == FG_FLOATS ? own->size : 1;
    c->written[v] = input ? FG_WHOLE : own->state ? FG_PARTLY : FG_UNKNOWN;
    if (own->kind == FG_INTS && !input) SAY_OF_PLAN("buffer %d must be an input as it has ids, got another", v);
    if (!c->given[v]) continue;
    if (own->state || own->line || own->slot != -1)
      SAY_OF_PLAN("buffer %d must be no state, no line and in no slot as it is the caller's, got one", v);
    if (item_elements(own) != wanted)
      SAY_OF_PLAN("shape of buffer %d must have %lld elements, got %s", v, LONG(wanted),
                  fg_tuple(c, own->shape, own->n_shape));
    if (own->kind == FG_INTS && own->n_shape)
      SAY_OF_PLAN("shape of buffer %d must be () as it has ids, got %s", v, fg_tuple(c, own->shape, own->n_shape));
    if (input && (own->time > c->bases || own->kind == FG_BOOLS || own->dtype))
      SAY_OF_PLAN("input %d must be floats or ids with a clock of 0 to %d and no dtype, got others", v, c->bases);
    if (!input && own->kind != FG_FLOATS) SAY_OF_PLAN("output %d must be floats, got %s", v, fg_numbers[own->kind]);
  }
}

/* Where loops begin and end. */
static inline void check_spans(fg_walk *c) {
  int last = 0;
  for (int i = 0; i < c->n_loops; i++) {
    int begin = c->loop_begin[i], end = c->loop_end[i], clock = c->loop_clock[i] + 1, stores = 0;
    if (begin < last || begin >= end || end > c->n_instructions) {
      SAY_OF_PLAN("loop from %d to %d must lie behind %d and within %d", begin, end, last, c->n_instructions);
    } else {
      for (int j = begin; j < end; j++) stores |= c->instructions[j].op == FG_OP_STORE;
      if (!stores) SAY_OF_PLAN("loop from %d to %d must store a state, got none that does", begin, end);
    }
    if (clock < 1 || clock > c->clocks)
      SAY_OF_PLAN("clock of the loop from %d must be 1 to %d, got %d", begin, c->clocks, clock);
    last = end;
  }
}

/* What every instruction has ------------------------------------------------------------------------ */

static inline int never_looped(int op) {
  return op == FG_OP_OVERLAP_ADD || op == FG_OP_MIRROR || op == FG_OP_WAIT || op == FG_OP_REVERSE ||
         op == FG_OP_ATTEND;
}

static inline int in_slot(const fg_walk *c, const int *buffers, int n, int slot) {
  int found = 0;
  for (int i = 0; i < n; i++) found += c->values[buffers[i]].slot == slot;
  return found;
}

/* A buffer that an instruction writes. */
static inline void check_made(fg_walk *c, const fg_instruction *ins, const fg_needs *needs, int v) {
  const fg_value *own = &c->values[v];
  int line = fg_is_line(ins), written = c->written[v], clock = clock_of(ins);
  if (is_among(v, ins->inputs, ins->n_inputs) || (v == ins->output) + is_among(v, ins->outputs, ins->n_outputs) > 1 ||
      (ins->n_outputs == 2 && ins->outputs[0] == ins->outputs[1]))
    SAY("buffers written must be others than those read, each once, got %d of %s", v,
        fg_tuple_of_ints(c, ins->inputs, ins->n_inputs));
  if (own->slot >= 0 && in_slot(c, ins->inputs, ins->n_inputs, own->slot) + in_slot(c, &ins->output, 1, own->slot) +
                                in_slot(c, ins->outputs, ins->n_outputs, own->slot) > 1)
    SAY("buffer %d must share memory with no other that the instruction needs, got slot %d", v, own->slot);
  if (written == FG_WHOLE || (needs->whole && written == FG_PARTLY))
    SAY("buffer %d must be written by no other instruction, got one that is", v);
  if (own->time && own->time != clock && !line)
    SAY("output %d must have clock %d or none, got %d", v, clock, own->time);
  if (own->time && c->loop && own->time != c->loop)
    SAY("output %d must have the clock of the loop, %d, or none, got %d", v, c->loop, own->time);
  if (line && !own->time) SAY("output %d must have a clock, got none", v);
  if (own->state != (ins->op == FG_OP_STORE))
    SAY("a state must be written by a store, and nothing else be, got buffer %d", v);
  if (needs->made >= 0 && own->kind != needs->made)
    SAY("output %d must be of %s, got %s", v, fg_numbers[needs->made], fg_numbers[own->kind]);
  if (own->line != (ins->op == FG_OP_WINDOW || ins->op == FG_OP_WAIT))
    SAY("a line must be the output of windows or a wait, and nothing else be, got buffer %d", v);
  if (own->stays && ins->op != FG_OP_WINDOW)
    SAY("buffer %d must not stay at its place, as it is not of windows", v);
}

/* A buffer that an instruction reads. */
static inline void check_read(fg_walk *c, const fg_instruction *ins, int v, int kinds, int apart) {
  static const char *const words[] = {
    "", "float", "int", "float or int", "bool", "float or bool", "int or bool", "float or int or bool",
  };
  const fg_value *own = &c->values[v];
  if (!(kinds & 1 << own->kind)) SAY("input %d must be of %s, got %s", v, words[kinds], fg_numbers[own->kind]);
  if (c->written[v] == FG_UNKNOWN) SAY("input %d must be written before, got one that is not", v);
  if (own->time && own->time != clock_of(ins) && !apart)
    SAY("input %d must have clock %d or none, got %d", v, clock_of(ins), own->time);
  if (own->time && c->loop && own->time != c->loop)
    SAY("input %d must have the clock of the loop, %d, or none, got %d", v, c->loop, own->time);
}

static inline void check_numbers(fg_walk *c, const int *buffers, int n) {
  for (int i = 0; i < n; i++)
    if (buffers[i] < 0 || buffers[i] >= c->n_values)
      SAY("buffers must be 0 to %d, got %d", c->n_values - 1, buffers[i]);
}

/* Check what every instruction has against its row; return whether it is right. */
static inline int check_common(fg_walk *c, const fg_instruction *ins, const fg_needs *needs) {
  int before = c->n_problems, clock = clock_of(ins);
  if (ins->n_inputs < needs->inputs[0] || ins->n_inputs > needs->inputs[1])
    SAY("inputs must be %d to %d, got %d", needs->inputs[0], needs->inputs[1], ins->n_inputs);
  if (ins->n_outputs < needs->outputs[0] || ins->n_outputs > needs->outputs[1])
    SAY("outputs must be %d to %d, got %d", needs->outputs[0], needs->outputs[1], ins->n_outputs);
  if (ins->n_held && ins->op != FG_OP_TIME_STEP)
    SAY("held must be () for what holds no numbers, got %s", fg_tuple_of_ints(c, ins->held, ins->n_held));
  check_numbers(c, &ins->output, 1);
  check_numbers(c, ins->inputs, ins->n_inputs);
  check_numbers(c, ins->outputs, ins->n_outputs);
  check_numbers(c, ins->held, ins->n_held);
  if (clock < 1 || clock > c->clocks || !c->known[clock])
    SAY("clock must be one that is counted before, got %d", clock);
  if (c->n_problems > before) return 0;
  if (c->loop && never_looped(ins->op)) SAY("must not be in a loop, as it needs more than one step");
  for (int i = 0; i < ins->n_inputs; i++)
    check_read(c, ins, ins->inputs[i], i ? needs->rest : needs->first, i && fg_is_line(ins));
  check_made(c, ins, needs, ins->output);
  for (int i = 0; i < ins->n_outputs; i++) check_made(c, ins, needs, ins->outputs[i]);
  return c->n_problems == before;
}

/* Every instruction, in order. */
static inline void check_instructions(fg_walk *c) {
  int next = 0, end = 0;
  for (c->at = 0; c->at < c->n_instructions; c->at++) {
    const fg_instruction *ins = at_hand(c);
    const fg_needs *needs = &fg_all_needs[ins->op];
    int before;
    if (c->at >= end) c->loop = 0;
    if (next < c->n_loops && c->at == c->loop_begin[next]) {
      end = c->loop_end[next];
      c->loop = c->loop_clock[next++] + 1;
      if (!c->known[c->loop]) SAY("clock %d of the loop must be counted before it, got one that is not", c->loop);
    }
    if (!check_common(c, ins, needs)) continue;
    before = c->n_problems;
    needs->time(c, ins);
    if (c->n_problems == before) needs->check(c, ins);
    c->written[ins->output] = needs->whole ? FG_WHOLE : FG_PARTLY;
    c->earlier[c->at] = c->writer[ins->output], c->writer[ins->output] = c->at;
    for (int i = 0; i < ins->n_outputs; i++) c->written[ins->outputs[i]] = c->written[ins->output];
  }
}

/* What only the whole plan shows -------------------------------------------------------------------- */

static inline fg_idx region_elements(const fg_region *region) {
  fg_idx n = 1;
  for (int i = 0; i < region->rank; i++) n = fg_times(n, region->dims[i]);
  return n;
}

static inline void mark_region(char *seen, const fg_region *region) {
  fg_idx at[FG_RANK] = {0}, place = region->offset;
  for (fg_idx left = region_elements(region); left > 0; left--) {
    seen[place] = 1;
    for (int i = region->rank - 1; i >= 0; i--) {
      place += region->strides[i];
      if (++at[i] < region->dims[i]) break;
      place -= region->strides[i] * region->dims[i];
      at[i] = 0;
    }
  }
}

/* Whether the instructions that write parts of a buffer write all of it: each writes its elements once. */
static inline int is_covered(const fg_walk *c, int v) {
  fg_idx sum = 0, size = c->values[v].size;
  for (int pass = 0; pass < 2; pass++) {
    char *seen = pass ? c->seen(c->owner, (size_t)size) : NULL;
    if (pass && !seen) return 0;
    for (int i = c->writer[v]; i >= 0; i = c->earlier[i]) {
      fg_region region = written_region(&c->instructions[i]);
      fg_idx n = region_elements(&region);
      if (n >= size) return 1;
      if (pass) mark_region(seen, &region);
      sum = fg_plus(sum, n);
    }
    if (sum < size) return 0;
    if (pass) return !memchr(seen, 0, (size_t)size);
  }
  return 0;
}

static inline void check_outputs(fg_walk *c) {
  for (int i = 0; i < c->n_outputs; i++) {
    int v = c->outputs[i];
    if (c->written[v] == FG_UNKNOWN)
      SAY_OF_PLAN("output %d must be written by an instruction, got one that is not", v);
    else if (c->written[v] == FG_PARTLY && !is_covered(c, v))
      SAY_OF_PLAN("output %d must be written in whole, got one that is written in part", v);
    c->written[v] = FG_WHOLE; /* looked at once, however often it is an output */
  }
}

static inline void check_counts(fg_walk *c) {
  int unknown = 0;
  for (int clock = 1; clock <= c->clocks; clock++) unknown += !c->known[clock];
  if (unknown) SAY_OF_PLAN("clocks must each be counted by the inputs or a line, got %d that are not", unknown);
  for (int n = c->n_lines; n < c->n_instructions; n++)
    if (c->lines[n] >= 0) SAY_OF_PLAN("lines must be numbered 0 to %d, got %d", c->n_lines - 1, n);
}

/* Which lines a wait counts. */
static inline void check_meeting(fg_walk *c, const fg_instruction *ins) {
  const fg_op_wait *own = &ins->wait;
  int itself = !own->n_meeting;
  for (int i = 0; i < own->n_meeting; i++) itself |= own->meeting[i][0] == own->window;
  if (!itself) SAY("meeting must have the wait's own line, %d, got others", own->window);
  for (int i = 0; i < own->n_meeting; i++) {
    int number = own->meeting[i][0], at = number >= 0 && number < c->n_instructions ? c->lines[number] : -1;
    const fg_instruction *other = &c->instructions[at < 0 ? 0 : at];
    if (at < c->at || other->op != FG_OP_WAIT)
      SAY("meeting must have lines of this and later waits, got %d", number);
    else if (clock_of(other) != own->meeting[i][1] || c->values[other->output].time != c->values[ins->output].time)
      SAY("meeting must have the clock of the steps of line %d, %d, and wait for one clock", number, clock_of(other));
  }
}

/* A state of a buffer, recurrence or line, in its own shape. */
static inline int is_shown(fg_walk *c, const fg_shown *state) {
  const fg_shape *shape = &state->shape;
  int64_t n = state->number;
  int name = state->name, least = 1;
  for (int i = 0; i < shape->rank; i++) least &= shape->dims[i] >= 1;
  if (n < 0) {
    const fg_value *own = -1 - n < c->n_values ? &c->values[-1 - n] : NULL;
    return own && own->state && name == FG_NO_NAME && least && fg_elements(shape) == own->size;
  }
  if (name == FG_H || name == FG_C || name == FG_Y) {
    if (n >= c->n_recurrences || c->recurrences[n] < 0) return 0;
    const fg_layer *layer = &c->instructions[c->recurrences[n]].recurrent.layer;
    return shape->rank == 1 && shape->dims[0] == (name == FG_C ? layer->units : layer->features);
  }
  if (n >= c->n_lines || name == FG_NO_NAME || c->shown[n] & (name == FG_HELD ? 2 : 1)) return 0;
  const fg_instruction *ins = &c->instructions[c->lines[n]];
  c->shown[n] |= name == FG_HELD ? 2 : 1;
  if (name == FG_HELD) return shape->rank == 0;
  fg_shape item = {.rank = shape->rank - 1};
  if (shape->rank < 1 || (name == FG_SUMS) != (ins->op == FG_OP_OVERLAP_ADD)) return 0;
  memcpy(item.dims, shape->dims + 1, (size_t)item.rank * sizeof *item.dims);
  return shape->dims[0] == ins->line.kept && fg_elements(&item) == ins->size;
}

/* The states that a stream shows and sets: all lines, each with its own shape. */
static inline void check_states(fg_walk *c) {
  for (int i = 0; i < c->n_states; i++) {
    const fg_shown *state = &c->states[i];
    if (!is_shown(c, state))
      fg_note(c, -2 - i, "must show %s in its shape, got number %lld and shape %s",
              state->number < 0 ? "a buffer that is a state" : "a recurrence or a line", LONG(state->number),
              fg_tuple(c, state->shape.dims, state->shape.rank));
  }
  for (int n = 0; n < c->n_lines; n++)
    if (c->shown[n] != 3) SAY_OF_PLAN("states must show all lines and what they hold, got none for line %d", n);
}

/* Check a plan; its problems are in the walk. */
static inline void fg_check(fg_walk *c) {
  c->at = -1;
  for (int i = 0; i < c->n_instructions; i++) c->lines[i] = -1;
  for (int v = 0; v < c->n_values; v++) c->writer[v] = -1;
  for (int clock = 1; clock <= c->bases; clock++) c->known[clock] = 1;
  for (int v = 0; v < c->n_values; v++) check_buffer(c, v, &c->values[v]);
  if (!c->n_problems) check_ends(c);
  if (!c->n_problems) check_spans(c);
  if (!c->n_problems) check_instructions(c);
  if (c->n_problems) return;
  check_counts(c);
  if (c->n_problems) return;
  check_outputs(c);
  for (c->at = 0; c->at < c->n_instructions; c->at++)
    if (at_hand(c)->op == FG_OP_WAIT) check_meeting(c, at_hand(c));
  check_states(c);
}

#endif
