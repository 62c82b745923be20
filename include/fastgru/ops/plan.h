/* What a plan holds: values, and the instructions over them with packed weights. Nothing here changes while it runs. */
#ifndef FASTGRU_OPS_PLAN_H
#define FASTGRU_OPS_PLAN_H

#include "fastgru/fastgru.h"

/* FG_ABSENT: of an operand, as in fastgru/lowering/instructions.py */
enum {
  FG_ABSENT = -2,
  FG_MAX_CLOCKS = 32, /* values with steps counted apart */
  FG_MAX_LOOPS = 32   /* loops of states, one behind another */
};

typedef struct {
  fg_idx size;  /* elements of a frame; 0 for ids and masks */
  fg_idx item;  /* bytes of an element */
  fg_idx bound; /* of ids: they lie below it */
  int time;     /* has a time axis */
  int clock;    /* which steps it has; the first clocks count those of the inputs */
  int stays;    /* shown at the same place at every step of a loop */
  int rank;     /* of an input's or output's frame */
  fg_idx dims[FG_RANK];
  int line;  /* its rows are windows over a line of steps */
  int state; /* keeps its frames from call to call */
  int slot;  /* memory it shares with values that are not alive at the same time, or -1 */
  int given; /* lies in a buffer of the caller */
  int node;  /* whose output it is, or NO_NODE of fastgru/engine/c.pxd */
  const void *initial;
} fg_value;

/* One operand of a frame op: where its frame begins in the rows of a value, or numbers of the plan. */
typedef struct {
  int value; /* a value; else FG_ABSENT, or -1 for `data` */
  fg_idx offset;
  const void *data;
} fg_operand;

typedef struct fg_instruction fg_instruction;

/* What an op over frames of any rank adds to its instruction. */
typedef struct {
  fg_nest nest;
  fg_operand operands[FG_OPERANDS];
  int n_program;
  fg_micro *program;
  int function; /* of a reduction; whether the smallest come first */
  int last;
  fg_idx fewest;        /* steps that a step taken from a sequence must have beside it, itself included */
  fg_idx count, stride; /* of the axis that a gather picks from; how many extremes are wanted */
  /* Products, softmax, norms and scans: two loops over rows of the operand read and of the one written. */
  fg_idx dims[2], read[2], write[2];
  fg_idx read_offset, write_offset;
  int over_time;  /* the nest is folded over all steps, */
  int some_steps; /* of which there must be one */
  /* Windows over time: steps of a window and from one to the next, those of `fill` around the sequence. */
  int window; /* index into the stream's windows */
  int sliced; /* windows over a slice of a whole sequence: from `first` to before `end`, negative ones from the end */
  fg_idx first, end;
  fg_idx reach, stride_in_time, before, after, kept;
  double fill;
  /* Overlap-adds: where in the line a frame is added, and steps that only flushing a stream gives. */
  fg_idx lead, rest;
  /* Waits that give as many steps as the fewest of several values have: the windows of these, and their clocks. */
  int n_meeting;
  int meeting[FG_OPERANDS], meeting_clocks[FG_OPERANDS];
  /* Scans: a sequence inside the frame. */
  fg_idx steps, rows;
  int outputs[2];        /* final h and c; where extremes are */
  fg_instruction *layer; /* the recurrence over values 0 (input), 1 (output) and 2 (mask) */
} fg_frame;

struct fg_instruction {
  int op;       /* enum fg_op */
  int node;     /* index into the plan's names of nodes */
  fg_idx slice; /* rows that may run before signals are looked at */
  int clock;    /* which steps it runs over */
  int n_inputs;
  int inputs[FG_OPERANDS];
  int output;
  fg_idx size;   /* features written (or, for a mask, compared) */
  double number; /* eps, mask value */
  fg_act act;
  int softmax;
  fg_matrix w; /* Dense; Embedding: the table, panels = V */
  const void *scale;
  const void *shift; /* bias, too */
  /* recurrent only */
  int n_phases;
  fg_phase phase[2];
  fg_matrix wx[2];
  const void *bx[2];
  const void *table[2]; /* (V, panels, G, L): the input part of each id, where ids are the input */
  const void *bu[2];    /* bias of a recurrent product that is not fused with its gates */
  int reverse, last, carry, gated_output;
  fg_idx units, features; /* H and R */
  fg_idx units_padded, features_padded;
  int state; /* index into the stream's recurrences */
  const void *initial_h, *initial_c;
  fg_frame *frame;
};

static inline int fg_is_nest(const fg_instruction *ins) { return FG_OP_MAP <= ins->op && ins->op <= FG_OP_STORE; }
static inline int fg_is_line(const fg_instruction *ins) { return FG_OP_WINDOW <= ins->op && ins->op <= FG_OP_WAIT; }

#endif
