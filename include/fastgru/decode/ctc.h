/* Connectionist temporal classification: the best path, and prefix beam search with words that a list or a scorer knows.
 *
 * A labelling's probability is the sum over its alignments. The search keeps for each the sums over those that end in a
 * blank and in its last label (Graves 2012, section 3.7; Hannun et al. 2014 for words), and of each sum the best term,
 * whose frames are the labels' times. */
#ifndef FASTGRU_DECODE_CTC_H
#define FASTGRU_DECODE_CTC_H

#include "beam.h"

/* The best label of each frame, runs and blanks removed. `last` and `score` carry over from chunk to chunk, FG_NONE and
 * 0 at first; labels and frames: (T,). Returns how many labels were written. */
static inline fg_size fg_ctc_greedy(const double *x, fg_size T, fg_size V, int32_t blank, int64_t first, int32_t *last,
                                    double *score, int64_t *labels, int64_t *frames) {
  fg_size n = 0;
  for (fg_size t = 0; t < T; t++, x += V) {
    const int32_t best = (int32_t)fg_largest(x, V);
    *score += x[best];
    if (best != blank && best != *last) labels[n] = best, frames[n++] = first + t;
    *last = best;
  }
  return n;
}

/* A list of words as a tree of their characters, and the characters of each label. */
typedef struct {
  const int32_t *child, *sibling, *unit; /* of each place; place 0 is the beginning of a word */
  const uint8_t *ends;                   /* whether a word ends here */
  const int32_t *begin, *units;          /* label c: units[begin[c]] .. units[begin[c + 1] - 1] */
} fg_lexicon;

/* A labelling in the beam. */
typedef struct {
  double blank, label;           /* sums over alignments that end in a blank, in the last label */
  double best_blank, best_label; /* the best of them */
  double total, rank;            /* both sums; with the scores of words */
  int32_t prefix, moment_blank, moment_label;
  int32_t slot; /* of the prefix without the last label; FG_NONE where that is not in the beam */
} fg_hypothesis;

typedef struct {
  int32_t V, blank, space, width; /* space: FG_NONE if words are not told apart */
  int32_t listed, scored;         /* whether words are those of a list; whether a scorer is asked */
  double unknown;                 /* added for a word that is not in the list */
  fg_lexicon lexicon;
  int32_t count;           /* hypotheses in the beam, the best first */
  fg_tree tree;
  fg_hypothesis *beam, *next, *made; /* (width,), the last two scratch */
  fg_candidate *heap;      /* (width,) */
  int32_t *order, *taken;  /* (V,) scratch */
  int32_t *heir, *other;   /* (width,) scratch: the first child of a slot in the beam, the next one of the same parent */
} fg_ctc;

static inline int fg_in_word(const fg_ctc *s, const fg_prefix *p) { return p->label >= 0 && p->label != s->space; }

/* The place in the list behind one more label; FG_NONE if no word goes on like this. */
static inline int32_t fg_place(const fg_lexicon *l, int32_t place, int32_t label) {
  for (int32_t u = l->begin[label]; place >= 0 && u < l->begin[label + 1]; u++) {
    place = l->child[place];
    while (place >= 0 && l->unit[place] != l->units[u]) place = l->sibling[place];
  }
  return place;
}

/* What a labelling adds once its last word is complete, as far as the list says it: NaN where a scorer is to be asked. */
static inline double fg_bonus(const fg_ctc *s, const fg_prefix *p) {
  if (!fg_in_word(s, p)) return 0;
  const int missing = s->listed && p->place >= 0 && !s->lexicon.ends[p->place];
  if (missing && s->unknown == -INFINITY) return -INFINITY;
  return s->scored ? (double)NAN : missing ? s->unknown : 0;
}

/* The scores of words in a labelling with one label more; -inf if the list forbids it. */
static inline double fg_added(const fg_ctc *s, const fg_prefix *p, int32_t label) {
  if (label == s->space) return p->added + p->bonus;
  return s->listed && p->place >= 0 && fg_place(&s->lexicon, p->place, label) < 0 ? p->added + s->unknown : p->added;
}

static inline void fg_ctc_begin(fg_ctc *s) {
  s->count = 1;
  fg_tree_begin(&s->tree);
  s->tree.prefix[0].slot = 0;
  s->beam[0] = (fg_hypothesis){.label = -INFINITY, .best_label = -INFINITY, .moment_blank = FG_NONE,
                               .moment_label = FG_NONE, .slot = FG_NONE};
  for (int32_t i = 0; i < s->V; i++) s->taken[i] = FG_NONE;
}

/* The labels other than the blank that have any probability: the `most` likeliest in falling order, or with a list of
 * words all of them as they come, as it may forbid the likeliest. */
static inline int32_t fg_labels_of(const fg_ctc *s, const double *x, int32_t most) {
  int32_t n = 0, *order = s->order;
  for (int32_t c = 0; c < s->V; c++) {
    if (c == s->blank || x[c] == -INFINITY || (n == most && x[c] <= x[order[n - 1]])) continue;
    int32_t at = n < most ? n++ : n - 1;
    for (; !s->listed && at > 0 && x[order[at - 1]] < x[c]; at--) order[at] = order[at - 1];
    order[at] = c;
  }
  return n;
}

/* The best alignment before a label that comes anew: behind a blank alone if it repeats the last. */
static inline double fg_best_before(const fg_hypothesis *h, int repeats, int32_t *moment) {
  const int blank = repeats || h->best_blank > h->best_label;
  *moment = blank ? h->moment_blank : h->moment_label;
  return blank ? h->best_blank : h->best_label;
}

/* Each hypothesis one frame on in `next`, without another label; the slot there says whether the best alignment's last
 * label came at this frame. Returns how many are candidates. */
static inline int32_t fg_ctc_stay(fg_ctc *s, const double *x) {
  int32_t n = 0;
  for (int32_t i = 0; i < s->count; i++) s->heir[i] = FG_NONE;
  for (int32_t i = 0; i < s->count; i++) {
    const fg_hypothesis *h = &s->beam[i];
    const fg_prefix *p = &s->tree.prefix[h->prefix];
    if (h->slot >= 0) s->other[i] = s->heir[h->slot], s->heir[h->slot] = i;
    fg_hypothesis *next = &s->next[i];
    *next = *h;
    next->slot = 0;
    next->blank = h->total + x[s->blank];
    next->best_blank = fg_best_before(h, 0, &next->moment_blank) + x[s->blank];
    if (p->label >= 0) {
      const double own = x[p->label];
      next->label += own, next->best_label += own;
      if (h->slot >= 0) {
        const fg_hypothesis *from = &s->beam[h->slot];
        const int repeats = s->tree.prefix[from->prefix].label == p->label;
        int32_t moment;
        const double best = fg_best_before(from, repeats, &moment) + own;
        next->label = fg_log_add(next->label, (repeats ? from->blank : from->total) + own);
        if (best > next->best_label) next->best_label = best, next->moment_label = moment, next->slot = 1;
      }
    }
    next->total = fg_log_add(next->blank, next->label);
    next->rank = next->total + p->added;
    const fg_candidate own = {next->rank, h->prefix, FG_NONE, i};
    if (own.rank > -INFINITY) n = fg_offer(s->tree.prefix, s->heap, n, s->width, own);
  }
  return n;
}

/* Offer the hypothesis in slot i with each label more; returns how many candidates there are. */
static inline int32_t fg_ctc_extend(fg_ctc *s, const double *x, int32_t i, int32_t labels, int32_t n) {
  const fg_hypothesis *h = &s->beam[i];
  const fg_prefix *p = &s->tree.prefix[h->prefix];
  for (int32_t k = s->heir[i]; k >= 0; k = s->other[k]) /* a child in the beam has had its share of this */
    s->taken[s->tree.prefix[s->beam[k].prefix].label] = i;
  for (int32_t k = -1; k < labels; k++) { /* the space first, which alone may add to the score */
    const int32_t c = k < 0 ? s->space : s->order[k];
    if (c < 0 || (k >= 0 && c == s->space)) continue;
    if (k >= 0 && n == s->width && h->rank + x[c] < s->heap[0].rank) {
      if (!s->listed) break;
      continue;
    }
    if (s->taken[c] == i) continue;
    const double rank = (c == p->label ? h->blank : h->total) + x[c] + fg_added(s, p, c);
    if (rank > -INFINITY) n = fg_offer(s->tree.prefix, s->heap, n, s->width, (fg_candidate){rank, h->prefix, c, i});
  }
  for (int32_t k = s->heir[i]; k >= 0; k = s->other[k]) s->taken[s->tree.prefix[s->beam[k].prefix].label] = FG_NONE;
  return n;
}

/* The prefix of an extension, made unless the tree has it. */
static inline int32_t fg_ctc_child(fg_ctc *s, int32_t prefix, int32_t label) {
  const int32_t known = fg_child(&s->tree, prefix, label);
  if (known >= 0) return known;
  const int32_t own = fg_append(&s->tree, prefix, label);
  const fg_prefix *from = &s->tree.prefix[prefix];
  fg_prefix *p = &s->tree.prefix[own];
  p->added = fg_added(s, from, label);
  p->context = label == s->space ? from->after : from->context;
  p->place = label == s->space || !s->listed ? 0 : from->place < 0 ? FG_NONE : fg_place(&s->lexicon, from->place, label);
  p->after = p->context;
  p->bonus = fg_bonus(s, p);
  return own;
}

/* A hypothesis with one label more, of the prefix `own`. */
static inline fg_hypothesis fg_extended(fg_ctc *s, const fg_hypothesis *from, const fg_candidate *own, double x) {
  fg_hypothesis h = {.blank = -INFINITY, .best_blank = -INFINITY, .moment_blank = FG_NONE, .prefix = own->prefix};
  const int repeats = s->tree.prefix[from->prefix].label == own->label;
  h.label = h.total = (repeats ? from->blank : from->total) + x;
  h.rank = own->rank;
  h.best_label = fg_best_before(from, repeats, &h.moment_label) + x;
  h.moment_label = fg_append_moment(&s->tree, h.moment_label);
  return h;
}

/* One frame; there must be room for `width` more prefixes and moments. */
static inline void fg_ctc_frame(fg_ctc *s, const double *x) {
  /* Of the extensions of a labelling at most `width` stay; one label may be in the beam for less than its frame says, as
   * it repeats the last, and one be the space, which is offered apart. */
  const int32_t labels = fg_labels_of(s, x, s->listed || s->width > s->V - 3 ? s->V : s->width + 3);
  int32_t n = fg_ctc_stay(s, x);
  for (int32_t i = 0; i < s->count; i++) n = fg_ctc_extend(s, x, i, labels, n);
  fg_sort_heap(s->tree.prefix, s->heap, n);
  for (int32_t i = 0; i < s->count; i++) s->tree.prefix[s->beam[i].prefix].slot = FG_NONE;
  for (int32_t i = 0; i < n; i++) {
    fg_candidate *own = &s->heap[i];
    fg_hypothesis *h = &s->made[i];
    if (own->label >= 0) {
      own->prefix = fg_ctc_child(s, own->prefix, own->label);
      *h = fg_extended(s, &s->beam[own->slot], own, x[own->label]);
    } else {
      *h = s->next[own->slot];
      if (h->slot != 0) h->moment_label = fg_append_moment(&s->tree, h->moment_label); /* the label came anew */
    }
    s->tree.prefix[h->prefix].slot = i;
  }
  for (int32_t i = 0; i < n; i++) {
    const int32_t parent = s->tree.prefix[s->made[i].prefix].parent;
    s->made[i].slot = parent < 0 ? FG_NONE : s->tree.prefix[parent].slot;
  }
  fg_hypothesis *beam = s->beam;
  s->beam = s->made, s->made = beam;
  s->count = n;
  s->tree.frame++;
}

static inline fg_holders fg_ctc_holders(const fg_ctc *s) {
  return (fg_holders){s->beam, sizeof(fg_hypothesis), offsetof(fg_hypothesis, prefix),
                      {offsetof(fg_hypothesis, moment_blank), offsetof(fg_hypothesis, moment_label)}, s->count, 2};
}

/* The first hypothesis of the beam whose last word a scorer has yet to be asked about; FG_NONE if there is none. */
static inline int32_t fg_ctc_asks(const fg_ctc *s) {
  for (int32_t i = 0; i < s->count && s->scored; i++)
    if (isnan(s->tree.prefix[s->beam[i].prefix].bonus)) return i;
  return FG_NONE;
}

/* Say what a scorer gives the last word of hypothesis i, and the number of the words with it. */
static inline void fg_ctc_told(fg_ctc *s, int32_t i, double score, int32_t after) {
  fg_prefix *p = &s->tree.prefix[s->beam[i].prefix];
  const int missing = s->listed && p->place >= 0 && !s->lexicon.ends[p->place];
  p->bonus = missing ? score + s->unknown : score;
  p->after = after;
}

/* As many frames of T as there is room for, and no more than one where a scorer is asked; returns how many. */
static inline fg_size fg_ctc_frames(fg_ctc *s, const double *x, fg_size T) {
  fg_size t = 0;
  for (; t < T; t++) {
    if (fg_tree_full(&s->tree, s->width) || fg_ctc_asks(s) >= 0) break;
    fg_ctc_frame(s, x + t * s->V);
  }
  return t;
}

/* Order the beam by the scores with those of the last words, which become `rank`; those without any probability go. */
static inline void fg_ctc_end(fg_ctc *s) {
  int32_t n = 0;
  for (int32_t i = 0; i < s->count; i++) {
    const fg_hypothesis *h = &s->beam[i];
    const fg_candidate own = {h->rank + s->tree.prefix[h->prefix].bonus, h->prefix, FG_NONE, i};
    if (own.rank > -INFINITY) n = fg_offer(s->tree.prefix, s->heap, n, s->width, own);
  }
  fg_sort_heap(s->tree.prefix, s->heap, n);
  for (int32_t i = 0; i < n; i++) {
    s->made[i] = s->beam[s->heap[i].slot];
    s->made[i].rank = s->heap[i].rank;
  }
  fg_hypothesis *beam = s->beam;
  s->beam = s->made, s->made = beam;
  s->count = n;
}

#endif
