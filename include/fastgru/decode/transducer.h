/* The beam of a transducer (RNN-T): frame by frame, and within a frame label by label.
 *
 * A labelling's probability is the sum over its alignments, in which each frame gives at most `most` labels and then a
 * blank. The caller evaluates the networks: it asks for the labellings in `active`, gives the joint network's outputs for
 * them, and goes on until none is left. Labellings met on several ways through a frame are merged at its blank. */
#ifndef FASTGRU_DECODE_TRANSDUCER_H
#define FASTGRU_DECODE_TRANSDUCER_H

#include "beam.h"

/* A labelling with the sum over its alignments, and the best of them. */
typedef struct {
  double total, best;
  int32_t prefix, moment;
} fg_path;

typedef struct {
  int32_t V, blank, width, most;
  int32_t level, count, actives, ends; /* labels given in this frame; how many paths there are */
  fg_tree tree;
  fg_path *beam, *active, *made; /* (width,) */
  fg_path *ended;               /* (width * (most + 1),) behind the blank of this frame */
  fg_candidate *heap;           /* (width,) */
} fg_transducer;

static inline void fg_transducer_begin(fg_transducer *s) {
  s->level = 0, s->count = 1, s->actives = 0, s->ends = 0;
  fg_tree_begin(&s->tree);
  s->beam[0] = (fg_path){0, 0, 0, FG_NONE};
}

/* Begin a frame: all labellings of the beam are active. */
static inline void fg_transducer_frame(fg_transducer *s) {
  for (int32_t i = 0; i < s->count; i++) s->active[i] = s->beam[i];
  s->actives = s->count, s->ends = 0, s->level = 0;
}

/* An active labelling behind the blank. */
static inline void fg_transducer_blank(fg_transducer *s, const fg_path *own, double x) {
  fg_prefix *p = &s->tree.prefix[own->prefix];
  if (own->total + x == -INFINITY) return;
  if (p->slot < 0) {
    p->slot = s->ends;
    s->ended[s->ends++] = (fg_path){own->total + x, own->best + x, own->prefix, own->moment};
    return;
  }
  fg_path *to = &s->ended[p->slot];
  to->total = fg_log_add(to->total, own->total + x);
  if (own->best + x > to->best) to->best = own->best + x, to->moment = own->moment;
}

/* The best `width` of some paths as a heap; returns how many. */
static inline int32_t fg_best_paths(fg_transducer *s, const fg_path *paths, int32_t count) {
  int32_t n = 0;
  for (int32_t i = 0; i < count; i++) {
    const fg_candidate own = {paths[i].total, paths[i].prefix, FG_NONE, i};
    n = fg_offer(s->tree.prefix, s->heap, n, s->width, own);
  }
  return n;
}

/* One level of a frame: x (actives, V) are log-probabilities behind each active labelling. Active become those with one
 * label more; returns how many. */
static inline int32_t fg_transducer_level(fg_transducer *s, const double *x) {
  for (int32_t i = 0; i < s->actives; i++) fg_transducer_blank(s, &s->active[i], x[i * (fg_size)s->V + s->blank]);
  /* What is worth less than `width` others of this frame's end cannot be in the beam. */
  const double least = fg_best_paths(s, s->ended, s->ends) == s->width ? s->heap[0].rank : -INFINITY;
  int32_t n = 0;
  for (int32_t i = 0; s->level < s->most && i < s->actives; i++)
    for (int32_t c = 0; c < s->V; c++) {
      const double rank = s->active[i].total + x[i * (fg_size)s->V + c];
      if (c == s->blank || rank == -INFINITY || rank < least || (n == s->width && rank < s->heap[0].rank)) continue;
      n = fg_offer(s->tree.prefix, s->heap, n, s->width, (fg_candidate){rank, s->active[i].prefix, c, i});
    }
  fg_sort_heap(s->tree.prefix, s->heap, n);
  for (int32_t i = 0; i < n; i++) {
    const fg_candidate *own = &s->heap[i];
    const fg_path *from = &s->active[own->slot];
    const int32_t known = fg_child(&s->tree, own->prefix, own->label);
    s->made[i] = (fg_path){own->rank, from->best + x[own->slot * (fg_size)s->V + own->label],
                           known >= 0 ? known : fg_append(&s->tree, own->prefix, own->label),
                           fg_append_moment(&s->tree, from->moment)};
  }
  fg_path *active = s->active;
  s->active = s->made, s->made = active;
  s->level++;
  return s->actives = n;
}

/* Forget what a frame gave: of one that is not ended all, as the beam is that of the frame before it. */
static inline void fg_transducer_drop(fg_transducer *s) {
  for (int32_t i = 0; i < s->ends; i++) s->tree.prefix[s->ended[i].prefix].slot = FG_NONE;
  s->ends = 0;
}

/* End a frame: the beam becomes the best of what ended in it. */
static inline void fg_transducer_end(fg_transducer *s) {
  s->count = fg_best_paths(s, s->ended, s->ends);
  fg_sort_heap(s->tree.prefix, s->heap, s->count);
  for (int32_t i = 0; i < s->count; i++) s->beam[i] = s->ended[s->heap[i].slot];
  fg_transducer_drop(s);
  s->tree.frame++;
}

static inline fg_holders fg_transducer_holders(const fg_transducer *s) {
  return (fg_holders){s->beam, sizeof(fg_path), offsetof(fg_path, prefix), {offsetof(fg_path, moment)}, s->count, 1};
}

#endif
