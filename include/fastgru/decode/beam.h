/* What beams keep: the best of many candidates, and trees of labels and of the frames in which they came.
 *
 * Of candidates with equal scores the shorter labelling is better, then the one that comes first in the order of
 * labels, so that the result never depends on the order in which candidates are met. */
#ifndef FASTGRU_DECODE_BEAM_H
#define FASTGRU_DECODE_BEAM_H

#include "scores.h"

enum { FG_NONE = -1 };

/* A labelling: that of `parent`, and one label more. Parents come before their children. */
typedef struct {
  int32_t parent, label, length; /* FG_NONE, FG_NONE, 0 at the root, which is the first */
  int32_t child, sibling;        /* the first child; the next child of the same parent */
  int32_t slot;                  /* in the beam */
  int32_t place;                 /* of its last word in the list of words; FG_NONE where no word goes on like this */
  int32_t context, after;        /* of the last word: numbers of the words before it, and of those with it */
  double added;                  /* the scores of the words completed */
  double bonus;                  /* what completing the last word adds; NaN until a scorer has said it */
} fg_prefix;

/* When labels came: at the frames of `parent`, and at one more. */
typedef struct {
  int64_t frame;
  int32_t parent;
} fg_moment;

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

/* The child of a prefix with this label; FG_NONE if there is none. */
static inline int32_t fg_child(const fg_prefix *all, int32_t prefix, int32_t label) {
  int32_t i = all[prefix].child;
  while (i >= 0 && all[i].label != label) i = all[i].sibling;
  return i;
}

/* Append a child to a prefix; returns its number. */
static inline int32_t fg_append(fg_prefix *all, int32_t *count, int32_t prefix, int32_t label) {
  const int32_t own = (*count)++;
  all[own] = (fg_prefix){.parent = prefix, .label = label, .length = all[prefix].length + 1, .child = FG_NONE,
                         .sibling = all[prefix].child, .slot = FG_NONE};
  all[prefix].child = own;
  return own;
}

/* The longest prefix of both. */
static inline int32_t fg_shared(const fg_prefix *all, int32_t a, int32_t b) {
  while (a != b) {
    if (all[a].length >= all[b].length) a = all[a].parent;
    else b = all[b].parent;
  }
  return a;
}

/* Mark `own` and all that lead to it in `to`, which is FG_NONE where nothing is marked. */
#define FG_MARK(all, own, to) \
  for (int32_t i_ = (own); i_ >= 0 && (to)[i_] < 0; i_ = (all)[i_].parent) (to)[i_] = 0

/* Drop the prefixes that are not marked in `to` (count,), which becomes their new numbers; returns how many are left. */
static inline int32_t fg_keep_prefixes(fg_prefix *all, int32_t count, int32_t *to) {
  int32_t n = 0;
  for (int32_t i = 0; i < count; i++) {
    if (to[i] < 0) continue;
    fg_prefix own = all[i];
    own.child = own.sibling = FG_NONE;
    if (own.parent >= 0) {
      own.parent = to[own.parent];
      own.sibling = all[own.parent].child;
      all[own.parent].child = n;
    }
    all[n] = own;
    to[i] = n++;
  }
  return n;
}

/* The same of moments. */
static inline int32_t fg_keep_moments(fg_moment *all, int32_t count, int32_t *to) {
  int32_t n = 0;
  for (int32_t i = 0; i < count; i++) {
    if (to[i] < 0) continue;
    all[n] = (fg_moment){all[i].frame, all[i].parent < 0 ? FG_NONE : to[all[i].parent]};
    to[i] = n++;
  }
  return n;
}

#endif
