/* How many steps a line gives, and rows a scan takes: the scheduler asks before a call, the body as it runs. */
#ifndef FASTGRU_OPS_DUE_H
#define FASTGRU_OPS_DUE_H

#include "fastgru/sizes.h"
#include "run.h"

/* Steps in the line once those that no window needs are gone; negative: steps still to be skipped. */
static inline fg_idx fg_held_before(const fg_window *w) { return w->held - w->drop; }

/* The place that a bound of a slice has among so many steps. */
static inline fg_idx place_of(fg_idx step, fg_idx steps) {
  return step < 0 ? fg_max(0, step + steps) : fg_min(step, steps);
}

/* How many of so many steps a slice has, before any are left out between them. */
static inline fg_idx fg_sliced_steps(const fg_op_window *window, fg_idx steps) {
  return fg_max(0, place_of(window->bounds[1], steps) - place_of(window->bounds[0], steps));
}

/* Frames whose scans run together, of T steps and B rows: where each has one row of its own, which alone would be a
 * product with a vector. Those of a step, or of a row that is alone. 8 frames of 100 steps of two bidirectional LSTMs of
 * 128 units: 17.3 ms one by one, 13.7 together (Zen 3). */
enum { FG_SCANS = 32 };
static inline fg_idx fg_scans_together(const fg_op_scan *scan, fg_idx T, fg_idx B) {
  return scan->rows > 1 ? 1 : fg_min(B > 1 ? B : T, FG_SCANS);
}

/* How many windows so many steps fill. */
static inline fg_idx fg_windows_due(const fg_op_line *line, fg_idx held) {
  return held >= line->reach ? (held - line->reach) / line->stride + 1 : 0;
}

/* How many steps all values have that meet, of which each waits in a line of its own. */
static inline fg_idx fg_meeting_due(const fg_op_wait *wait, const fg_window *windows, const fg_idx *steps) {
  fg_idx least = FG_TOO_LARGE;
  for (int i = 0; i < wait->n_meeting; i++) /* a line, and a clock counted from 1 */
    least = fg_min(least, fg_held_before(&windows[wait->meeting[i][0]]) + steps[wait->meeting[i][1] - 1]);
  return least;
}

/* How many steps are given for so many further ones: none until the sequence can be mirrored in front. */
static inline fg_idx fg_mirror_due(const fg_op_line *mirror, const fg_window *w, fg_idx steps, int ends) {
  if (w->held + steps < mirror->reach) return 0;
  return steps + (w->held < mirror->reach ? mirror->before + w->held : 0) + (ends ? mirror->after : 0);
}

/* How many steps so many further frames complete, and the end of the sequence, if there were any frames at all. */
static inline fg_idx fg_overlaps_due(const fg_op_overlap_add *to, const fg_window *w, fg_idx frames, int ends,
                                     int rest) {
  fg_idx steps = fg_times(frames, to->stride);
  if (ends && (frames > 0 || w->held || w->drop != to->before)) steps += to->after + (rest ? to->rest : 0);
  return fg_max(0, steps - w->drop);
}

#endif
