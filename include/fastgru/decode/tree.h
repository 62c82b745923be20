/* Trees of labels and of the frames in which they came, of which a beam holds some and the rest is dropped. */
#ifndef FASTGRU_DECODE_TREE_H
#define FASTGRU_DECODE_TREE_H

#include <stddef.h>
#include <stdint.h>

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

/* The labellings of a search, and the moments of their labels. */
typedef struct {
  int32_t prefixes, moments, room; /* how many there are, and for how many there is room */
  int64_t frame;                   /* frames so far */
  int32_t settled;                 /* the prefix that all hypotheses had when they were last asked */
  fg_prefix *prefix;               /* (room,) */
  fg_moment *moment;               /* (room,) */
  int32_t *to;                     /* (room,) scratch */
} fg_tree;

/* A beam: structs of `size` bytes that hold the number of a prefix, and of `kinds` moments. */
typedef struct {
  void *at;
  size_t size, prefix, moment[2]; /* offsets of the numbers */
  int32_t count, kinds;
} fg_holders;

static inline void fg_tree_begin(fg_tree *t) {
  t->prefixes = 1, t->moments = 0, t->frame = 0, t->settled = 0;
  t->prefix[0] =
      (fg_prefix){.parent = FG_NONE, .label = FG_NONE, .child = FG_NONE, .sibling = FG_NONE, .slot = FG_NONE};
}

/* True if there is no room for `more` prefixes or moments. */
static inline int fg_tree_full(const fg_tree *t, int32_t more) {
  return (t->prefixes > t->moments ? t->prefixes : t->moments) > t->room - more;
}

/* The child of a prefix with this label; FG_NONE if there is none. */
static inline int32_t fg_child(const fg_tree *t, int32_t prefix, int32_t label) {
  int32_t i = t->prefix[prefix].child;
  while (i >= 0 && t->prefix[i].label != label) i = t->prefix[i].sibling;
  return i;
}

/* Append a child to a prefix; returns its number. */
static inline int32_t fg_append(fg_tree *t, int32_t prefix, int32_t label) {
  const int32_t own = t->prefixes++;
  fg_prefix *parent = &t->prefix[prefix];
  t->prefix[own] = (fg_prefix){.parent = prefix, .label = label, .length = parent->length + 1, .child = FG_NONE,
                               .sibling = parent->child, .slot = FG_NONE};
  parent->child = own;
  return own;
}

/* Append the moment of a label that comes at this frame, behind those of `moment`; returns its number. */
static inline int32_t fg_append_moment(fg_tree *t, int32_t moment) {
  t->moment[t->moments] = (fg_moment){t->frame, moment};
  return t->moments++;
}

static inline int32_t *fg_held(const fg_holders *h, int32_t i, size_t offset) {
  return (int32_t *)((char *)h->at + (size_t)i * h->size + offset);
}

/* The longest prefix of all of a beam; the settled one where it holds none. */
static inline int32_t fg_tree_shared(const fg_tree *t, fg_holders h) {
  int32_t a = h.count ? *fg_held(&h, 0, h.prefix) : t->settled;
  for (int32_t i = 1; i < h.count; i++)
    for (int32_t b = *fg_held(&h, i, h.prefix); a != b;) {
      if (t->prefix[a].length >= t->prefix[b].length) a = t->prefix[a].parent;
      else b = t->prefix[b].parent;
    }
  return a;
}

/* Mark `own` and all that lead to it in `to`, which is FG_NONE where nothing is marked. */
#define FG_MARK(all, own, to) \
  for (int32_t i_ = (own); i_ >= 0 && (to)[i_] < 0; i_ = (all)[i_].parent) (to)[i_] = 0

/* Drop the prefixes that a beam does not need; they get other numbers, in the same order. */
static inline void fg_tree_drop_prefixes(fg_tree *t, fg_holders h) {
  int32_t n = 0, *to = t->to;
  fg_prefix *all = t->prefix;
  for (int32_t i = 0; i < t->prefixes; i++) to[i] = FG_NONE;
  FG_MARK(all, t->settled, to);
  for (int32_t i = 0; i < h.count; i++) FG_MARK(all, *fg_held(&h, i, h.prefix), to);
  for (int32_t i = 0; i < t->prefixes; i++) {
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
  t->prefixes = n, t->settled = to[t->settled];
  for (int32_t i = 0; i < h.count; i++) *fg_held(&h, i, h.prefix) = to[*fg_held(&h, i, h.prefix)];
}

/* The same of moments. */
static inline void fg_tree_drop_moments(fg_tree *t, fg_holders h) {
  int32_t n = 0, *to = t->to;
  for (int32_t i = 0; i < t->moments; i++) to[i] = FG_NONE;
  for (int32_t k = 0; k < h.kinds; k++)
    for (int32_t i = 0; i < h.count; i++) FG_MARK(t->moment, *fg_held(&h, i, h.moment[k]), to);
  for (int32_t i = 0; i < t->moments; i++) {
    if (to[i] < 0) continue;
    t->moment[n] = (fg_moment){t->moment[i].frame, t->moment[i].parent < 0 ? FG_NONE : to[t->moment[i].parent]};
    to[i] = n++;
  }
  t->moments = n;
  for (int32_t k = 0; k < h.kinds; k++)
    for (int32_t i = 0; i < h.count; i++) {
      int32_t *held = fg_held(&h, i, h.moment[k]);
      if (*held >= 0) *held = to[*held];
    }
}

/* Drop both. */
static inline void fg_tree_collect(fg_tree *t, fg_holders h) {
  fg_tree_drop_prefixes(t, h);
  fg_tree_drop_moments(t, h);
}

#endif
