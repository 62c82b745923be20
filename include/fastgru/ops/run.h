/* What an instruction's body sees of a call: the values of a block of T steps and B rows, and what is carried on. Values
 * and instructions are those of the plan, which does not change while it runs.
 *
 * A body reads and writes memory that the stream has laid out (fastgru/engine/buffers.pyx): it allocates none, and calls
 * back for two things alone, BLAS and signals. fastgru/engine/execute.pyx decides which bodies run, over which steps. */
#ifndef FASTGRU_OPS_RUN_H
#define FASTGRU_OPS_RUN_H

#include <string.h>

#include "fastgru/instructions.h"
#include "fastgru/pool.h"

/* The state and scratch of one recurrent instruction, all inside the stream's arena. */
typedef struct {
  char *h[2]; /* (B, features_padded), the current one and the next */
  int now;    /* which of the two is current */
  char *c;    /* (B, units_padded), and so the scratch */
  char *s0, *s1, *y;
  char *last; /* (B, features) last valid output */
  char *x[2]; /* (block, B, panels, G, L) input part of each phase */
} fg_recurrence;

/* The last steps of a value that windows slide over; of an overlap-add, the steps not yet complete. */
typedef struct {
  char *line;            /* (B, capacity, size) */
  fg_idx capacity, held; /* steps of room, and steps that are there; of an overlap-add, whether it gave any */
  fg_idx drop;           /* steps that no later window needs; beyond `held` they are still to come and to be skipped */
} fg_window;

/* A long call ends early once a signal's handler has raised, as that of Ctrl-C does. */
typedef struct {
  int stop;
  int64_t next;               /* when to look again */
  int (*signals)(void *caller); /* runs the handlers of pending signals; 1 if the call is to end */
  void *caller;
} fg_watch;

/* c += a w' for (M, K) and (N, K), row-major: M, N, K, a, its stride, w, its stride, c, its stride */
typedef void (*fg_gemm)(int M, int N, int K, const void *a, int a_stride, const void *w, int w_stride, void *c,
                        int c_stride);

typedef struct fg_run {
  const fg_kernels *kernels;
  const fg_narrow *narrow;
  void *scratch; /* for `narrow` */
  fg_gemm gemm;  /* NULL: packed kernels */
  const fg_instruction *instructions;
  int n_instructions, n_values;
  const fg_value *values;
  char *arena; /* of the stream, to tell its values from the caller's */
  size_t arena_bytes;
  fg_rows *rows; /* of each value */
  fg_idx T, B;
  const uint8_t *mask;        /* (T, B) of the whole call, with the strides below, or NULL */
  fg_idx done[FG_MAX_CLOCKS]; /* steps of each clock in the blocks before, where there is a mask */
  fg_idx mask_t, mask_b;
  int32_t *index;  /* (T * B) scratch: active rows of a block */
  int32_t *active; /* (B) scratch: active rows of a step */
  fg_recurrence *recurrences;
  char *product; /* (B, panels, G, L) where the recurrent product is not fused with its gates */
  int final;     /* the last block of the call */
  const int *loop_begin; /* instructions that run step by step, of each loop */
  const int *loop_end;
  const int *loop_clock;
  const int *loop_moved; /* where in `moved` the values begin that it moves on by a step */
  const int *moved;
  int n_loops;
  const fg_idx *due; /* steps of each clock in this call: of the first, which count inputs, before it begins */
  fg_idx steps[FG_MAX_CLOCKS]; /* of each clock in this block, */
  const fg_idx *room;          /* and the most that the memory of its values has room for */
  int clocks, bases;
  fg_window *windows;
  int ends;           /* the sequence ends with this call, */
  int rest;           /* and what lies behind its end is wanted */
  int flush;          /* the sequence ends with this block */
  int mixed;          /* values without time may meet values with it, or some have other steps than others */
  uint8_t *scan_mask; /* (S, N) steps of a scan that count */
  int bad_id;         /* 1 + the value for which an id was out of range */
  int misfit;         /* 1 + the node of a line whose steps did not fit: the plan is not consistent */
  fg_watch *watch;    /* of a long call: for signals; NULL: none */
  int64_t *spent;     /* nanoseconds and calls of each instruction, of a profiled stream; NULL: not measured */
  int listens;        /* this thread is the one that handles them */
  int part, parts;    /* which panels of every recurrence are this thread's; parts 1: all */
  fg_barrier *barrier; /* where parts > 1 meet */
  /* Of traced layers: called at every step, before its outputs are written, to change its states or gates; or NULL. */
  void (*edit)(void *editor, const fg_instruction *, struct fg_run *, fg_idx t);
  void *editor;
} fg_run;

typedef void (*fg_execute)(const fg_instruction *, fg_run *);

static inline fg_idx fg_min(fg_idx a, fg_idx b) { return a < b ? a : b; }
static inline fg_idx fg_max(fg_idx a, fg_idx b) { return a > b ? a : b; }

/* Row (t, b) of a value. */
static inline char *fg_row(const fg_rows *v, fg_idx item, fg_idx t, fg_idx b) {
  return (char *)v->data + (t * v->t_stride + b * v->b_stride) * item;
}

/* Signals ---------------------------------------------------------------------------------------- */

enum {
  FG_WATCH_NS = 50000000,      /* between two looks at signals */
  FG_SLICE_WORK = 1 << 28,     /* multiply-adds between two times that a body asks for them: 3 to 100 ms */
  FG_LOOK_STEPS = 64,          /* and the steps of a loop that asks for the time */
  FG_LOOK_COPIES = 4096,       /* and rows that are only copied */
  FG_LOOK_ROWS = 64,           /* and rows, where each is written to pages of its own */
  FG_LOOK_ELEMENTS = 1048576,  /* and elements of lines, which take a nanosecond each or less */
  FG_BLOCK_ROWS = 48           /* rows that fill the register tiles of a product */
};

/* Rows of so much work each between two looks at signals: enough to fill the tiles of a product. */
static inline fg_idx fg_slice_rows(fg_idx work) {
  return fg_max(1, FG_SLICE_WORK / fg_max(1, work) / FG_BLOCK_ROWS) * FG_BLOCK_ROWS;
}

/* Look at signals when it is time to; true if the call is to end early. */
static __attribute__((noinline, unused)) int fg_look(fg_run *run) {
  if (run->listens && !fg_seen(&run->watch->stop)) {
    const int64_t now = fg_now();
    if (now >= run->watch->next) {
      run->watch->next = now + FG_WATCH_NS;
      if (run->watch->signals(run->watch->caller)) fg_publish(&run->watch->stop, 1);
    }
  }
  return fg_seen(&run->watch->stop);
}

/* True if the call is to end early. Threads that meet at barriers ask fg_stopped_together. */
static inline int fg_stopped(fg_run *run) { return run->watch != NULL && fg_look(run); }

/* True on all threads that meet here, or on none. */
static inline int fg_stopped_together(fg_run *run) {
  if (run->watch == NULL) return 0;
  if (run->parts == 1) return fg_look(run);
  fg_look(run);
  fg_barrier_wait(run->barrier);
  const int stop = fg_seen(&run->watch->stop);
  fg_barrier_wait(run->barrier); /* nobody looks again before all have seen */
  return stop;
}

/* Rows and steps --------------------------------------------------------------------------------- */

/* The rows before the first, for next_rows. */
static inline fg_span some_rows(const fg_run *run) { return (fg_span){.batch = run->B}; }

/* Rows of the output in this block. */
static inline fg_idx count_rows(const fg_instruction *ins, const fg_run *run) {
  return run->B * (run->values[ins->output].time ? run->T : 1);
}

/* Move on to the next rows of `count`: as many as may run before signals are looked at. False at the end. */
static inline int next_rows(const fg_instruction *ins, fg_run *run, fg_idx count, fg_span *span) {
  span->first += span->count;
  if (span->first >= count || (span->first > 0 && fg_stopped(run))) return 0;
  span->count = fg_min(run->watch != NULL ? ins->slice : count, count - span->first);
  return 1;
}

/* True if step t of row b counts, by the caller's mask and the graph's. */
static inline int valid(const fg_run *run, int clock, const fg_rows *own, fg_idx t, fg_idx b) {
  if (run->mask != NULL && !run->mask[(run->done[clock] + t) * run->mask_t + b * run->mask_b]) return 0;
  return own == NULL || *(const uint8_t *)fg_row(own, 1, t, b) != 0;
}

/* Row m of a value, counted t * B + b. */
static inline char *row_of(const fg_run *run, int value, fg_idx item, fg_idx m) {
  return fg_row(&run->rows[value], item, m / run->B, m % run->B);
}

/* Elements from one step of a value to the next; none where it is the same for all. */
static inline fg_idx step_stride(const fg_run *run, int value) {
  return run->values[value].time ? run->rows[value].t_stride : 0;
}

/* Row (t, b) of a value that may be the same for all steps. */
static inline char *frame_at(const fg_run *run, int value, fg_idx item, fg_idx t, fg_idx b) {
  return fg_row(&run->rows[value], item, run->values[value].time ? t : 0, b);
}

/* Where the frame of step t and row b begins. */
static inline char *operand(const fg_operand *o, const fg_run *run, fg_idx t, fg_idx b) {
  if (o->buffer < 0) return (char *)o->constant + o->offset * run->kernels->item;
  return (char *)run->rows[o->buffer].data +
         (t * step_stride(run, o->buffer) + b * run->rows[o->buffer].b_stride + o->offset) * run->kernels->item;
}

/* Numbers of float or double, by the bytes of one. */
static inline double number_of(const char *x, fg_idx i, fg_idx item) {
  return item == 4 ? ((const float *)x)[i] : ((const double *)x)[i];
}

static inline void set_number(char *x, fg_idx i, fg_idx item, double number) {
  if (item == 4)
    ((float *)x)[i] = (float)number;
  else
    ((double *)x)[i] = number;
}

/* fastgru/_native/traced.c ------------------------------------------------------------------------- */

/* A recurrent layer that shows gates and states. */
void fg_execute_traced(const fg_instruction *, fg_run *);

/* fastgru/_native/ops.c ---------------------------------------------------------------------------- */

/* The body of each instruction, by its enum fg_op. */
extern const fg_execute fg_ops[];
/* An instruction of a loop over this clock as a line of one row; false where it is none. */
int fg_make_line(const fg_instruction *, const fg_run *, int clock, fg_line *);
/* Steps outside of the sequence, of a line. */
void fg_fill_steps(const fg_instruction *, const fg_run *, char *to, fg_idx steps);

#endif
