/* contract: out = act(bias + sum of a * b), for convolutions and small products.
 *
 * The terms of an output are numbered k in the order of the folded loops. Where a or b lies packed along the last
 * output loop, outputs are the lanes of vectors, a block of them at a time, and each sum runs as in tile.h: chains of
 * FG_CHAIN fused multiply-adds in ascending k, each added to the total as it ends. Where instead both lie packed along
 * the last folded loop, term k goes to virtual lane k % 16, and the lanes fold in a fixed tree. Which of the two is
 * decided by the strides of these loops as given, whatever their lengths.
 */
#ifndef FASTGRU_CONTRACT_H
#define FASTGRU_CONTRACT_H

#include "reduce.h"
#include "tile.h"

enum { FG_BLOCK = 8 }; /* vectors of outputs summed together: the latency of four cycles on two ports */
enum fg_reach { FG_REPEATED, FG_PACKED_LANES, FG_SCATTERED }; /* what stride 0, 1, any other means for a vector */

/* A block of vectors of outputs, the terms of which lie at the same offsets from a and b. */
typedef struct {
  const real *a[FG_BLOCK], *b[FG_BLOCK];
  fg_idx a_lane, b_lane; /* strides of scattered lanes */
  fg_idx lanes;          /* outputs in each vector, FG_LANES or fewer */
  const fg_idx *a_term, *b_term;
} fg_block;

FG_INLINE vr reach(int how, const real *p, fg_idx stride, int whole_vector, fg_idx lanes) {
  if (how == FG_REPEATED) return splat(*p);
  if (how == FG_SCATTERED) return load_lanes(p, stride, lanes);
  return whole_vector ? load(p) : load_part(p, lanes);
}

/* acc[r] += the terms 0 .. n - 1 of vector r. */
FG_INLINE void block_sum(int R, int ha, int hb, int same_a, int same_b, int whole_vector, vr *acc, const fg_block *at,
                         fg_idx n) {
  const fg_idx lanes = at->lanes;
  for (fg_idx k = 0; k < n;) {
    vr part[FG_BLOCK];
    FG_UNROLL for (int r = 0; r < R; r++) part[r] = splat(0);
    for (const fg_idx to = smaller(n, k + FG_CHAIN); k < to; k++) {
      const fg_idx ka = at->a_term[k], kb = at->b_term[k];
      vr a = splat(0), b = splat(0);
      FG_UNROLL for (int r = 0; r < R; r++) {
        if (r == 0 || !same_a) a = reach(ha, at->a[r] + ka, at->a_lane, whole_vector, lanes);
        if (r == 0 || !same_b) b = reach(hb, at->b[r] + kb, at->b_lane, whole_vector, lanes);
        part[r] += a * b;
      }
    }
    FG_UNROLL for (int r = 0; r < R; r++) acc[r] += part[r];
  }
}

typedef void block_fn(vr *acc, const fg_block *, fg_idx n);
#define FG_BLOCK_FN(name, ha, hb, same_a, same_b)                                            \
  FG_BLOCK_ROWS(name##_whole, ha, hb, same_a, same_b, 1)                                     \
  FG_BLOCK_ROWS(name##_part, ha, hb, same_a, same_b, 0)
#define FG_BLOCK_ROWS(name, ha, hb, same_a, same_b, whole)                                   \
  FG_BLOCK_ROW(name##_1, 1, ha, hb, same_a, same_b, whole)                                   \
  FG_BLOCK_ROW(name##_2, 2, ha, hb, same_a, same_b, whole)                                   \
  FG_BLOCK_ROW(name##_4, 4, ha, hb, same_a, same_b, whole)                                   \
  FG_BLOCK_ROW(name##_8, 8, ha, hb, same_a, same_b, whole)
#define FG_BLOCK_ROW(name, R, ha, hb, same_a, same_b, whole)                                 \
  static void name(vr *acc, const fg_block *at, fg_idx n) { block_sum(R, ha, hb, same_a, same_b, whole, acc, at, n); }
/* a lies packed; b is one weight for all lanes, or packed, too */
FG_BLOCK_FN(block_splat, FG_PACKED_LANES, FG_REPEATED, 0, 0)
FG_BLOCK_FN(block_splat_a, FG_PACKED_LANES, FG_REPEATED, 1, 0)
FG_BLOCK_FN(block_splat_b, FG_PACKED_LANES, FG_REPEATED, 0, 1)
FG_BLOCK_FN(block_both, FG_PACKED_LANES, FG_PACKED_LANES, 0, 0)
FG_BLOCK_FN(block_both_b, FG_PACKED_LANES, FG_PACKED_LANES, 0, 1)
FG_BLOCK_FN(block_any, FG_SCATTERED, FG_SCATTERED, 0, 0)
#define FG_BLOCK_TABLE(name) \
  {{name##_part_1, name##_part_2, name##_part_4, name##_part_8}, {name##_whole_1, name##_whole_2, name##_whole_4, name##_whole_8}}
enum { FG_BLOCK_SPLAT, FG_BLOCK_SPLAT_A, FG_BLOCK_SPLAT_B, FG_BLOCK_BOTH, FG_BLOCK_BOTH_B, FG_BLOCK_ANY };
static block_fn *const blocks[][2][4] = {FG_BLOCK_TABLE(block_splat), FG_BLOCK_TABLE(block_splat_a),
                                         FG_BLOCK_TABLE(block_splat_b), FG_BLOCK_TABLE(block_both),
                                         FG_BLOCK_TABLE(block_both_b), FG_BLOCK_TABLE(block_any)};

/* A loop over outputs as the operands walk it. */
typedef struct {
  fg_idx n, out, a, b, bias;
} fg_run;

typedef struct {
  fg_nest nest;
  fg_terms terms;
  const fg_act *act;
  fg_run lane, row; /* along a vector; from one vector of a block to the next */
  int loops;        /* output loops around these */
} contract_job;

static fg_run run_of(const fg_nest *nest, int d) {
  if (d < 0) return (fg_run){1, 0, 0, 0, 0};
  return (fg_run){nest->dims[d], nest->strides[0][d], nest->strides[1][d], nest->strides[2][d],
                  nest->operands > 3 ? nest->strides[3][d] : 0};
}

FG_INLINE vr bias_of(const contract_job *job, real *const *p, fg_idx lane, fg_idx row, fg_idx n) {
  if (job->nest.operands < 4) return splat(0);
  return load_lanes(p[3] + lane * job->lane.bias + row * job->row.bias, job->lane.bias, n);
}

FG_INLINE void finish(const contract_job *job, real *const *p, fg_idx lane, fg_idx row, vr sums, fg_idx n) {
  real *out = p[0] + lane * job->lane.out + row * job->row.out;
  store_lanes(out, job->lane.out, job->act->kind == FG_LINEAR ? sums : fg_activation(job->act, sums), n);
}

/* How many lanes output loop d fills without gathering. */
static fg_idx lane_score(const fg_nest *nest, int d) {
  const fg_idx a = nest->strides[1][d], b = nest->strides[2][d];
  return (a == 1 && (b == 0 || b == 1)) || (b == 1 && a == 0) ? smaller(nest->dims[d], FG_LANES) : 0;
}

/* How well a loop serves as the vectors of a block: their number, and whether they share an operand. */
static fg_idx row_score(fg_idx n, fg_idx a, fg_idx b) { return smaller(n, FG_BLOCK) * (a == 0 || b == 0 ? 3 : 2); }

static void swap_factors(fg_nest *nest, real **p) {
  real *const a = p[1];
  p[1] = p[2], p[2] = a;
  for (int d = 0; d < nest->rank; d++) {
    const fg_idx stride = nest->strides[1][d];
    nest->strides[1][d] = nest->strides[2][d], nest->strides[2][d] = stride;
  }
}

/* The loop of the lanes, operand 1 packed along it, and the one of the rows: none if vectors along the lanes do. */
static void choose_loops(contract_job *job, real **p) {
  fg_nest *nest = &job->nest;
  int lane = nest->outer - 1, row = -1;
  for (int d = nest->outer - 2; d >= 0; d--)
    if (lane_score(nest, d) > lane_score(nest, lane)) lane = d;
  if (lane >= 0) move_inside(nest, lane);
  job->loops = lane >= 0 ? nest->outer - 1 : 0;
  if (lane >= 0 && nest->strides[1][job->loops] != 1) swap_factors(nest, p);
  job->lane = run_of(nest, nest->outer - 1);
  fg_idx best = row_score((job->lane.n + FG_LANES - 1) / FG_LANES, job->lane.a, job->lane.b);
  for (int d = job->loops - 1; d >= 0; d--) {
    const fg_idx score = row_score(nest->dims[d], nest->strides[1][d], nest->strides[2][d]);
    if (score > best) best = score, row = d;
  }
  job->row = run_of(nest, row);
  if (row < 0) return;
  nest->outer--, move_inside(nest, row), nest->outer++;
  job->loops--;
}

static int block_kind(const fg_run *lane, const fg_run *row) {
  const int shared_a = row->n > 1 && row->a == 0, shared_b = row->n > 1 ? row->b == 0 : lane->b == 0;
  if (lane->a != 1 || (lane->b != 0 && lane->b != 1)) return FG_BLOCK_ANY;
  if (lane->b == 1) return shared_b ? FG_BLOCK_BOTH_B : FG_BLOCK_BOTH;
  return shared_b ? FG_BLOCK_SPLAT_B : shared_a ? FG_BLOCK_SPLAT_A : FG_BLOCK_SPLAT;
}

/* R vectors of outputs from number `first` on, counted along the rows, or along the lanes where there are none. */
static void contract_block(contract_job *job, block_fn *sum, real *const *p, int R, fg_idx vector, fg_idx first) {
  const fg_run *lane = &job->lane, *row = &job->row;
  const fg_idx end = lane->n > FG_LANES ? lane->n - FG_LANES : 0; /* the last vector takes in what the one before has */
  fg_idx lanes[FG_BLOCK], rows[FG_BLOCK];
  vr acc[FG_BLOCK];
  fg_block at = {.a_lane = lane->a, .b_lane = lane->b, .lanes = smaller(lane->n, FG_LANES)};
  for (int r = 0; r < R; r++) {
    lanes[r] = smaller((row->n > 1 ? vector : first + r) * FG_LANES, end), rows[r] = row->n > 1 ? first + r : 0;
    at.a[r] = p[1] + lanes[r] * lane->a + rows[r] * row->a;
    at.b[r] = p[2] + lanes[r] * lane->b + rows[r] * row->b;
    acc[r] = bias_of(job, p, lanes[r], rows[r], at.lanes);
  }
  at.a_term = job->terms.offset[0], at.b_term = job->terms.offset[1];
  for (fg_idx k = 0; k < job->terms.count; k += FG_TERMS_HELD) {
    const fg_idx held = hold_terms(&job->terms, k);
    sum(acc, &at, held);
  }
  for (int r = 0; r < R; r++) finish(job, p, lanes[r], rows[r], acc[r], at.lanes);
}

static void contract_chains(contract_job *job, real **p) {
  choose_loops(job, p);
  const fg_idx vectors = (job->lane.n + FG_LANES - 1) / FG_LANES;
  const fg_idx outer = job->row.n > 1 ? vectors : 1, inner = job->row.n > 1 ? job->row.n : vectors;
  const int size = inner >= 8 ? 3 : inner >= 4 ? 2 : inner >= 2, R = 1 << size;
  block_fn *const sum = blocks[block_kind(&job->lane, &job->row)][job->lane.n >= FG_LANES][size];
  fg_idx at[FG_RANK] = {0};
  do
    for (fg_idx v = 0; v < outer; v++)
      for (fg_idx i = 0; i < inner; i += R) contract_block(job, sum, p, R, v, smaller(i, inner - R));
  while (advance(&job->nest, job->loops, at, p));
}

/* part[r] += a[r] b[r], term k in lane k % 16. */
FG_INLINE void dot_packed(int R, vr (*part)[FG_PARTS], const real *const *a, const real *const *b, fg_idx n) {
  fg_idx k = 0;
  for (; k + FG_FOLD <= n; k += FG_FOLD)
    FG_UNROLL for (int r = 0; r < R; r++)
      FG_UNROLL for (int i = 0; i < FG_PARTS; i++)
        part[r][i] += load(a[r] + k + i * FG_LANES) * load(b[r] + k + i * FG_LANES);
  for (int i = 0; k < n; k += FG_LANES, i++)
    for (int r = 0; r < R; r++) part[r][i] += load_lanes(a[r] + k, 1, n - k) * load_lanes(b[r] + k, 1, n - k);
}

enum { FG_DOTS = 4 };
/* R outputs from `first` on along the lanes; terms that lie scattered are packed first. */
FG_INLINE void dots(int R, contract_job *job, real *const *p, fg_idx first, int packed, real *sums) {
  vr part[FG_DOTS][FG_PARTS] = {{{0}}};
  const real *a[FG_DOTS], *b[FG_DOTS];
  for (int r = 0; r < R; r++) {
    a[r] = p[1] + (first + r) * job->lane.a, b[r] = p[2] + (first + r) * job->lane.b;
  }
  if (packed) dot_packed(R, part, a, b, job->terms.count);
  for (fg_idx k = 0; k < job->terms.count && !packed; k += FG_TERMS_HELD) {
    const fg_idx n = hold_terms(&job->terms, k);
    for (int r = 0; r < R; r++) {
      real x[FG_TERMS_HELD], y[FG_TERMS_HELD];
      const real *xs[1] = {x}, *ys[1] = {y};
      for (fg_idx j = 0; j < n; j++) x[j] = a[r][job->terms.offset[0][j]], y[j] = b[r][job->terms.offset[1][j]];
      dot_packed(1, part + r, xs, ys, n);
    }
  }
  for (int r = 0; r < R; r++) sums[r] = fold_lanes(FG_FOLD_SUM, part[r]);
}

static void contract_dots(contract_job *job, real **p) {
  const fg_nest *nest = &job->nest;
  fg_walk a, b;
  fg_idx at[FG_RANK] = {0};
  const fg_idx count = nest->outer < nest->rank ? nest->dims[nest->outer] : 1;
  walk_of(nest, 1, nest->outer, nest->rank, count, &a), walk_of(nest, 2, nest->outer, nest->rank, count, &b);
  const int packed = lies_packed(&a) && lies_packed(&b);
  job->lane = run_of(nest, nest->outer - 1), job->row = run_of(nest, -1);
  const fg_idx n = job->lane.n;
  do
    for (fg_idx i = 0; i < n; i += FG_LANES) {
      const fg_idx to = smaller(n - i, FG_LANES);
      real sums[FG_LANES] = {0};
      fg_idx j = 0;
      for (; j + FG_DOTS <= to; j += FG_DOTS) dots(FG_DOTS, job, p, i + j, packed, sums + j);
      for (; j < to; j++) dots(1, job, p, i + j, packed, sums + j);
      finish(job, p, i, 0, bias_of(job, p, i, 0, to) + load(sums), to);
    }
  while (advance(nest, nest->outer - (nest->outer > 0), at, p));
}

static void contract(const fg_nest *given, const fg_act *act, void *const *operands) {
  contract_job job;
  real *p[FG_OPERANDS] = {0};
  const int lane = given->outer - 1, term = given->rank - 1;
  if (elements(given, 0, given->outer) == 0) return;
  for (int o = 0; o < given->operands; o++) p[o] = (real *)operands[o];
  simplify(given, &job.nest);
  job.act = act;
  job.terms.nest = &job.nest, job.terms.first = -1;
  job.terms.count = elements(&job.nest, job.nest.outer, job.nest.rank);
  const int across = lane >= 0 && (given->strides[1][lane] == 1 || given->strides[2][lane] == 1);
  if (!across && term > lane && given->strides[1][term] == 1 && given->strides[2][term] == 1) contract_dots(&job, p);
  else contract_chains(&job, p);
}

#endif
