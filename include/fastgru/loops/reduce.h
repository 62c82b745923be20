/* reduce: folded loops made one element; arg_reduce: where its extreme lies.
 *
 * The folded elements are numbered k in the order of their loops. Element k goes to virtual lane k % 16, and the lanes
 * fold in a fixed tree, however the elements lie: along a vector, across outputs, or scattered.
 */
#ifndef FASTGRU_REDUCE_H
#define FASTGRU_REDUCE_H

#include "nest.h"
#include "rowwise.h"

FG_INLINE vr fold_start(int function) {
  if (function == FG_FOLD_MAX) return splat(-(real)__builtin_inf());
  if (function == FG_FOLD_MIN) return splat((real)__builtin_inf());
  return splat(function == FG_FOLD_PROD);
}

/* The lanes with one more element each. */
FG_INLINE vr folded(int function, vr lanes, vr x) {
  switch (function) {
    case FG_FOLD_MAX: return pick((x > lanes) | (x != x), x, lanes);
    case FG_FOLD_MIN: return pick((x < lanes) | (x != x), x, lanes);
    case FG_FOLD_PROD: return lanes * x;
    case FG_FOLD_SUM_SQUARE: return fused(x, x, lanes);
    case FG_FOLD_SUM_ABS: return lanes + magnitude(x);
    default: return lanes + x;
  }
}

/* 16 lanes made one, the upper half onto the lower each time. */
FG_INLINE real fold_lanes(int function, vr *part) {
  FG_UNROLL for (int p = FG_PARTS / 2; p > 0; p /= 2)
    FG_UNROLL for (int i = 0; i < p; i++) part[i] = folded(function, part[i], part[i + p]);
  FG_UNROLL for (int half = FG_LANES / 2; half > 0; half /= 2) {
    vr upper = part[0];
    FG_UNROLL for (int i = 0; i < FG_LANES; i++) upper[i] = part[0][(i + half) % FG_LANES];
    part[0] = folded(function, part[0], upper);
  }
  return part[0][0];
}

/* Packed elements, the first of them in lane 0. */
FG_INLINE void fold_packed(int function, vr *part, const real *x, fg_idx n) {
  fg_idx i = 0;
  for (; i + FG_FOLD <= n; i += FG_FOLD)
    FG_UNROLL for (int p = 0; p < FG_PARTS; p++) part[p] = folded(function, part[p], load(x + i + p * FG_LANES));
  if (i == n) return;
  vr rest[FG_PARTS];
  for (int p = 0; p < FG_PARTS; p++) rest[p] = fold_start(function);
  memcpy(rest, x + i, (size_t)(n - i) * sizeof(real));
  for (int p = 0; p < FG_PARTS; p++) part[p] = folded(function, part[p], rest[p]);
}

/* One vector of outputs: x + offset[k] is their element k; lane k % 16 is a vector, too. */
FG_INLINE void fold_across(int function, int lay, vr *lanes, const real *x, fg_idx stride, const fg_idx *offset,
                           fg_idx n) {
  fg_idx k = 0;
  for (; k + FG_FOLD <= n; k += FG_FOLD)
    FG_UNROLL for (int j = 0; j < FG_FOLD; j++)
      lanes[j] = folded(function, lanes[j], load_lanes(lay, x + offset[k + j], stride, FG_LANES));
  for (int j = 0; j < n - k; j++)
    lanes[j] = folded(function, lanes[j], load_lanes(lay, x + offset[k + j], stride, FG_LANES));
}

/* The same for outputs that lie anyhow: what their loads take is not less for a loop written out. */
FG_INLINE void fold_scattered(int function, vr *lanes, const real *x, fg_idx stride, const fg_idx *offset, fg_idx n,
                              fg_idx outputs) {
  for (fg_idx k = 0; k < n; k++) {
    vr *lane = &lanes[k % FG_FOLD];
    *lane = folded(function, *lane, load_lanes(FG_SCATTERED, x + offset[k], stride, outputs));
  }
}

/* The first n virtual lanes made one; the others are as they started. */
FG_INLINE vr fold_columns(int function, vr *lanes, fg_idx n) {
  for (int half = FG_FOLD / 2; half > 0; half /= 2)
    for (int i = 0; i < half && i + half < n; i++) lanes[i] = folded(function, lanes[i], lanes[i + half]);
  return lanes[0];
}

/* Packed outputs of so few elements each that no lane holds two of them. */
FG_INLINE void fold_few_as(int function, fg_idx terms, int lay, real *out, const real *x, const fg_idx *offset,
                           fg_idx n) {
  const vr start = fold_start(function);
  for (fg_idx i = 0; i < n; i += FG_LANES) {
    vr lanes[FG_FOLD];
    i = smaller(i, n - FG_LANES); /* the last vector anew what it shares with the one before */
    FG_EACH(j, FG_FOLD)
      lanes[j] = j < terms ? folded(function, start, load_lanes(lay, x + i * lay + offset[j], lay, FG_LANES)) : start;
    FG_UNROLL for (int half = FG_FOLD / 2; half > 0; half /= 2)
      FG_EACH(j, FG_FOLD / 2) if (j < half && j + half < terms) lanes[j] = folded(function, lanes[j], lanes[j + half]);
    store(out + i, lanes[0]);
  }
}

/* Those of the usual pools; false of others. Of 2x2 over 16 channels: 13 ns a vector of outputs, and 26 by `across` and
 * `columns` (Zen 4). */
FG_INLINE int fold_few(int function, int lay, real *out, const real *x, const fg_idx *offset, fg_idx terms, fg_idx n) {
  switch (terms) {
    case 2: fold_few_as(function, 2, lay, out, x, offset, n); return 1;
    case 3: fold_few_as(function, 3, lay, out, x, offset, n); return 1;
    case 4: fold_few_as(function, 4, lay, out, x, offset, n); return 1;
    case 9: fold_few_as(function, 9, lay, out, x, offset, n); return 1;
    default: return 0;
  }
}

typedef int fold_few_fn(real *out, const real *x, const fg_idx *offset, fg_idx terms, fg_idx n);
#define FG_FEW(name, function)                                                                                         \
  static int name##_few(real *out, const real *x, const fg_idx *offset, fg_idx terms, fg_idx n) {                      \
    return fold_few(function, FG_PACKED, out, x, offset, terms, n);                                                    \
  }                                                                                                                    \
  static int name##_few_others(real *out, const real *x, const fg_idx *offset, fg_idx terms, fg_idx n) {               \
    return fold_few(function, FG_EVERY_OTHER, out, x, offset, terms, n);                                               \
  }
FG_FEW(fold_sum, FG_FOLD_SUM)
FG_FEW(fold_max, FG_FOLD_MAX)
static fold_few_fn *const few_folds[][FG_LAYS] = {
  [FG_FOLD_SUM] = {[FG_PACKED] = fold_sum_few, [FG_EVERY_OTHER] = fold_sum_few_others},
  [FG_FOLD_MAX] = {[FG_PACKED] = fold_max_few, [FG_EVERY_OTHER] = fold_max_few_others},
};

/* Elements of one output that do not lie packed, on their way into the lanes. */
typedef struct {
  vr part[FG_PARTS];
  fg_idx filled;
  real packed[FG_CHUNK];
} fg_pour;

typedef void fold_across_fn(vr *lanes, const real *x, fg_idx stride, const fg_idx *offset, fg_idx n, fg_idx outputs);
typedef struct {
  void (*packed)(vr *part, const real *x, fg_idx n);
  real (*lanes)(vr *part);
  fold_across_fn *across[FG_LAYS];
  vr (*columns)(vr *lanes, fg_idx n);
} fg_folder;

#define FG_ACROSS(name)                                                                                                \
  static void name(vr *lanes, const real *x, fg_idx stride, const fg_idx *offset, fg_idx n, fg_idx outputs)
#define FG_FOLDER(name, function)                                                                                      \
  static void name##_packed(vr *part, const real *x, fg_idx n) { fold_packed(function, part, x, n); }                  \
  FG_ACROSS(name##_vectors) { (void)outputs, fold_across(function, FG_PACKED, lanes, x, stride, offset, n); }          \
  FG_ACROSS(name##_others) { (void)outputs, fold_across(function, FG_EVERY_OTHER, lanes, x, stride, offset, n); }      \
  FG_ACROSS(name##_scattered) { fold_scattered(function, lanes, x, stride, offset, n, outputs); }
#define FG_MERGER(name, function)                                                                                      \
  static real name##_lanes(vr *part) { return fold_lanes(function, part); }                                            \
  static vr name##_columns(vr *lanes, fg_idx n) { return fold_columns(function, lanes, n); }
#define FG_FOLDER_ROW(name, merger)                                                                                    \
  {name##_packed, merger##_lanes, {name##_scattered, name##_vectors, name##_others, name##_scattered}, merger##_columns}
/* function, name, what merges its lanes: sums of squares and of magnitudes are sums from there on */
#define FG_FOLDERS(row)                          \
  row(FG_FOLD_SUM, fold_sum, fold_sum)           \
  row(FG_FOLD_MAX, fold_max, fold_max)           \
  row(FG_FOLD_MIN, fold_min, fold_min)           \
  row(FG_FOLD_PROD, fold_prod, fold_prod)        \
  row(FG_FOLD_SUM_SQUARE, fold_square, fold_sum) \
  row(FG_FOLD_SUM_ABS, fold_abs, fold_sum)
FG_MERGER(fold_sum, FG_FOLD_SUM)
FG_MERGER(fold_max, FG_FOLD_MAX)
FG_MERGER(fold_min, FG_FOLD_MIN)
FG_MERGER(fold_prod, FG_FOLD_PROD)
#define FG_DEFINE_FOLDER(function, name, merger) FG_FOLDER(name, function)
#define FG_FOLDER_ENTRY(function, name, merger) [function] = FG_FOLDER_ROW(name, merger),
FG_FOLDERS(FG_DEFINE_FOLDER)
static const fg_folder folders[] = {FG_FOLDERS(FG_FOLDER_ENTRY)};

static void pour(const fg_folder *folder, fg_pour *into, const real *x, const fg_walk *walk, int d) {
  const fg_idx n = walk->dims[d], stride = walk->strides[d];
  for (fg_idx i = 0; i < n && d + 1 < walk->rank; i++) pour(folder, into, x + i * stride, walk, d + 1);
  if (d + 1 < walk->rank) return;
  for (fg_idx i = 0; i < n;) {
    const fg_idx to = smaller(n, i + FG_CHUNK - into->filled);
    for (; i < to; i++) into->packed[into->filled++] = x[i * stride];
    if (into->filled < FG_CHUNK) return;
    folder->packed(into->part, into->packed, FG_CHUNK);
    into->filled = 0;
  }
}

static real reduce_one(const fg_folder *folder, vr start, const real *x, const fg_walk *walk) {
  fg_pour into;
  into.filled = 0;
  for (int i = 0; i < FG_PARTS; i++) into.part[i] = start;
  if (lies_packed(walk)) folder->packed(into.part, x, walk->dims[0]);
  else {
    pour(folder, &into, x, walk, 0);
    folder->packed(into.part, into.packed, into.filled);
  }
  return folder->lanes(into.part);
}

/* The outputs of the last output loop, by vectors. */
static void reduce_row(int function, vr start, const fg_nest *nest, fg_terms *terms, real *out, const real *x) {
  const fg_folder *folder = &folders[function];
  const int d = nest->outer - 1;
  const fg_idx n = nest->dims[d], from = nest->strides[1][d], to = nest->strides[0][d];
  fold_across_fn *const across = folder->across[n < FG_LANES ? FG_SCATTERED : lay_of(from)];
  fold_few_fn *const few = function <= FG_FOLD_MAX ? few_folds[function][lay_of(from)] : NULL;
  if (few && to == 1 && n >= FG_LANES && terms->count > 1 && terms->count <= FG_FOLD) {
    const fg_idx held = hold_terms(terms, 0);
    if (few(out, x, terms->offset[0], held, n)) return;
  }
  for (fg_idx i = 0; i < n; i += FG_LANES) {
    if (n > FG_LANES) i = smaller(i, n - FG_LANES); /* the last vector anew what it shares with the one before */
    vr lanes[FG_FOLD];
    for (int j = 0; j < FG_FOLD && (j == 0 || j < terms->count); j++) lanes[j] = start;
    for (fg_idx k = 0; k < terms->count; k += FG_TERMS_HELD) {
      const fg_idx held = hold_terms(terms, k);
      across(lanes, x + i * from, from, terms->offset[0], held, n - i);
    }
    store_lanes(out + i * to, to, folder->columns(lanes, terms->count), n - i);
  }
}

/* Puts the output loop that fills vectors best inside; how many elements a load then brings. */
static fg_idx choose_outputs(fg_nest *nest) {
  static const fg_idx gain[FG_LAYS] = {1, FG_LANES, FG_LANES / 2, 1};
  fg_idx best = 0;
  int inside = 0;
  for (int d = 0; d < nest->outer; d++) {
    const fg_idx n = smaller(nest->dims[d], FG_LANES), stride = nest->strides[1][d];
    const fg_idx score = stride == 1 ? n : n < FG_LANES ? 1 : gain[lay_of(stride)];
    if (n > 1 && score >= best) best = score, inside = d;
  }
  if (best > 0) move_inside(nest, inside);
  return best;
}

static void reduce(const fg_nest *given, int function, void *const *operands) {
  fg_nest nest;
  fg_terms terms;
  fg_idx at[FG_RANK] = {0};
  real *p[FG_OPERANDS] = {(real *)operands[0], (real *)operands[1]};
  const fg_folder *folder = &folders[function];
  const vr start = fold_start(function);
  if (elements(given, 0, given->outer) == 0) return;
  simplify(given, &nest);
  find_terms(&nest, 1, &terms);
  const fg_walk *walk = &terms.walks[0];
  const fg_idx gain = choose_outputs(&nest);
  if (gain > (lies_packed(walk) && terms.count >= FG_FOLD ? FG_LANES / 2 : 0)) {
    do reduce_row(function, start, &nest, &terms, p[0], p[1]);
    while (advance(&nest, nest.outer - 1, at, p));
  } else {
    do *p[0] = reduce_one(folder, start, p[1], walk);
    while (advance(&nest, nest.outer, at, p));
  }
}

static void arg_reduce(const fg_nest *given, int least, int last, void *const *operands) {
  fg_nest nest;
  fg_walk walk;
  fg_idx at[FG_RANK] = {0};
  real *p[FG_OPERANDS] = {(real *)operands[0], (real *)operands[1]};
  const int function = least ? FG_FOLD_MIN : FG_FOLD_MAX;
  if (elements(given, 0, given->outer) == 0) return;
  simplify(given, &nest);
  walk_of(&nest, 1, nest.outer, nest.rank, &walk);
  const fg_idx n = walk.dims[0], stride = walk.strides[0];
  do {
    const real top = reduce_one(&folders[function], fold_start(function), p[1], &walk);
    fg_idx k = last ? n - 1 : 0;
    for (const fg_idx step = last ? -1 : 1; k >= 0 && k < n; k += step)
      if (p[1][k * stride] == top || (top != top && p[1][k * stride] != p[1][k * stride])) break;
    *p[0] = (real)k;
  } while (advance(&nest, nest.outer, at, p));
}

#endif
