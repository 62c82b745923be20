/* The best of many candidates for a beam.
 *
 * Of candidates with equal scores the shorter labelling is better, then the one that comes first in the order of
 * labels, so that the result never depends on the order in which candidates are met. */
#ifndef FASTGRU_DECODE_BEAM_H
#define FASTGRU_DECODE_BEAM_H

#include "scores.h"
#include "tree.h"

/* A labelling, or one of the tree with a label more; label FG_NONE: the prefix itself. */
typedef struct {
  double rank;
  int32_t prefix, label, slot; /* slot: of the hypothesis that it comes from */
} fg_candidate;

/* True if labelling a comes before b, which is another. */
static inline int fg_comes_before(const fg_prefix *all, const fg_candidate *a, const fg_candidate *b) {
  const int32_t more = all[a->prefix].length + (a->label >= 0), other = all[b->prefix].length + (b->label >= 0);
  int32_t i = a->prefix, j = b->prefix, x = a->label, y = b->label;
  int before = 0;
  if (more != other) return more < other;
  if (x < 0) x = all[i].label, i = all[i].parent;
  if (y < 0) y = all[j].label, j = all[j].parent;
  for (;;) { /* from the last label to the first: the first difference decides */
    if (x != y) before = x < y;
    if (i == j || i < 0 || j < 0) return before;
    x = all[i].label, i = all[i].parent, y = all[j].label, j = all[j].parent;
  }
}

/* True if candidate a is worse than b. */
static inline int fg_worse(const fg_prefix *all, const fg_candidate *a, const fg_candidate *b) {
  return a->rank != b->rank ? a->rank < b->rank : fg_comes_before(all, b, a);
}

/* Move the candidate at `at` down a heap of n whose worst is on top. */
static inline void fg_sift(const fg_prefix *all, fg_candidate *heap, int32_t n, int32_t at) {
  const fg_candidate own = heap[at];
  for (int32_t below; (below = 2 * at + 1) < n; at = below) {
    if (below + 1 < n && fg_worse(all, &heap[below + 1], &heap[below])) below++;
    if (!fg_worse(all, &heap[below], &own)) break;
    heap[at] = heap[below];
  }
  heap[at] = own;
}

/* Keep a candidate if it is among the `width` best of those so far; returns how many there are. */
static inline int32_t fg_offer(const fg_prefix *all, fg_candidate *heap, int32_t n, int32_t width, fg_candidate own) {
  if (n == width) {
    if (!fg_worse(all, &heap[0], &own)) return n;
    heap[0] = own;
    fg_sift(all, heap, n, 0);
    return n;
  }
  int32_t at = n;
  for (int32_t above; at > 0 && fg_worse(all, &own, &heap[above = (at - 1) / 2]); at = above) heap[at] = heap[above];
  heap[at] = own;
  return n + 1;
}

/* Sort a heap, the best first. */
static inline void fg_sort_heap(const fg_prefix *all, fg_candidate *heap, int32_t n) {
  while (n > 1) {
    const fg_candidate worst = heap[0];
    heap[0] = heap[--n];
    heap[n] = worst;
    fg_sift(all, heap, n, 0);
  }
}

#endif
