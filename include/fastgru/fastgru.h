/* What kernels and engine agree on: operands, cells and the table that each instruction set exports.
 *
 * Everything is row-major. Data pointers are void: a table serves either float or double, and each
 * kernel object is compiled for one of them. Glossary: T time, B batch, K inner dimension, G gates,
 * H hidden units, L lanes (elements of one vector). Strides count elements.
 */
#ifndef FASTGRU_H
#define FASTGRU_H

#include <stddef.h>
#include <stdint.h>

#include "codes.h" /* of instructions, phases, functions and folds, and limits: made from fastgru/lowering/ */

typedef ptrdiff_t fg_idx;

/* Codes of fastgru/graph/activations.py; tests/kernels/test_kernels.py holds the two together. */
enum fg_act_kind {
  FG_LINEAR = 0,
  FG_SIGMOID = 1,
  FG_TANH = 2,
  FG_RELU = 3,
  FG_HARD_SIGMOID = 4,
  FG_SOFTSIGN = 5,
  FG_SOFTPLUS = 6,
  FG_ELU = 7,
  FG_LEAKY_RELU = 8,
  FG_THRESHOLDED_RELU = 9,
  FG_SCALED_TANH = 10,
  FG_AFFINE = 11,
  FG_FAST_SIGMOID = 12,
  FG_FAST_TANH = 13,
  FG_FAKE_QUANTIZE = 14
};

typedef struct {
  int kind; /* enum fg_act_kind */
  double alpha, beta;
} fg_act;

/* The rows of a value: row (t, b) starts at data + t * t_stride + b * b_stride. */
typedef struct {
  void *data;
  fg_idx t_stride, b_stride;
} fg_rows;

/* Which rows of (T, B), time-major, each numbered t * B + b. */
typedef struct {
  fg_idx batch;         /* B, to split a row's number */
  fg_idx first, count;  /* rows first .. first + count - 1 of `index`, or by their number */
  const int32_t *index; /* (first + count,) or NULL */
  int backward;         /* a matrix is read from its last panel to its first */
} fg_span;

/* How a matrix holds its weights; fastgru/engine/weights.pyx packs them. */
enum fg_format {
  FG_NATIVE = 0,      /* float or double: data (panels, K, G, L) */
  FG_FLOAT16 = 1,     /* data (panels, K, G, L), converted as it is loaded */
  FG_BFLOAT16 = 2,    /* data (panels, K / 2, G, L, 2) */
  FG_INT8 = 3,        /* data (panels, K / 4, G, L, 4) */
  FG_SPARSE = 4,      /* float32 blocks: data (blocks, 4, 8) */
  FG_SPARSE_INT8 = 5, /* int8 blocks: data (blocks, 8, 4) */
  FG_FORMATS = 6
};

/* A matrix (N, K) packed for products from the right: columns of G gates side by side, zero-padded to whole panels
 * of L units and whole groups of K, aligned to 64 bytes. A strip is eight units of one gate: (G, units / 8). */
typedef struct {
  const void *data;
  fg_idx panels, gates, inner;
  int format;            /* enum fg_format */
  const float *scale;    /* int8: of each unit's codes, (panels, G, L) or (strips, 8) */
  const int32_t *offset; /* int8: -128 times the sum of each unit's codes */
  fg_idx units;          /* sparse: H */
  union {
    const int32_t *starts; /* sparse: first block of each strip, (strips + 1) */
    const int32_t *sums;   /* affine int8: the sum of each unit's codes; NULL of other int8 */
  };
  union {
    const int32_t *blocks; /* sparse: K / 4 of each block */
    const int32_t *zero;   /* affine int8: each unit's zero point; NULL where all are 0 */
  };
  const uint8_t *paired; /* int8: of each panel, whether FG_PAIRED of dot.h may add its products; NULL: of none */
  float input_scale, input_zero; /* affine int8: of all rows it multiplies; a scale of 0 is that of each row's range */
} fg_matrix;

/* One recurrent product and the gate arithmetic behind it, fg_phase. A cell takes one or two of these phases. Kernels
 * read none of its input's part, `x`, `bias_x` and `table`; `act` are of gates, candidate and output.
 *
 *   FG_RNN            G 1: h'
 *   FG_GRU_AFTER      G 3 r z n: h'
 *   FG_GRU_AFTER_OUT  G 4 r z n o: h', y
 *   FG_GRU_GATES      G 2 r z: s0 = r h, s1 = z
 *   FG_GRU_GATES_OUT  G 3 r z o: s0 = r h, s1 = z, y = o
 *   FG_GRU_CANDIDATE  G 1 n over s0: h', y
 *   FG_LSTM           G 4 i f g o: c', h'
 *   FG_LSTM_COUPLED   G 3 i g o: c', h'
 *   FG_PROJECT        G 1: h' = P m
 *
 * The tiers are which activations the gates have: those of the last two are compiled into the cells. FG_TRACED is added
 * to one of them: each gate, and the candidate, is then written over its own input part. */
enum fg_tier {
  FG_ANY = 0,   /* whatever `act` and `clip` say */
  FG_USUAL = 1, /* sigmoid for gates, tanh elsewhere, nothing clipped */
  FG_FAST = 2,  /* the same with the fast ones */
  FG_TRACED = 4, /* with one of these: shows the gates */
  FG_TIERS = 8
};

/* One instruction of an elementwise program, fg_micro: a function of registers. Registers 0 .. operands - 2 are the
 * operands read; instruction i writes register operands - 1 + i. Arguments that a function does not take are any register.
 *
 * Truth is 1 or 0, and whatever is not 0 is true. FG_MIN and FG_MAX are NaN if either is, and so are the folds of these
 * names; FG_MOD has the sign of b, a - b floor(a / b), and FG_FMOD that of a, a - b trunc(a / b); FG_ROUND takes halves to
 * even; FG_WHERE is a ? b : c; FG_ATAN2 the angle of a over b. */
#include "records.h" /* fg_phase and fg_micro: made from fastgru/lowering/instructions.py */

/* One time step of one phase, or `count` of them for the same rows. All buffers but `a` have rows of whole panels. */
typedef struct {
  fg_span rows;            /* rows of this step, batch = B */
  const void *a;           /* (B, a_stride): operand of the recurrent product */
  fg_idx a_stride;
  void *x;                 /* (B, panels, G, L): input part, or NULL for FG_PROJECT */
  const fg_matrix *w;      /* of one row: the input weights, to make each step's x with; or NULL: x is there */
  const void *w_bias;      /* (panels, G, L) or NULL */
  const void *input;       /* (K,): operand of that product */
  const void *product;     /* (B, panels, G, L): recurrent part where BLAS made it, else NULL */
  const void *h;           /* (B, stride) state */
  void *h_new;             /* (B, stride) */
  void *c;                 /* (B, stride) LSTM cell state, in place */
  void *s0, *s1, *y;       /* (B, stride) scratch and output */
  fg_idx stride;
  fg_idx count;            /* the next step's h and a are this one's h_new, and the other way round */
  fg_idx x_stride, input_stride; /* from the input part of a step, or from its input, to the next one's; may be negative */
  fg_rows out;             /* where the first `width` of each h_new go, or NULL; a row is one of the B */
  fg_idx width;
} fg_step;

/* The loops of a frame op, outermost first. Operand 0 is written, the others are read; a stride of 0 repeats an
 * element. Strides may be negative. No operand may overlap the one written, but for map: there, one may be the same
 * elements in the same order. */
enum { FG_LINES = 32 }; /* that one call of `lines` takes */
typedef struct {
  int rank;  /* loops */
  int outer; /* the first `outer` loops run over the output; the others are folded into each of its elements */
  int steps_and_rows; /* of these, the first that run over steps and rows: no order of sums may depend on them */
  int operands;
  fg_idx dims[FG_RANK];
  fg_idx strides[FG_OPERANDS][FG_RANK];
} fg_nest;

/* An elementwise program over one loop, at step after step. The output lies packed; an operand lies packed too, or is
 * one element for all: `each` 1 or 0. */
typedef struct {
  const fg_micro *program;
  int n, operands; /* n = 0: a copy of operand 1 */
  fg_idx size;
  void *at[FG_OPERANDS];
  fg_idx each[FG_OPERANDS], moves[FG_OPERANDS]; /* elements from one step to the next */
} fg_line;

/* What one instruction set exports, for one element type. */
typedef struct {
  const char *isa;
  fg_idx lanes; /* L */
  fg_idx item;  /* bytes of an element */
  /* c = act(a w' + bias), the first `columns` of each row; bias (panels, G, L) or NULL */
  void (*product)(const fg_matrix *w, const void *bias, const fg_act *act, const fg_rows *a, const fg_rows *c,
                  fg_idx columns, const fg_span *rows);
  void (*steps)(const fg_phase *, fg_step *);       /* makes the products itself; moves fg_step on */
  void (*gates)(const fg_phase *, const fg_step *); /* takes step->product */
  /* y = act(x + bias), in place allowed; bias (n,) or NULL */
  void (*activate)(const fg_act *act, const void *bias, const fg_rows *x, const fg_rows *y, fg_idx n,
                   const fg_span *rows);
  void (*softmax)(const fg_rows *x, const fg_rows *y, fg_idx n, const fg_span *rows);
  /* y = (x - mean) / sqrt(var + eps) * scale + shift */
  void (*layer_norm)(const void *scale, const void *shift, double eps, const fg_rows *x, const fg_rows *y, fg_idx n,
                     const fg_span *rows);
  /* y = x * scale + shift */
  void (*affine)(const void *scale, const void *shift, const fg_rows *x, const fg_rows *y, fg_idx n,
                 const fg_span *rows);
  /* y = (y + x), (y * x) elementwise */
  void (*add)(const fg_rows *x, const fg_rows *y, fg_idx n, const fg_span *rows);
  void (*multiply)(const fg_rows *x, const fg_rows *y, fg_idx n, const fg_span *rows);
  /* out = the value of the last of n instructions, n = 0: operand 1. No loop is folded */
  void (*map)(const fg_nest *, const fg_micro *program, int n, void *const *operands);
  /* Of each of `steps` steps one line after the other, at most FG_LINES; leaves the operands at the step behind */
  void (*lines)(fg_line *, int count, fg_idx steps);
  /* out = x folded by an fg_fold; operands out, x */
  void (*reduce)(const fg_nest *, int function, void *const *operands);
  /* out = act(bias + sum of a * b); operands out, a, b and, with four, bias */
  void (*contract)(const fg_nest *, const fg_act *act, void *const *operands);
  /* out = the index of the first (or last) maximum (or least) in the one loop folded; NaN counts as it. Operands
   * out, x */
  void (*arg_reduce)(const fg_nest *, int least, int last, void *const *operands);
  /* out = data[id * stride], id < 0 counted from the end; operands out, data, ids. 1 if an id was outside of count:
   * it then reads the nearest element */
  int (*gather)(const fg_nest *, fg_idx count, fg_idx stride, void *const *operands);
} fg_kernels;

/* Products over the formats behind FG_FLOAT16: one table for each set of dot-product instructions. */
typedef struct {
  const char *name;
  fg_idx (*scratch)(const fg_matrix *w); /* bytes that `product` needs, aligned to 64 */
  void (*product)(const fg_matrix *w, const void *bias, const fg_act *act, const fg_rows *a, const fg_rows *c,
                  fg_idx columns, const fg_span *rows, void *scratch); /* as in fg_kernels */
  void (*lookup)(const fg_matrix *w, fg_idx id, void *row); /* of a table (V, E) as it lies */
} fg_narrow;

/* fastgru/_native/dispatch.c */
typedef struct {
  const char *name;
  const fg_kernels *f32, *f64;
  int supported;           /* by this CPU and operating system */
  const fg_narrow *narrow; /* the best of this instruction set here */
} fg_isa;

/* The instruction sets built, best first; *count is their number. */
const fg_isa *fg_isas(int *count);

#endif
