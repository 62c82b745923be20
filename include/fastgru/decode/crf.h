/* Linear-chain conditional random fields: the best path, and the probability of each tag.
 *
 * The score of tags y of T frames is start[y0] + end[yT] + the emissions[t, y_t] + the transitions[y_t-1, y_t]. */
#ifndef FASTGRU_DECODE_CRF_H
#define FASTGRU_DECODE_CRF_H

#include "scores.h"

typedef struct {
  fg_size K;                 /* tags */
  const double *transitions; /* (K, K), from row to column */
  const double *start, *end; /* (K,) */
} fg_crf;

/* One frame: `next` (K,) becomes the best score of a path that ends in each tag, `from` (K,) the tag before it on that
 * path, of equal ones the lowest. `score` is that of the frame before, NULL at the first. */
static inline void fg_viterbi_frame(const fg_crf *c, const double *emission, const double *score, double *next,
                                    int32_t *from) {
  const fg_size K = c->K;
  if (!score) {
    for (fg_size j = 0; j < K; j++) next[j] = c->start[j] + emission[j], from[j] = 0;
    return;
  }
  for (fg_size j = 0; j < K; j++) next[j] = score[0] + c->transitions[j], from[j] = 0;
  for (fg_size i = 1; i < K; i++) {
    const double *row = c->transitions + i * K, own = score[i];
    for (fg_size j = 0; j < K; j++) {
      const double reached = own + row[j];
      const int better = reached > next[j];
      next[j] = better ? reached : next[j];
      from[j] = better ? (int32_t)i : from[j];
    }
  }
  for (fg_size j = 0; j < K; j++) next[j] += emission[j];
}

/* Add the end to the scores of the last frame; returns the last tag of the best path, the lowest of equal ones. */
static inline fg_size fg_viterbi_end(const fg_crf *c, double *score) {
  for (fg_size j = 0; j < c->K; j++) score[j] += c->end[j];
  return fg_largest(score, c->K);
}

/* Follow the tags back from `tag`, the one of frame T - 1; from: (T, K), tags: (T,). */
static inline void fg_viterbi_path(const int32_t *from, fg_size T, fg_size K, fg_size tag, int64_t *tags) {
  for (fg_size t = T - 1; t >= 0; t--) {
    tags[t] = tag;
    tag = from[t * K + tag];
  }
}

/* The number of frames whose tags all paths share, whichever tag the last of T frames has. from: (T, K); paths: (K,)
 * scratch; *tag: that of the last of these frames. */
static inline fg_size fg_viterbi_settled(const int32_t *from, fg_size T, fg_size K, int32_t *paths, fg_size *tag) {
  for (fg_size j = 0; j < K; j++) paths[j] = (int32_t)j;
  for (fg_size t = T - 1; t >= 0; t--) {
    int same = 1;
    for (fg_size j = 1; j < K; j++) same &= paths[j] == paths[0];
    if (same) {
      *tag = paths[0];
      return t + 1;
    }
    for (fg_size j = 0; j < K; j++) paths[j] = from[t * K + paths[j]];
  }
  return 0;
}

/* The logarithm of the sum over all paths; p (T, K) becomes the probability of each tag at each frame, or 0 everywhere
 * if no path has any. emissions: (T, K), T > 0; scratch: (3 K,). */
static inline double fg_crf_marginals(const fg_crf *c, const double *emissions, fg_size T, double *p, double *scratch) {
  const fg_size K = c->K;
  double *most = scratch, *sum = scratch + K, *behind = scratch + 2 * K;
  for (fg_size j = 0; j < K; j++) p[j] = c->start[j] + emissions[j];
  for (fg_size t = 1; t < T; t++) { /* p[t, j]: the sum over paths that end there */
    const double *before = p + (t - 1) * K, *e = emissions + t * K;
    for (fg_size j = 0; j < K; j++) most[j] = -INFINITY, sum[j] = 0;
    for (fg_size i = 0; i < K; i++)
      for (fg_size j = 0; j < K; j++) {
        const double x = before[i] + c->transitions[i * K + j];
        if (x > most[j]) most[j] = x;
      }
    for (fg_size i = 0; i < K; i++)
      for (fg_size j = 0; j < K; j++) {
        const double x = before[i] + c->transitions[i * K + j];
        if (x > -INFINITY) sum[j] += exp(x - most[j]);
      }
    for (fg_size j = 0; j < K; j++) p[t * K + j] = most[j] == -INFINITY ? -INFINITY : most[j] + log(sum[j]) + e[j];
  }
  for (fg_size j = 0; j < K; j++) behind[j] = c->end[j], sum[j] = p[(T - 1) * K + j] + c->end[j];
  const double all = fg_log_sum(sum, K);
  for (fg_size t = T - 1; t >= 0; t--) { /* behind[i]: the sum over what may follow tag i of frame t */
    for (fg_size j = 0; j < K; j++) {
      const double x = p[t * K + j] + behind[j];
      p[t * K + j] = x == -INFINITY ? 0 : exp(x - all);
    }
    if (t == 0) break;
    const double *e = emissions + t * K;
    for (fg_size j = 0; j < K; j++) sum[j] = e[j] + behind[j];
    for (fg_size i = 0; i < K; i++) {
      for (fg_size j = 0; j < K; j++) most[j] = c->transitions[i * K + j] + sum[j];
      behind[i] = fg_log_sum(most, K);
    }
  }
  return all;
}

#endif
