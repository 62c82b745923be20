/* Steps in lines of memory that are kept from call to call: windows, overlap-adds, mirror images, waits; and the one
 * step that is taken from a sequence. */
#ifndef FASTGRU_OPS_LINES_H
#define FASTGRU_OPS_LINES_H

#include "due.h"

/* Row b's part of a line. */
static inline char *line_of(const fg_window *w, fg_idx b, fg_idx width) { return w->line + b * w->capacity * width; }

/* Move the steps that are still needed to the beginning of the line. */
static inline void drop_steps(const fg_window *w, char *line, fg_idx kept, fg_idx width) {
  if (w->drop > 0 && kept > 0) memmove(line, line + w->drop * width, (size_t)(kept * width));
}

/* Let the clock of a line's output count `due` steps of this block. False where the line has no room for the steps it
 * then holds, or the values of that clock and the arrays of the caller have none for `due`: the plan is not consistent,
 * and the clock counts no step. Only what stays in a line is not known before; see plan/check.h. */
static inline int count_steps(const fg_instruction *ins, fg_run *run, const fg_window *w, fg_idx held, fg_idx due) {
  const int clock = run->values[ins->output].clock;
  const fg_idx room = fg_min(run->room[clock], run->due[clock] - run->done[clock]);
  const int fits = held <= w->capacity && due >= 0 && due <= room;
  run->steps[clock] = fits ? due : 0;
  if (!fits) run->misfit = ins->node + 1;
  return fits;
}

/* Steps outside of the sequence. */
static void fill_steps(const fg_instruction *ins, const fg_run *run, char *to, fg_idx steps) {
  for (fg_idx i = 0; i < steps * ins->size; i++) set_number(to, i, run->kernels->item, ins->line.fill);
}

/* Take in the steps of this block and show the windows that are due, as overlapping rows. */
static void execute_window(const fg_instruction *ins, fg_run *run) {
  const fg_op_window *window = &ins->window;
  fg_window *w = &run->windows[window->window];
  const fg_idx item = run->kernels->item, width = ins->size * item;
  const fg_idx kept = fg_max(0, fg_held_before(w)), skip = fg_max(0, -fg_held_before(w));
  const fg_idx extra = run->flush ? fg_max(0, window->after - fg_max(0, skip - run->T)) : 0;
  fg_idx taken = fg_max(0, run->T - skip), first = run->T - taken;
  if (window->n_bounds) first = place_of(window->bounds[0], run->T), taken = fg_sliced_steps(window, run->T);
  const fg_idx due = fg_windows_due(&ins->line, kept + taken + extra);
  if (!count_steps(ins, run, w, kept + taken + extra, due)) return;
  for (fg_idx b = 0; b < run->B; b++) {
    char *line = line_of(w, b, width);
    drop_steps(w, line, kept, width);
    for (fg_idx t = 0; t < taken; t++)
      memcpy(line + (kept + t) * width, fg_row(&run->rows[ins->inputs[0]], item, first + t, b), (size_t)width);
    fill_steps(ins, run, line + (kept + taken) * width, extra);
  }
  w->held = kept + taken + extra;
  w->drop = due * window->stride;
  if (skip > run->T) w->drop = w->held + skip - run->T; /* the whole block was skipped */
}

/* Take in the steps of this block and show as many of the oldest as the other clock counts. */
static void execute_wait(const fg_instruction *ins, fg_run *run) {
  const fg_op_wait *wait = &ins->wait;
  fg_window *w = &run->windows[wait->window];
  const fg_idx item = run->kernels->item, width = ins->size * item, kept = fg_held_before(w);
  fg_idx due = run->steps[run->values[ins->output].clock];
  if (wait->n_meeting) due = fg_meeting_due(wait, run->windows, run->steps);
  const fg_idx stay = kept + run->T - due; /* at the end of a sequence, others may give more than this line will see */
  const int wrong = kept < 0 || stay < 0 || (stay > wait->kept && !run->flush);
  if (!count_steps(ins, run, w, kept + run->T, wrong ? -1 : due)) return;
  for (fg_idx b = 0; b < run->B; b++) {
    char *line = line_of(w, b, width);
    drop_steps(w, line, kept, width);
    for (fg_idx t = 0; t < run->T; t++)
      memcpy(line + (kept + t) * width, fg_row(&run->rows[ins->inputs[0]], item, t, b), (size_t)width);
  }
  w->held = kept + run->T;
  w->drop = due;
}

/* Step t of those in the line and those of this block behind them. */
static inline const char *step_of(const fg_instruction *ins, const fg_run *run, const char *line, fg_idx held, fg_idx t,
                                  fg_idx b) {
  const fg_idx item = run->kernels->item;
  return t < held ? line + t * ins->size * item : fg_row(&run->rows[ins->inputs[0]], item, t - held, b);
}

/* Give the steps of this block, behind their mirror image (of one step: itself) as soon as that can be made. */
static void execute_mirror(const fg_instruction *ins, fg_run *run) {
  const fg_op_line *mirror = &ins->line;
  fg_window *w = &run->windows[mirror->window];
  const fg_rows *y = &run->rows[ins->output];
  const fg_idx item = run->kernels->item, width = ins->size * item, held = w->held, all = held + run->T;
  const fg_idx due = fg_mirror_due(mirror, w, run->T, run->flush), kept = fg_min(all, mirror->reach);
  const int begins = due > 0 && held < mirror->reach, edge = mirror->reach == 1;
  if (!count_steps(ins, run, w, kept, due)) return;
  for (fg_idx b = 0; b < run->B; b++) {
    char *line = line_of(w, b, width);
    fg_idx at = 0;
    for (fg_idx t = 0; t < (begins ? mirror->before : 0); t++, at++)
      memcpy(fg_row(y, item, at, b), step_of(ins, run, line, held, edge ? 0 : mirror->before - t, b), (size_t)width);
    for (fg_idx t = begins ? 0 : held; t < (due > 0 ? all : 0); t++, at++)
      memcpy(fg_row(y, item, at, b), step_of(ins, run, line, held, t, b), (size_t)width);
    for (fg_idx last = all - 1, t = edge ? last : last - 1; at < due; at++, t -= !edge)
      memcpy(fg_row(y, item, at, b), step_of(ins, run, line, held, t, b), (size_t)width);
    for (fg_idx t = 0; t < kept; t++) /* its place is never before that of the step */
      memmove(line + t * width, step_of(ins, run, line, held, all - kept + t, b), (size_t)width);
  }
  w->held = kept;
}

/* Add n numbers. */
static void add_numbers(char *to, const char *x, fg_idx n, fg_idx item) {
  if (item == 4)
    for (fg_idx i = 0; i < n; i++) ((float *)to)[i] += ((const float *)x)[i];
  else
    for (fg_idx i = 0; i < n; i++) ((double *)to)[i] += ((const double *)x)[i];
}

/* Move the sums to the beginning of their line, with zeros behind them. */
static inline char *to_beginning(char *line, char *sums, fg_idx kept) {
  memmove(line, sums, (size_t)kept);
  memset(line + kept, 0, (size_t)(sums - line));
  return line;
}

/* Add each frame to the steps not yet complete and give out the first `stride` of them. */
static void execute_overlap_add(const fg_instruction *ins, fg_run *run) {
  const fg_op_overlap_add *to = &ins->overlap_add;
  fg_window *w = &run->windows[to->window];
  const fg_rows *y = &run->rows[ins->output];
  const fg_idx item = run->kernels->item, width = ins->size * item, hop = to->stride;
  const fg_idx due = fg_overlaps_due(to, w, run->T, run->flush, run->rest);
  const fg_idx end = (w->capacity - to->kept) * width;
  if (!count_steps(ins, run, w, to->kept, due)) return;
  for (fg_idx b = 0; b < run->B; b++) {
    char *line = line_of(w, b, width), *sums = line;
    fg_idx at = -w->drop;
    for (fg_idx t = 0; t < run->T; t++) {
      if (sums - line == end) sums = to_beginning(line, sums, to->kept * width);
      add_numbers(sums + to->lead * width, fg_row(&run->rows[ins->inputs[0]], item, t, b), to->reach * ins->size, item);
      for (fg_idx i = 0; i < hop; i++, at++)
        if (at >= 0) memcpy(fg_row(y, item, at, b), sums + i * width, (size_t)width);
      sums += hop * width;
    }
    for (fg_idx i = 0; due > 0 && at < due; i++, at++) /* of the end of the sequence */
      if (at >= 0) memcpy(fg_row(y, item, at, b), sums + i * width, (size_t)width);
    to_beginning(line, sums, to->kept * width);
  }
  w->drop = fg_max(0, w->drop - run->T * hop);
  w->held = w->drop == 0 && (w->held || run->T > 0);
}

/* Keep the last `kept` steps of a row that count, the latest at the end. */
static void keep_last(const fg_instruction *ins, fg_run *run, fg_idx b) {
  const fg_idx item = run->kernels->item, width = ins->size * item, kept = ins->time_step.kept;
  char *line = fg_row(&run->rows[ins->inputs[1]], item, 0, b);
  fg_idx first = run->T, found = 0;
  while (first > 0 && found < kept) found += valid(run, ins->clock, NULL, --first, b);
  memmove(line, line + found * width, (size_t)((kept - found) * width));
  line += (kept - found) * width;
  for (fg_idx t = first; t < run->T; t++)
    if (valid(run, ins->clock, NULL, t, b)) {
      memcpy(line, fg_row(&run->rows[ins->inputs[0]], item, t, b), (size_t)width);
      line += width;
    }
}

/* Keep the step of a row before which `count` others count. */
static void keep_counted(const fg_instruction *ins, fg_run *run, fg_idx b) {
  const fg_idx item = run->kernels->item;
  char *count = fg_row(&run->rows[ins->inputs[2]], item, 0, b);
  double before = number_of(count, 0, item);
  for (fg_idx t = 0; t < run->T && before <= (double)ins->time_step.count; t++)
    if (valid(run, ins->clock, NULL, t, b)) {
      if (before == (double)ins->time_step.count)
        memcpy(fg_row(&run->rows[ins->inputs[1]], item, 0, b), fg_row(&run->rows[ins->inputs[0]], item, t, b),
               (size_t)(ins->size * item));
      before++;
    }
  set_number(count, 0, item, before);
}

/* Keep the step that is taken, of those so far, and show it at the end of the call. */
static void execute_time_step(const fg_instruction *ins, fg_run *run) {
  const fg_idx item = run->kernels->item;
  for (fg_idx b = 0; b < run->B; b++) {
    if (ins->time_step.last)
      keep_last(ins, run, b);
    else
      keep_counted(ins, run, b);
    if (run->final)
      memcpy(fg_row(&run->rows[ins->output], item, 0, b), fg_row(&run->rows[ins->inputs[1]], item, 0, b),
             (size_t)(ins->size * item));
    if (b % FG_LOOK_ROWS == FG_LOOK_ROWS - 1 && fg_stopped(run)) return;
  }
}

#endif
