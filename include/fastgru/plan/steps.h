/* What bodies over lines of steps need of their fields, and the step that is taken from a sequence. */
#ifndef FASTGRU_PLAN_STEPS_H
#define FASTGRU_PLAN_STEPS_H

#include "frames.h"

/* What all lines have: their number, sizes, and room for the steps that stay. */
static inline void check_line(fg_walk *c, const fg_instruction *ins, fg_idx given, fg_idx fewest) {
  const fg_op_line *line = &ins->line;
  if (line->window >= c->n_instructions) {
    SAY("window must be the number of a line, below %d, got %d", c->n_instructions, line->window);
  } else {
    if (c->lines[line->window] >= 0) SAY("window must be the number of one line alone, got %d again", line->window);
    c->lines[line->window] = c->at;
  }
  c->n_lines++;
  if (ins->size < 1 || line->reach < 1 || line->stride < 1)
    SAY("size, reach and stride must be at least 1, got %lld, %lld and %lld", LONG(ins->size), LONG(line->reach),
        LONG(line->stride));
  need_size(c, "input", ins->inputs[0], given);
  if (line->kept < fewest)
    SAY("kept must be at least %lld, the steps that stay from call to call, got %lld", LONG(fewest), LONG(line->kept));
}

static inline fg_idx largest(fg_idx a, fg_idx b) { return a > b ? a : b; }

/* Windows over steps; those with another clock count it. */
static inline void check_window(fg_walk *c, const fg_instruction *ins) {
  const fg_op_window *own = &ins->window;
  const fg_value *out = &c->values[ins->output];
  check_line(c, ins, ins->size, largest(own->before, own->reach - 1));
  need_size(c, "output", ins->output, fg_times(own->reach, ins->size));
  if (own->n_bounds && (own->before || own->after))
    SAY("before and after must be 0 for windows of a slice, got %lld and %lld", LONG(own->before), LONG(own->after));
  if (out->time == clock_of(ins)) {
    if (own->stride != 1 || own->before != own->reach - 1 || own->after || own->n_bounds)
      SAY("windows with the clock of their steps must be one for each step, got other strides or padding");
  } else if (c->loop) {
    SAY("windows in a loop must have its clock, %d, got %d", c->loop, out->time);
  } else {
    define_clock(c, out->time);
  }
  if (out->stays != (c->loop > 0))
    SAY("output must %s at its place, got stays=%s", c->loop ? "stay" : "not stay", out->stays ? "True" : "False");
}

/* Frames added into a line, whose output has a clock of its own. */
static inline void check_overlap_add(fg_walk *c, const fg_instruction *ins) {
  const fg_op_overlap_add *own = &ins->overlap_add;
  check_line(c, ins, fg_times(own->reach, ins->size),
             largest(largest(own->lead + own->reach, own->stride), own->after + own->rest));
  need_size(c, "output", ins->output, ins->size);
  if (own->before < 0) SAY("before must be at least 0, got %lld", LONG(own->before));
  define_clock(c, c->values[ins->output].time);
}

/* Steps behind their mirror image, which have a clock of their own. */
static inline void check_mirror(fg_walk *c, const fg_instruction *ins) {
  const fg_op_line *own = &ins->line;
  check_line(c, ins, ins->size, own->reach);
  need_size(c, "output", ins->output, ins->size);
  if (own->before < 0 || own->stride != 1)
    SAY("before must be at least 0 and stride 1, got %lld and %lld", LONG(own->before), LONG(own->stride));
  if (own->reach > 1 && largest(own->before, own->after) >= own->reach)
    SAY("before and after must be below reach, %lld, got %lld and %lld", LONG(own->reach), LONG(own->before),
        LONG(own->after));
  define_clock(c, c->values[ins->output].time);
}

/* Steps that wait for another clock, or count it with others that wait. */
static inline void check_wait(fg_walk *c, const fg_instruction *ins) {
  const fg_op_wait *own = &ins->wait;
  int time = c->values[ins->output].time;
  check_line(c, ins, ins->size, 0);
  need_size(c, "output", ins->output, ins->size);
  if (own->reach != 1 || own->stride != 1 || own->before || own->after)
    SAY("a wait must have reach and stride 1 and no padding, got others");
  if (!own->n_meeting) {
    if (!c->known[time]) SAY("clock %d of the output must be counted before, got one that is not", time);
    return;
  }
  for (int i = 0; i < own->n_meeting; i++) {
    int clock = own->meeting[i][1];
    if (clock < 1 || clock > c->clocks || !c->known[clock])
      SAY("clock %d of what waits must be counted before, got one that is not", clock);
  }
  define_clock(c, time);
}

/* A step taken from a sequence, and the states that keep it. */
static inline void check_time_step(fg_walk *c, const fg_instruction *ins) {
  const fg_op_time_step *own = &ins->time_step;
  int keeps = own->last ? 1 : 2;
  if (own->kept < 1 || (!own->last && own->kept != 1))
    SAY("kept must be %s, got %lld", own->last ? "at least 1" : "1", LONG(own->kept));
  if (ins->n_held != keeps || ins->n_inputs != keeps + 1 ||
      memcmp(ins->inputs + 1, ins->held, (size_t)keeps * sizeof *ins->held)) {
    SAY("held must be the %d buffers read behind the input, got %s of %s", keeps,
        fg_tuple_of_ints(c, ins->held, ins->n_held), fg_tuple_of_ints(c, ins->inputs, ins->n_inputs));
    return;
  }
  need_size_of(c, "buffer", ins->inputs[0], ins->size);
  need_size_of(c, "buffer", ins->output, ins->size);
  for (int i = 0; i < keeps; i++) {
    need_size_of(c, "buffer", ins->held[i], i ? 1 : fg_times(own->kept, ins->size));
    if (!c->values[ins->held[i]].state) SAY("held must be states, got buffer %d, which is none", ins->held[i]);
  }
}

#endif
