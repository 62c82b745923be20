/* contract: out = act(bias + sum of a * b), for convolutions and small products.
 *
 * The terms of an output are numbered k in the order of the folded loops, and there are two orders to sum them in.
 *
 * Chains: as in tile.h, FG_CHAIN fused multiply-adds in ascending k, each chain added to the total as it ends. Outputs
 * are the lanes of vectors, a block of them at a time.
 *
 * Dots: term k goes to virtual lane k % 16, and the lanes fold in a fixed tree: where all terms of an output lie packed
 * in both a and b, and neither has a stride of 1 or 2 in the last output loop as given, however short that is.
 */
#ifndef FASTGRU_CONTRACT_H
#define FASTGRU_CONTRACT_H

#include "reduce.h"
#include "fastgru/gemm/tile.h"

enum { FG_SHARE_NONE, FG_SHARE_A, FG_SHARE_B };
enum { FG_BLOCK = 8 }; /* vectors of outputs summed together: the latency of four cycles on two ports */

/* The terms of all vectors of a block lie at the same offsets from a and b. */
typedef struct {
  const real *a[FG_BLOCK], *b[FG_BLOCK];
  fg_idx a_lane, b_lane; /* strides along the lanes */
  fg_idx lanes;          /* outputs in each vector, FG_LANES or fewer */
  const fg_idx *a_term, *b_term;
} fg_block;

/* acc[r] += the terms 0 .. n - 1 of vector r; a or b may be shared by all. */
FG_INLINE void block_sum(int R, int lay_a, int lay_b, int share, fg_idx lanes, vr *acc, const fg_block *at, fg_idx n) {
  for (fg_idx k = 0; k < n;) {
    vr part[FG_BLOCK];
    FG_UNROLL for (int r = 0; r < R; r++) part[r] = splat(0);
    for (const fg_idx to = smaller(n, k + FG_CHAIN); k < to; k++) {
      const fg_idx ka = at->a_term[k], kb = at->b_term[k];
      vr a = splat(0), b = splat(0);
      FG_UNROLL for (int r = 0; r < R; r++) {
        if (r == 0 || share != FG_SHARE_A) a = load_lanes(lay_a, at->a[r] + ka, at->a_lane, lanes);
        if (r == 0 || share != FG_SHARE_B) b = load_lanes(lay_b, at->b[r] + kb, at->b_lane, lanes);
        part[r] = fused(a, b, part[r]);
      }
    }
    FG_UNROLL for (int r = 0; r < R; r++) acc[r] += part[r];
  }
}

/* name, how a and b lie along the lanes, what is shared, whether all lanes of the vectors are outputs */
#define FG_BLOCKS(row)                                                                     \
  row(splat, FG_PACKED, FG_REPEATED, FG_SHARE_NONE, 1)                                     \
  row(splat_a, FG_PACKED, FG_REPEATED, FG_SHARE_A, 1)                                      \
  row(splat_b, FG_PACKED, FG_REPEATED, FG_SHARE_B, 1)                                      \
  row(both, FG_PACKED, FG_PACKED, FG_SHARE_NONE, 1)                                        \
  row(both_a, FG_PACKED, FG_PACKED, FG_SHARE_A, 1)                                         \
  row(both_b, FG_PACKED, FG_PACKED, FG_SHARE_B, 1)                                         \
  row(other, FG_EVERY_OTHER, FG_REPEATED, FG_SHARE_NONE, 1)                                \
  row(other_a, FG_EVERY_OTHER, FG_REPEATED, FG_SHARE_A, 1)                                 \
  row(other_b, FG_EVERY_OTHER, FG_REPEATED, FG_SHARE_B, 1)                                 \
  row(part, FG_PACKED, FG_REPEATED, FG_SHARE_NONE, 0)                                      \
  row(part_a, FG_PACKED, FG_REPEATED, FG_SHARE_A, 0)                                       \
  row(part_b, FG_PACKED, FG_REPEATED, FG_SHARE_B, 0)                                       \
  row(parts, FG_PACKED, FG_PACKED, FG_SHARE_NONE, 0)                                       \
  row(parts_a, FG_PACKED, FG_PACKED, FG_SHARE_A, 0)                                        \
  row(parts_b, FG_PACKED, FG_PACKED, FG_SHARE_B, 0)                                        \
  row(any, FG_SCATTERED, FG_SCATTERED, FG_SHARE_NONE, 0)                                   \
  row(any_a, FG_SCATTERED, FG_SCATTERED, FG_SHARE_A, 0)                                    \
  row(any_b, FG_SCATTERED, FG_SCATTERED, FG_SHARE_B, 0)
#define FG_BLOCK_ROWS(name, ...)                                                           \
  FG_BLOCK_FN(block_##name##_8, 8, __VA_ARGS__)                                            \
  FG_BLOCK_FN(block_##name##_4, 4, __VA_ARGS__)                                            \
  FG_BLOCK_FN(block_##name##_1, 1, __VA_ARGS__)
#define FG_BLOCK_FN(name, R, lay_a, lay_b, share, whole)                                   \
  static void name(vr *acc, const fg_block *at, fg_idx n) {                                \
    block_sum(R, lay_a, lay_b, share, whole ? FG_LANES : at->lanes, acc, at, n);           \
  }
FG_BLOCKS(FG_BLOCK_ROWS)

typedef void block_fn(vr *acc, const fg_block *, fg_idx n);
typedef struct {
  int lay_a, lay_b, share, whole;
  block_fn *sum[3]; /* of 1, 4, 8 vectors */
} fg_block_kind;
#define FG_BLOCK_ENTRY(name, ...) {__VA_ARGS__, {block_##name##_1, block_##name##_4, block_##name##_8}},
static const fg_block_kind block_kinds[] = {FG_BLOCKS(FG_BLOCK_ENTRY)};

/* A loop over outputs as the operands walk it. */
typedef struct {
  fg_idx n, out, a, b, bias;
} fg_run;

typedef struct {
  fg_nest nest;
  fg_terms terms;
  const fg_act *act;
  fg_run lane; /* along a vector */
  fg_run row;  /* from one vector of a block to the next: an output loop, or along the lanes */
  int rows;    /* whether it is an output loop */
  int loops;   /* output loops around these */
} contract_job;

static fg_run run_of(const fg_nest *nest, int d) {
  if (d < 0) return (fg_run){1, 0, 0, 0, 0};
  return (fg_run){nest->dims[d], nest->strides[0][d], nest->strides[1][d], nest->strides[2][d],
                  nest->operands > 3 ? nest->strides[3][d] : 0};
}

FG_INLINE vr bias_of(const contract_job *job, const real *bias, fg_idx n) {
  if (job->nest.operands < 4) return splat(0);
  return job->lane.bias == 1 && n == FG_LANES ? load(bias) : load_lanes(FG_SCATTERED, bias, job->lane.bias, n);
}

FG_INLINE void finish(const contract_job *job, real *out, vr sums, fg_idx n) {
  store_lanes(out, job->lane.out, activated(job->act, sums), n);
}

/* Loads that a vector of lanes takes, about. */
FG_INLINE fg_idx load_cost(fg_idx stride, fg_idx n) {
  static const fg_idx cost[FG_LAYS] = {1, 1, 2, 8};
  return stride == 2 && n < FG_LANES ? n : cost[lay_of(stride)];
}

/* How well output loop d serves as lanes: those it fills by the loads of all terms and what stores their sums, which
 * lane by lane takes as long as the terms of a small kernel: 16 channels of 3x3 over one, 213 us as lanes, 31 as rows. */
static fg_idx lane_score(const fg_nest *nest, int d) {
  const fg_idx n = nest->dims[d], lanes = smaller(n, FG_LANES);
  const fg_idx loads = load_cost(nest->strides[1][d], n) + load_cost(nest->strides[2][d], n);
  fg_idx terms = 1;
  for (int k = nest->outer; k < nest->rank; k++) terms = smaller(terms * nest->dims[k], FG_TERMS_HELD);
  return lanes * 256 * terms / (loads * terms + (nest->strides[0][d] == 1 ? 1 : lanes));
}

/* How well a loop of n serves as the vectors of a block: those summed in eight loads. */
static fg_idx row_score(const fg_run *lane, fg_idx n, fg_idx a, fg_idx b) {
  const fg_idx R = n >= 8 ? 8 : n >= 4 ? 4 : 1;
  const fg_idx loads = load_cost(lane->a, lane->n) * (a ? R : 1) + load_cost(lane->b, lane->n) * (b ? R : 1);
  return R * 1024 / (loads > FG_BLOCK ? loads : FG_BLOCK);
}

static void swap_factors(contract_job *job, real **p) {
  fg_nest *nest = &job->nest;
  real *const a = p[1];
  const fg_walk walk = job->terms.walks[0];
  p[1] = p[2], p[2] = a;
  job->terms.walks[0] = job->terms.walks[1], job->terms.walks[1] = walk;
  for (int d = 0; d < nest->rank; d++) {
    const fg_idx stride = nest->strides[1][d];
    nest->strides[1][d] = nest->strides[2][d], nest->strides[2][d] = stride;
  }
}

/* The loop of the lanes, operand 1 being the one that lies packed along it, and that of the rows: none where vectors
 * along the lanes serve better. */
static void choose_loops(contract_job *job, real **p) {
  fg_nest *nest = &job->nest;
  int lane = nest->outer - 1, row = -1;
  for (int d = nest->outer - 2; d >= 0; d--)
    if (lane_score(nest, d) > lane_score(nest, lane)) lane = d;
  if (lane >= 0) move_inside(nest, lane);
  job->loops = lane >= 0 ? nest->outer - 1 : 0;
  job->lane = run_of(nest, nest->outer - 1);
  if (lane >= 0 && job->lane.a != 1 && (job->lane.a == 0 || job->lane.b == 1)) {
    swap_factors(job, p);
    job->lane = run_of(nest, nest->outer - 1);
  }
  fg_idx best = row_score(&job->lane, (job->lane.n + FG_LANES - 1) / FG_LANES, job->lane.a, job->lane.b);
  for (int d = 0; d < job->loops; d++) {
    const fg_idx score = row_score(&job->lane, nest->dims[d], nest->strides[1][d], nest->strides[2][d]);
    if (score >= best) best = score, row = d;
  }
  const fg_run *lanes = &job->lane;
  job->row = (fg_run){lanes->n > FG_LANES ? lanes->n / FG_LANES : 1, lanes->out * FG_LANES, lanes->a * FG_LANES,
                      lanes->b * FG_LANES, lanes->bias * FG_LANES};
  job->rows = row >= 0;
  if (row < 0) return;
  job->row = run_of(nest, row);
  nest->outer--, move_inside(nest, row), nest->outer++; /* beside the lanes */
  job->loops--;
}

static const fg_block_kind *find_kind(const fg_run *lane, const fg_run *row) {
  const int share = row->a == 0 ? FG_SHARE_A : row->b == 0 ? FG_SHARE_B : FG_SHARE_NONE, whole = lane->n >= FG_LANES;
  const int lay_a = lay_of(lane->a), lay_b = lay_of(lane->b);
  const fg_block_kind *kind = block_kinds;
  while (kind->lay_a != FG_SCATTERED &&
         !(kind->lay_a == lay_a && kind->lay_b == lay_b && kind->share == share && kind->whole == whole))
    kind++;
  while (kind->share != share) kind++;
  return kind;
}

/* R vectors of outputs, the first of them at p. */
FG_INLINE void contract_block(contract_job *job, block_fn *sum, int R, real *const *p) {
  const fg_run *row = &job->row;
  vr acc[FG_BLOCK];
  fg_block at; /* not cleared: of three terms, that took a third of the time */
  at.a_lane = job->lane.a, at.b_lane = job->lane.b, at.lanes = smaller(job->lane.n, FG_LANES);
  const vr bias = bias_of(job, p[3], at.lanes);
  FG_EACH(r, R) {
    at.a[r] = p[1] + r * row->a, at.b[r] = p[2] + r * row->b;
    acc[r] = row->bias ? bias_of(job, p[3] + r * row->bias, at.lanes) : bias;
  }
  at.a_term = job->terms.offset[0], at.b_term = job->terms.offset[1];
  for (fg_idx k = 0; k < job->terms.count; k += FG_TERMS_HELD) {
    const fg_idx held = hold_terms(&job->terms, k);
    sum(acc, &at, held);
  }
  FG_EACH(r, R) finish(job, p[0] + r * row->out, acc[r], at.lanes);
}

/* n vectors from `lane` on by blocks of 8, 4 and 1, of which two may share vectors. */
static void contract_vectors(contract_job *job, const fg_block_kind *kind, real *const *p, fg_idx lane, fg_idx n) {
  static const int sizes[] = {1, 4, 8};
  const fg_run *along = &job->lane, *row = &job->row;
  for (fg_idx i = 0; i < n;) {
    const int size = n >= 8 && n - i > 4 ? 2 : n >= 4 && n - i > 1 ? 1 : 0, R = sizes[size];
    i = smaller(i, n - R);
    real *const first[] = {p[0] + lane * along->out + i * row->out, p[1] + lane * along->a + i * row->a,
                           p[2] + lane * along->b + i * row->b, p[3] + lane * along->bias + i * row->bias};
    switch (size) { /* written out: of three terms, the loops over R vectors took as long as the sums */
      case 2: contract_block(job, kind->sum[2], 8, first); break;
      case 1: contract_block(job, kind->sum[1], 4, first); break;
      default: contract_block(job, kind->sum[0], 1, first); break;
    }
    i += R;
  }
}

/* Tiles in two dimensions: vectors that lie side by side, by rows that share them, each with a number of its own for a
 * term. A load then serves several sums, and the totals lie in memory, so that the chains alone hold registers. */
#if FG_REGISTERS < 32 /* 12 chains of 16 registers; Zen 4, 3x3 from 16 to 32 channels: 91 us as 4 x 2, 55 as 6 x 2 */
enum { FG_TALL = 8, FG_BROAD = 3 };
#define FG_TALL_OF(C) ((C) == 3 ? 4 : (C) == 2 ? 6 : 8)
#define FG_SHEETS(row) row(4, 3) row(6, 2) row(8, 1) row(4, 2) row(4, 1) row(1, 3) row(1, 2) row(1, 1)
#else /* 16 of 32; Zen 4 (AVX-512), 1x1 over 128 channels: 180 us as 8 x 3, 159 as 8 x 2 */
enum { FG_TALL = 8, FG_BROAD = 2 };
#define FG_TALL_OF(C) 8
#define FG_SHEETS(row) row(8, 2) row(8, 1) row(4, 2) row(4, 1) row(1, 2) row(1, 1)
#endif

typedef struct {
  const real *a, *b;
  const fg_idx *a_term, *b_term;
  fg_idx b_row; /* from one row's number to the next one's */
} fg_sheet;

/* acc[r * C + c] += the terms 0 .. n - 1; `lay`: of the vectors; `beside`: the numbers of the rows lie side by side. */
FG_INLINE void sheet_sum(int R, int C, int lay, int beside, vr *acc, const fg_sheet *at, fg_idx n) {
  for (fg_idx k = 0; k < n;) {
    vr part[FG_TALL * FG_BROAD];
    FG_UNROLL for (int i = 0; i < R * C; i++) part[i] = splat(0);
    for (const fg_idx to = smaller(n, k + FG_CHAIN); k < to; k++) {
      const real *a = at->a + at->a_term[k], *b = at->b + at->b_term[k];
      vr v[FG_BROAD];
      FG_UNROLL for (int c = 0; c < C; c++) v[c] = load_lanes(lay, a + c * lay * FG_LANES, lay, FG_LANES);
      FG_UNROLL for (int r = 0; r < R; r++) {
        const vr w = splat(b[beside ? r : r * at->b_row]);
        FG_UNROLL for (int c = 0; c < C; c++) part[r * C + c] = fused(v[c], w, part[r * C + c]);
      }
    }
    FG_UNROLL for (int i = 0; i < R * C; i++) acc[i] += part[i];
    in_memory();
  }
}

#define FG_SHEET(name, R, C, lay, beside)                                                                              \
  static void name##_##R##_##C(vr *acc, const fg_sheet *at, fg_idx n) { sheet_sum(R, C, lay, beside, acc, at, n); }
#define FG_SHEET_FNS(R, C)                                                                                             \
  FG_SHEET(sheet, R, C, FG_PACKED, 0)                                                                                  \
  FG_SHEET(beside, R, C, FG_PACKED, 1)                                                                                 \
  FG_SHEET(others, R, C, FG_EVERY_OTHER, 0)
FG_SHEETS(FG_SHEET_FNS)
typedef void sheet_fn(vr *acc, const fg_sheet *, fg_idx n);
enum { FG_SHEET_APART, FG_SHEET_BESIDE, FG_SHEET_OTHERS, FG_SHEET_KINDS };
#define FG_SHEET_ROW(R, C) [R][C] = {sheet_##R##_##C, beside_##R##_##C, others_##R##_##C},
static sheet_fn *const sheets[FG_TALL + 1][FG_BROAD + 1][FG_SHEET_KINDS] = {FG_SHEETS(FG_SHEET_ROW)};

/* Whether the rows share what lies side by side along the lanes. */
static int makes_sheets(const contract_job *job) {
  const fg_run *lane = &job->lane, *row = &job->row;
  const int lies = lane->n >= FG_LANES && (lane->a == 1 || lane->a == 2) && lane->b == 0;
  return job->rows && lies && row->a == 0 && row->n > 1;
}

/* All rows by all lanes. What is left over is made anew with what stands before it. */
static void contract_sheets(contract_job *job, real *const *p) {
  const fg_run *lane = &job->lane, *row = &job->row;
  const fg_idx vectors = (lane->n + FG_LANES - 1) / FG_LANES;
  const int kind = lane->a == 2 ? FG_SHEET_OTHERS : row->b == 1 ? FG_SHEET_BESIDE : FG_SHEET_APART;
  for (fg_idx v = 0, C; v < vectors; v += C) {
    C = vectors - v == 4 ? 2 : smaller(vectors - v, FG_BROAD);
    C = smaller(C, lane->n / FG_LANES); /* no more than there are, to begin anew at the end */
    const fg_idx j = smaller(v * FG_LANES, lane->n - C * FG_LANES);
    for (fg_idx i = 0, R; i < row->n; i += R) {
      const fg_idx left = row->n - i, tall = FG_TALL_OF(C);
      R = row->n >= tall && left > 4 ? tall : row->n >= 4 && left > 1 ? 4 : 1;
      i = smaller(i, row->n - R);
      vr acc[FG_TALL * FG_BROAD];
      for (fg_idx r = 0; r < R; r++)
        for (fg_idx c = 0; c < C; c++)
          acc[r * C + c] = bias_of(job, p[3] + (i + r) * row->bias + (j + c * FG_LANES) * lane->bias, FG_LANES);
      fg_sheet at;
      at.a = p[1] + j * lane->a, at.b = p[2] + i * row->b, at.b_row = row->b;
      at.a_term = job->terms.offset[0], at.b_term = job->terms.offset[1];
      for (fg_idx k = 0; k < job->terms.count; k += FG_TERMS_HELD) {
        const fg_idx held = hold_terms(&job->terms, k);
        sheets[R][C][kind](acc, &at, held);
      }
      for (fg_idx r = 0; r < R; r++)
        for (fg_idx c = 0; c < C; c++)
          finish(job, p[0] + (i + r) * row->out + (j + c * FG_LANES) * lane->out, acc[r * C + c], FG_LANES);
    }
  }
}

static void contract_chains(contract_job *job, real **p) {
  fg_idx at[FG_RANK] = {0};
  choose_loops(job, p);
  if (makes_sheets(job)) {
    do contract_sheets(job, p);
    while (advance(&job->nest, job->loops, at, p));
    return;
  }
  const fg_block_kind *kind = find_kind(&job->lane, &job->row);
  const fg_idx n = job->lane.n, end = n > FG_LANES ? n - FG_LANES : 0; /* the last vector shares with the one before */
  do {
    fg_idx i = 0;
    if (!job->rows) {
      contract_vectors(job, kind, p, 0, job->row.n);
      i = job->row.n * FG_LANES;
    }
    for (; i < n; i += FG_LANES) contract_vectors(job, kind, p, smaller(i, end), job->rows ? job->row.n : 1);
  } while (advance(&job->nest, job->loops, at, p));
}

/* part[r] += a[r] b[r], term k in lane k % 16. */
FG_INLINE void dot_packed(int R, vr (*part)[FG_PARTS], const real *const *a, const real *const *b, fg_idx n) {
  fg_idx k = 0;
  for (; k + FG_FOLD <= n; k += FG_FOLD)
    FG_UNROLL for (int r = 0; r < R; r++)
      FG_UNROLL for (int i = 0; i < FG_PARTS; i++)
        part[r][i] = fused(load(a[r] + k + i * FG_LANES), load(b[r] + k + i * FG_LANES), part[r][i]);
  for (int i = 0; k < n; k += FG_LANES, i++)
    for (int r = 0; r < R; r++) {
      const vr x = load_lanes(FG_PACKED, a[r] + k, 1, n - k), y = load_lanes(FG_PACKED, b[r] + k, 1, n - k);
      part[r][i] = fused(x, y, part[r][i]);
    }
}

enum { FG_DOTS = 4 };
/* R outputs from `first` on along the lanes. */
FG_INLINE void dots(int R, const contract_job *job, real *const *p, fg_idx first, real *sums) {
  vr part[FG_DOTS][FG_PARTS] = {{{0}}};
  const real *a[FG_DOTS], *b[FG_DOTS];
  for (int r = 0; r < R; r++) a[r] = p[1] + (first + r) * job->lane.a, b[r] = p[2] + (first + r) * job->lane.b;
  dot_packed(R, part, a, b, job->terms.count);
  for (int r = 0; r < R; r++) sums[r] = fold_lanes(FG_FOLD_SUM, part[r]);
}

static void contract_dots(contract_job *job, real **p) {
  const int loops = job->nest.outer - (job->nest.outer > 0);
  fg_idx at[FG_RANK] = {0};
  job->lane = run_of(&job->nest, job->nest.outer - 1);
  do
    for (fg_idx i = 0; i < job->lane.n; i += FG_LANES) {
      const fg_idx n = smaller(job->lane.n - i, FG_LANES);
      real sums[FG_LANES] = {0};
      fg_idx j = 0;
      for (; j + FG_DOTS <= n; j += FG_DOTS) dots(FG_DOTS, job, p, i + j, sums + j);
      for (; j < n; j++) dots(1, job, p, i + j, sums + j);
      finish(job, p[0] + i * job->lane.out, bias_of(job, p[3] + i * job->lane.bias, n) + load(sums), n);
    }
  while (advance(&job->nest, loops, at, p));
}

static void contract(const fg_nest *given, const fg_act *act, void *const *operands) {
  contract_job job;
  real *p[FG_OPERANDS] = {0};
  if (elements(given, 0, given->outer) == 0) return;
  for (int o = 0; o < given->operands; o++) p[o] = (real *)operands[o];
  simplify(given, &job.nest);
  find_terms(&job.nest, 2, &job.terms);
  job.act = act;
  const int own = given->outer > given->steps_and_rows;
  const fg_idx a = own ? given->strides[1][given->outer - 1] : 0;
  const fg_idx b = own ? given->strides[2][given->outer - 1] : 0;
  const int across = a == 1 || a == 2 || b == 1 || b == 2;
  if (!across && lies_packed(&job.terms.walks[0]) && lies_packed(&job.terms.walks[1])) contract_dots(&job, p);
  else contract_chains(&job, p);
}

#endif
