/* A plan's buffers and clocks as its instructions are met in their order, and the problems found. */
#ifndef FASTGRU_PLAN_WALK_H
#define FASTGRU_PLAN_WALK_H

#include <stdarg.h>

#include "read.h"

enum { FG_PROBLEMS = 64, FG_PROBLEM = 320, FG_TEXTS = 4 };
enum fg_written { FG_UNKNOWN, FG_PARTLY, FG_WHOLE }; /* how much of a buffer earlier instructions have written */
enum fg_number { FG_FLOATS, FG_INTS, FG_BOOLS };     /* `NUMBERS` of fastgru/lowering/kinds.py */
enum fg_name { FG_NO_NAME, FG_H, FG_C, FG_Y, FG_HISTORY, FG_SUMS, FG_HELD }; /* `STATE_NAMES` of encoding.py */

/* A state that a stream shows: of a recurrence or line by its number, or, -1 - n, of buffer n. */
typedef struct {
  int key, name; /* the number of a text, enum fg_name */
  int64_t number;
  fg_shape shape;
} fg_shown;

typedef struct {
  int at; /* the instruction; -1: of the plan as a whole, -2 - n: of its nth state */
  char text[FG_PROBLEM];
} fg_problem;

/* What the engine gives, then the walk's own: arrays of as many as there are values, or instructions. */
typedef struct {
  const fg_value *values;
  const fg_instruction *instructions;
  const fg_shape *shapes; /* of arrays */
  const fg_shown *states;
  const int *inputs, *outputs, *loop_begin, *loop_end, *loop_clock;
  int n_values, n_instructions, n_states, n_inputs, n_outputs, n_loops, clocks, bases;
  uint8_t *written;      /* enum fg_written of each value */
  uint8_t *given;        /* of each value: 1 of an input, 2 of an output */
  uint8_t *shown;        /* of each line: 1 where its steps are shown, and 2 where their number is */
  int *lines;            /* of each line the instruction, -1: none; a line has a number below that of instructions */
  int *recurrences;      /* of each recurrence the instruction, -1 of a scan */
  int *writer, *earlier; /* of each value the last instruction that writes it, of that the one before it; -1: none */
  char *(*seen)(void *owner, size_t bytes); /* zeroed memory for a while, or NULL */
  void *owner;
  int n_lines, n_recurrences;
  int at, loop;          /* the instruction at hand, and the clock of the loop around it, counted from 1; 0: none */
  uint8_t known[FG_MAX_CLOCKS + 1]; /* clocks, counted from 1, whose steps are counted by then */
  fg_problem problems[FG_PROBLEMS];
  int n_problems;
  char texts[FG_TEXTS][64];
  int n_texts;
} fg_walk;

static const char *const fg_numbers[] = {"float", "int", "bool"};

__attribute__((format(printf, 3, 4))) static inline void fg_note(fg_walk *c, int at, const char *format, ...) {
  if (c->n_problems < FG_PROBLEMS) {
    fg_problem *to = &c->problems[c->n_problems];
    va_list given;
    va_start(given, format);
    vsnprintf(to->text, sizeof to->text, format, given);
    va_end(given);
    to->at = at;
  }
  c->n_problems++;
}

/* Add a problem of the instruction at hand, or of the plan. */
#define SAY(...) fg_note(c, c->at, __VA_ARGS__)
#define SAY_OF_PLAN(...) fg_note(c, -1, __VA_ARGS__)
#define LONG(n) ((long long)(n))

/* Integers as a message shows them, "(4, 3)"; the text holds until three more are made. */
static inline const char *fg_tuple(fg_walk *c, const fg_idx *given, int n) {
  char *text = c->texts[c->n_texts++ % FG_TEXTS];
  size_t room = sizeof c->texts[0], at = 0;
  text[at++] = '(';
  for (int i = 0; i < n; i++) {
    int more = snprintf(text + at, room - at, i ? ", %lld" : "%lld", LONG(given[i]));
    if (more < 0 || at + (size_t)more + 5 > room) {
      memcpy(text + at, "...", 4);
      return text;
    }
    at += (size_t)more;
  }
  memcpy(text + at, n == 1 ? ",)" : ")", n == 1 ? 3 : 2);
  return text;
}

static inline const char *fg_tuple_of_ints(fg_walk *c, const int *given, int n) {
  fg_idx wide[FG_AXES];
  for (int i = 0; i < n && i < FG_AXES; i++) wide[i] = given[i];
  return fg_tuple(c, wide, n < FG_AXES ? n : FG_AXES);
}

static inline const fg_instruction *at_hand(const fg_walk *c) { return &c->instructions[c->at]; }

/* The shape of an array; NULL of none. */
static inline const fg_shape *shape_of(const fg_walk *c, const void *array) {
  return array ? &c->shapes[(size_t)array - 1] : NULL;
}

/* Require a buffer of so many elements. */
static inline void need_size(fg_walk *c, const char *of, int buffer, fg_idx wanted) {
  fg_idx got = c->values[buffer].size;
  if (got != wanted) SAY("%s must have %lld elements, got %lld", of, LONG(wanted), LONG(got));
}

static inline void need_size_of(fg_walk *c, const char *of, int number, fg_idx wanted) {
  char text[32];
  snprintf(text, sizeof text, "%s %d", of, number);
  need_size(c, text, number, wanted);
}

/* Require the shape of an array, where one is given. */
static inline void need_shape(fg_walk *c, const char *path, const char *of, const void *array, int rank, const fg_idx *wanted) {
  const fg_shape *got = shape_of(c, array);
  if (got && (got->rank != rank || memcmp(got->dims, wanted, (size_t)rank * sizeof *wanted)))
    SAY("%s%s must have shape %s, got %s", path, of, fg_tuple(c, wanted, rank), fg_tuple(c, got->dims, got->rank));
}

#define SHAPE(...) \
  (int)(sizeof((fg_idx[]){__VA_ARGS__}) / sizeof(fg_idx)), (fg_idx[]) { __VA_ARGS__ }

/* Let a line count the steps of a clock from here on. */
static inline void define_clock(fg_walk *c, int clock) {
  if (c->known[clock])
    SAY("clock %d must be counted by nothing else, got one that the inputs or another line count", clock);
  c->known[clock] = 1;
}

static inline int clock_of(const fg_instruction *ins) { return ins->clock + 1; }

static inline int is_among(int v, const int *some, int n) {
  for (int i = 0; i < n; i++)
    if (some[i] == v) return 1;
  return 0;
}

/* Time: which buffers of an instruction have steps ------------------------------------------------ */

/* Inputs have as many steps as the output: rows are counted through all steps. */
static inline void time_alike(fg_walk *c, const fg_instruction *ins) {
  int made = c->values[ins->output].time;
  for (int i = 0; i < ins->n_inputs; i++) {
    int got = c->values[ins->inputs[i]].time;
    if (got != made) SAY("input %d must have the clock of the output, %d, got %d", ins->inputs[i], made, got);
  }
}

/* Output and inputs have the steps that it runs over. */
static inline void time_timed(fg_walk *c, const fg_instruction *ins) {
  int made = c->values[ins->output].time;
  if (made != clock_of(ins)) SAY("output must have clock %d, got %d", clock_of(ins), made);
  time_alike(c, ins);
}

/* No input has steps where the output has none. */
static inline void time_spread(fg_walk *c, const fg_instruction *ins) {
  if (c->values[ins->output].time) return;
  for (int i = 0; i < ins->n_inputs; i++) {
    int got = c->values[ins->inputs[i]].time;
    if (got) SAY("input %d must have no steps, as the output has none, got clock %d", ins->inputs[i], got);
  }
}

/* Further outputs have the steps that it runs over. */
static inline void need_steps_written(fg_walk *c, const fg_instruction *ins) {
  for (int i = 0; i < ins->n_outputs; i++) {
    int got = c->values[ins->outputs[i]].time;
    if (got != clock_of(ins)) SAY("output %d must have clock %d, got %d", ins->outputs[i], clock_of(ins), got);
  }
}

static inline void need_no_steps(fg_walk *c, const fg_instruction *ins) {
  int made = c->values[ins->output].time;
  if (made) SAY("output must have no steps, got clock %d", made);
}

static inline void need_steps_read(fg_walk *c, const fg_instruction *ins) {
  int got = c->values[ins->inputs[0]].time;
  if (got != clock_of(ins)) SAY("input must have clock %d, got %d", clock_of(ins), got);
}

/* A sequence to read, and an output for all its steps. */
static inline void time_ended(fg_walk *c, const fg_instruction *ins) {
  need_steps_read(c, ins);
  need_no_steps(c, ins);
}

/* Steps of the input and the mask, and of the output unless it is the last step's. */
static inline void time_followed(fg_walk *c, const fg_instruction *ins) {
  int wanted = ins->recurrent.layer.last ? 0 : clock_of(ins), made = c->values[ins->output].time;
  if (made != wanted) SAY("output must have clock %d, got %d", wanted, made);
  for (int i = 0; i < ins->n_inputs; i++) {
    int got = c->values[ins->inputs[i]].time;
    if (got != clock_of(ins)) SAY("input %d must have clock %d, got %d", ins->inputs[i], clock_of(ins), got);
  }
}

/* As followed; what is shown has steps, too. */
static inline void time_shown(fg_walk *c, const fg_instruction *ins) {
  time_followed(c, ins);
  need_steps_written(c, ins);
}

/* Steps of input and output, and lengths without. */
static inline void time_turned(fg_walk *c, const fg_instruction *ins) {
  for (int i = -1; i < ins->n_inputs; i++) {
    int v = i < 0 ? ins->output : ins->inputs[i], wanted = i < 1 ? clock_of(ins) : 0;
    if (c->values[v].time != wanted) SAY("buffer %d must have clock %d, got %d", v, wanted, c->values[v].time);
  }
}

/* As spread; a fold over all steps has an output for all of them. */
static inline void time_folded(fg_walk *c, const fg_instruction *ins) {
  if (ins->nest.over_time) need_no_steps(c, ins);
  else time_spread(c, ins);
}

/* A loop over the clock of what is stored, and a state. */
static inline void time_stored(fg_walk *c, const fg_instruction *ins) {
  if (!c->values[ins->output].state) SAY("output must be a state, got buffer %d, which is none", ins->output);
  if (!c->loop) SAY("a state must be stored in a loop, got an instruction outside of loops");
}

/* A sequence to read, and an output with steps. */
static inline void time_lined(fg_walk *c, const fg_instruction *ins) { need_steps_read(c, ins); }

#endif
