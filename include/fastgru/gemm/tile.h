/* The product: R rows times P panels of G vectors, held in registers over the whole inner dimension.
 *
 * The sum of an output element runs over k in ascending chains of FG_CHAIN fused multiply-adds, each
 * added to the total as it ends. That order does not depend on R, P, the batch, or the place of the row
 * in it: it is the package's promise of one summation order; keep it.
 *
 * Measured with bench/kernels.c. Zen 4: one row of I=H=64..256 streams its weights at 93-105 GB/s, a plateau taken
 * to be the L2 cache's 32 bytes a cycle. Sapphire Rapids: 165 GB/s at H=64 (L1), 140 at 128 and 256 (L2), 33 at 512
 * (L3). Software prefetch gained nothing on either at any distance from 512 to 8192 bytes, into L1 or L2, and lost up
 * to 40 % where weights lie in L2. On Zen 5 it loses 25 % at 64 units, gains nothing at 128 and 256, and at 512, from
 * L3, gains 11 % (32.5 to 29 us; LSTM 44 to 38; half precisions 20 %), more at 1024 bytes than at 2048 or 4096: so it
 * is for such matrices only, and for those panel by panel.
 * Nor did it pay on Zen 5 to make the input product, which is bound by arithmetic, chain by chain between the panels of
 * one row, which are bound by the L2 cache, with or without prefetching the next panels: 3 to 14 % slower at 64 to 256
 * units than one after the other.
 */
#ifndef FASTGRU_TILE_H
#define FASTGRU_TILE_H

#include "fastgru/fastgru.h"
#include "fastgru/math/half.h"
#include "fastgru/math/vec.h"

/* Chains of 32 instead of one of K: the encoder of g2p_en (K=256) errs by 1.0e-6 instead of 3.5e-6, at no cost
 * in speed where the tile leaves registers free (512-bit, four rows: 112 GFLOP/s either way). */
enum { FG_CHAIN = 32, FG_TERMS = 4 }; /* terms of a chain written out: with 1, the product runs at 143 instead of 157 */

enum { FG_HALF = 2 }; /* bytes of a float16 */

/* Rows of a batch tile by gates, and how many of a panel's G vectors are summed in one pass over a chain: rows x
 * columns chains, as many weights and one broadcast must fit the register file. Zen 3 (AVX2, peak 97 GFLOP/s), product
 * of 32 rows, H=128: four gates as 2 x 4 chains 52 GFLOP/s, as 4 x 2 80.
 * With 32 registers the totals have room, too (`totals_fit`), and are not read and written for every chain. Zen 4
 * (AVX-512, peak 118 GFLOP/s), products of 256 rows and of LSTM and GRU of 256 units, 8 rows: tiles of 6 x 4 and 8 x 3
 * with totals in memory 97, 90, 91 GFLOP/s; 4 x 3, totals in registers, 107 and 101. Four gates: 4 x 4 by two columns,
 * totals in registers, 104 to 106 for products of 8 to 64 rows, 16 chains of 8 x 2, totals in memory, 108 to 110, and
 * 2 to 3 % faster LSTM steps. Weights of float16 are widened once for all rows of a tile, so that theirs stay large:
 * LSTM of 128 units, 32 rows, 9 %. */
#if FG_REGISTERS == 32
#define FG_ROWS(G, item) ((item) == FG_HALF ? ((G) == 4 ? 6 : 8) : (G) == 3 ? 4 : (G) == 2 ? 6 : 8)
#define FG_COLUMNS(G, item) ((item) == FG_HALF || (G) < 4 ? (G) : 2)
#else
#define FG_ROWS(G, item) ((G) == 1 ? 8 : 4)
#define FG_COLUMNS(G, item) ((G) == 4 ? 2 : (G))
#endif
/* Panels of one row taken together: at least 8 chains in flight hide the latency of the multiply-add. Three, not two,
 * of three or four gates: two panels that lie a multiple of 4 KiB apart slow each other down. Zen 5, one row of
 * I=H=128, GRU: two panels 1.6 us (120 GB/s), one or three 1.15 us (170 GB/s, the L2 cache); LSTM 2.2 and 1.5. At 64
 * units one panel alone loses 20 %; at 512 (L3) all are equal. */
#define FG_PANELS(G) ((G) >= 3 ? 3 : (G) == 2 ? 4 : 8)
/* Of far matrices: one stream, where its chains suffice. */
#define FG_FAR_PANELS(G) ((G) >= 3 ? (FG_BYTES == 64 ? 1 : 2) : (G) == 2 ? 4 : 8)
enum { FG_TILE = 32, FG_GROUP = 64 }; /* vectors of the largest tile, R x P x G; rows, or panels of one, taken together */

/* Whether one row's weights, of `item` bytes, come from the L3 cache: those are prefetched (Zen 3: 7 % at 512 units).
 * Not what is larger still: at 1024 units, 25 MB of float32 in all, it made a step a third slower. Nor by the size of a
 * whole network's weights: textgenrnn gained 6 %, but 100 steps of 256 units, whose recurrent part stays in the L2
 * cache, lost 8 to 12 %; and for single steps alone, where each weight is read once, Zen 3 lost up to 5 %. */
enum { FG_L2 = 1 << 20, FG_L3 = 8 << 20, FG_AHEAD = 1024 };
FG_INLINE int is_far(const fg_matrix *m, fg_idx item) {
  const fg_idx bytes = m->panels * m->gates * FG_LANES * m->inner * item;
  return bytes > FG_L2 && bytes <= FG_L3;
}
FG_INLINE void prefetch(const void *p) { __builtin_prefetch((const char *)p + FG_AHEAD); }

FG_INLINE vr load_weights(const char *from, int item) {
#ifndef FG_DOUBLE
  if (item == FG_HALF) return load_float16((const uint16_t *)from);
#endif
  (void)item;
  return *(const vr *)from;
}

/* What the totals point at lies in memory here. Without this GCC keeps some of them in the registers that the chains
 * want, and spills: Zen 3, 64 rows, H=256, three gates: 75 instead of 84 GFLOP/s. */
FG_INLINE void in_memory(void) { __asm__ volatile("" ::: "memory"); }

/* Whether R x G totals lie in registers beside R x C chains, C weights and a broadcast. */
FG_INLINE int totals_fit(int R, int G, int C) { return R > 1 && R * G + R * C + C + 1 <= FG_REGISTERS; }

/* part += the products of one k: R rows by C of the G vectors of P panels, of which w points at the first */
FG_INLINE void tile_term(int R, int P, int C, int item, vr *part, const real *const *a, const char *w, fg_idx panel,
                         fg_idx k, int far) {
  if (R == 1) { /* no weight is used twice, and one of float16 takes a register: LSTM, 128 units, AVX2: 3.8 us, now 2.5 */
    const vr x = splat(a[0][k]);
    FG_UNROLL for (int p = 0; p < P; p++)
      FG_UNROLL for (int c = 0; c < C; c++) {
        const char *from = w + (p * panel + c * FG_LANES) * item;
        if (far && c * FG_LANES * item % 64 == 0) prefetch(from); /* once a line, about */
        part[p * C + c] += x * load_weights(from, item);
      }
    return;
  }
  vr v[FG_TILE];
  FG_UNROLL for (int c = 0; c < C; c++) v[c] = load_weights(w + c * FG_LANES * item, item);
  FG_UNROLL for (int r = 0; r < R; r++) {
    const vr x = splat(a[r][k]);
    FG_UNROLL for (int c = 0; c < C; c++) part[r * C + c] += x * v[c];
  }
}

/* One chain, the terms k .. to - 1, of columns g .. g + C - 1: acc[(r * P + p) * G + g] += their sum. w: (P, K, G, L) */
FG_INLINE void tile_chain(int R, int P, int G, int C, int item, vr *acc, const real *const *a, const char *w, fg_idx K,
                          fg_idx k, fg_idx to, int g, int far) {
  const fg_idx panel = K * G * FG_LANES, row = G * FG_LANES * item;
  vr part[FG_TILE];
  w += k * row + g * FG_LANES * item;
  FG_UNROLL for (int i = 0; i < R * P * C; i++) part[i] = splat(0);
  for (; k + FG_TERMS <= to; k += FG_TERMS, w += FG_TERMS * row)
    FG_UNROLL for (int j = 0; j < FG_TERMS; j++) tile_term(R, P, C, item, part, a, w + j * row, panel, k + j, far);
  for (; k < to; k++, w += row) tile_term(R, P, C, item, part, a, w, panel, k, far);
  if (R > 1 && !totals_fit(R, G, C)) in_memory();
  FG_UNROLL for (int i = 0; i < R * P; i++)
    FG_UNROLL for (int c = 0; c < C; c++) acc[i * G + g + c] += part[i * C + c];
}

/* The terms from .. to - 1, of which `from` is the first of a chain. `item`: bytes of a weight. */
FG_INLINE void tile_sum(int R, int P, int G, int item, vr *acc, const real *const *a, const void *w, fg_idx K,
                        fg_idx from, fg_idx to, int far) {
  const int C = R < 4 ? G : FG_COLUMNS(G, item); /* fewer chains would wait for each other */
  vr own[FG_TILE], *total = acc;
  if (totals_fit(R, G, C)) {
    total = own;
    FG_UNROLL for (int i = 0; i < R * G; i++) own[i] = acc[i];
  }
  for (fg_idx k = from; k < to; k += FG_CHAIN) {
    const fg_idx end = k + FG_CHAIN < to ? k + FG_CHAIN : to;
    FG_UNROLL for (int g = 0; g < G; g += C) tile_chain(R, P, G, C, item, total, a, w, K, k, end, g, far);
  }
  if (totals_fit(R, G, C)) FG_UNROLL for (int i = 0; i < R * G; i++) acc[i] = own[i];
}

/* The tiles, functions of their own: what they add to lies in memory, so that the chains alone hold registers, and
 * each is compiled once, not again for every phase. Measured with AVX-512 on Sapphire Rapids, GFLOP/s of a product of
 * 32 rows, K=256: inlined 143; so 157. */
typedef void tile_fn(vr *acc, const real *const *a, const void *w, fg_idx K, fg_idx from, fg_idx to);
#define FG_TILE_OF(name, R, P, G, item, far)                                                              \
  static __attribute__((noinline, unused)) void name(vr *acc, const real *const *a, const void *w, fg_idx K, \
                                                     fg_idx from, fg_idx to) {                            \
    tile_sum(R, P, G, item, acc, a, w, K, from, to, far);                                                 \
  }
enum fg_shape { FG_SHAPE_MANY, FG_SHAPE_FOUR, FG_SHAPE_TWO, FG_SHAPE_ONE, FG_SHAPE_WIDE, FG_SHAPE_PAIR, FG_SHAPE_FAR, FG_SHAPES };
/* The shapes that a build for size makes of the smallest. */
#ifdef FG_SMALL
#define FG_SHAPE_OF(name, one, R, P, G, item, far)                                                           \
  static void name(vr *acc, const real *const *a, const void *w, fg_idx K, fg_idx from, fg_idx to) {         \
    const fg_idx panel = K * (G) * FG_LANES * (fg_idx)(item);                                                \
    FG_EACH(r, R) FG_EACH(p, P) one(acc + (r * (P) + p) * (G), a + r, (const char *)w + p * panel, K, from, to); \
  }
#else
#define FG_SHAPE_OF(name, one, R, P, G, item, far) FG_TILE_OF(name, R, P, G, item, far)
#endif
#define FG_TILES(G, name, item)                                                    \
  FG_TILE_OF(name##_many_##G, FG_ROWS(G, item), 1, G, item, 0)                     \
  FG_TILE_OF(name##_one_##G, 1, 1, G, item, 0)                                     \
  FG_SHAPE_OF(name##_four_##G, name##_one_##G, 4, 1, G, item, 0)                   \
  FG_SHAPE_OF(name##_two_##G, name##_one_##G, 2, 1, G, item, 0)                    \
  FG_SHAPE_OF(name##_wide_##G, name##_one_##G, 1, FG_PANELS(G), G, item, 0)        \
  FG_SHAPE_OF(name##_pair_##G, name##_one_##G, 1, 2, G, item, 0)                   \
  FG_SHAPE_OF(name##_far_##G, name##_one_##G, 1, FG_FAR_PANELS(G), G, item, 1)
#define FG_TILE_ROW(G, name, item)                                                                             \
  {name##_many_##G, FG_ROWS(G, item) == 4 ? name##_many_##G : name##_four_##G, name##_two_##G, name##_one_##G, \
   name##_wide_##G, name##_pair_##G, name##_far_##G}
#define FG_TILE_TABLE(name, item)                                                                        \
  {{0}, FG_TILE_ROW(1, name, item), FG_TILE_ROW(2, name, item), FG_TILE_ROW(3, name, item), FG_TILE_ROW(4, name, item)}
#define FG_ALL_TILES(name, item) \
  FG_TILES(1, name, item) FG_TILES(2, name, item) FG_TILES(3, name, item) FG_TILES(4, name, item)
FG_ALL_TILES(tile, sizeof(real))
#ifdef FG_DOUBLE
static tile_fn *const tiles[1][5][FG_SHAPES] = {FG_TILE_TABLE(tile, sizeof(real))};
#else
FG_ALL_TILES(half, FG_HALF)
static tile_fn *const tiles[2][5][FG_SHAPES] = {FG_TILE_TABLE(tile, sizeof(real)), FG_TILE_TABLE(half, FG_HALF)}; /* by fg_format */
#endif

FG_INLINE fg_idx weight_bytes(const fg_matrix *m) { return m->format == FG_FLOAT16 ? FG_HALF : sizeof(real); }

/* G is a constant in every caller, the shape need not be. */
FG_INLINE void tile(enum fg_shape shape, int G, vr *acc, const real *const *a, const fg_matrix *m, fg_idx panel,
                    fg_idx from, fg_idx to) {
  const char *w = (const char *)m->data + panel * m->inner * G * FG_LANES * weight_bytes(m);
  tiles[m->format][G][shape](acc, a, w, m->inner, from, to);
}

/* acc[i * G + g] += the products of n rows by one panel. Depth by depth: weights of some FG_DEPTH bytes stay in the L1
 * cache while all rows pass them. Zen 3 (L1 32 KiB), 64 rows, LSTM: 4 % at I=H=256, 4 % at 512, nothing below; to
 * prefetch the next ones meanwhile gained nothing. */
enum { FG_DEPTH = FG_BYTES == 64 ? 24576 : 16384 }; /* half of the L1 cache */
FG_INLINE void tile_rows(int G, vr *acc, const real *const *a, fg_idx n, const fg_matrix *m, fg_idx panel) {
  const fg_idx K = m->inner, chain = FG_CHAIN * G * FG_LANES * weight_bytes(m);
  const fg_idx depth = (FG_DEPTH + chain - 1) / chain * FG_CHAIN;
  const fg_idx many = weight_bytes(m) == FG_HALF ? FG_ROWS(G, FG_HALF) : FG_ROWS(G, sizeof(real));
  for (fg_idx from = 0; from < K; from += depth) {
    const fg_idx to = from + depth < K ? from + depth : K;
    fg_idx i = 0;
    for (; i + many <= n; i += many) tile(FG_SHAPE_MANY, G, acc + i * G, a + i, m, panel, from, to);
    for (; i + 4 <= n; i += 4) tile(FG_SHAPE_FOUR, G, acc + i * G, a + i, m, panel, from, to);
    for (; i + 2 <= n; i += 2) tile(FG_SHAPE_TWO, G, acc + i * G, a + i, m, panel, from, to);
    if (i < n) tile(FG_SHAPE_ONE, G, acc + i * G, a + i, m, panel, from, to);
  }
}

/* Every other step reads its matrix backward, so that what was read last is read first, while a cache too small for the
 * whole still has it: by stretches of some FG_STRETCH bytes, forward inside each, since the CPU prefetches forward (int8
 * of 256 units panel by panel backward: 7 to 15 % slower than forward; by stretches equal). Zen 3, L1 32 KiB, L2
 * 512 KiB, L3 at 0.8 of its rate: steps of a sequence, GRU and LSTM of 64 units 14 and 7 % faster, of 256 7 %, of 512
 * 1 to 2 %. */
enum { FG_STRETCH = 12288 };
/* Panels of a stretch, a multiple of `group`; where the L1 cache holds them all, as many as the sums have room for. */
FG_INLINE fg_idx stretch_of(const fg_matrix *m, fg_idx panel_bytes, int group) {
  if (m->panels * panel_bytes <= 2 * FG_STRETCH) return FG_GROUP;
  const fg_idx stretch = (FG_STRETCH / panel_bytes / group + 1) * group;
  return stretch < FG_GROUP ? stretch : FG_GROUP;
}
/* Calls run(from, to) for stretch after stretch of m's panels. */
#define FG_EACH_STRETCH(m, stretch, backward, run)                        \
  for (fg_idx i = 0; i < (m)->panels; i += (stretch)) {                   \
    const fg_idx left = (m)->panels - i;                                  \
    const fg_idx n_panels = left < (stretch) ? left : (stretch);          \
    const fg_idx from = (backward) ? left - n_panels : i;                 \
    run(from, from + n_panels);                                           \
  }

/* How many of the panels p .. to - 1 of one row to take next, and by which tile. What is left over goes by twos: a panel
 * alone has too few chains (100 steps of 32 units, two panels: 14.4 us, one by one 17.5). */
FG_INLINE int next_panels(int G, int far, fg_idx p, fg_idx to, enum fg_shape *shape) {
  if (far && p + FG_FAR_PANELS(G) <= to) return *shape = FG_SHAPE_FAR, FG_FAR_PANELS(G);
  if (p + FG_PANELS(G) <= to && p + 4 != to) return *shape = FG_SHAPE_WIDE, FG_PANELS(G);
  if (p + 2 <= to) return *shape = FG_SHAPE_PAIR, 2;
  return *shape = FG_SHAPE_ONE, 1;
}

/* Start of the chains of R rows by P panels: the bias of the panels, or zero. bias: (P, G, L) or NULL */
FG_INLINE void tile_start(fg_idx R, fg_idx P, int G, vr *acc, const real *bias) {
  for (fg_idx p = 0; p < P; p++)
    FG_EACH(g, G) {
      const vr b = bias ? *(const vr *)(bias + (p * G + g) * FG_LANES) : splat(0);
      for (fg_idx r = 0; r < R; r++) acc[(r * P + p) * G + g] = b;
    }
}

FG_INLINE fg_idx row_number(const fg_span *rows, fg_idx i) {
  return rows->index ? rows->index[rows->first + i] : rows->first + i;
}

FG_INLINE real *row_at(const fg_rows *v, const fg_span *rows, fg_idx i) {
  const fg_idx m = row_number(rows, i), t = rows->batch == 1 ? m : m / rows->batch; /* a division costs 10 ns */
  return (real *)v->data + t * v->t_stride + (m - t * rows->batch) * v->b_stride;
}

#endif
