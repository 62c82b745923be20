/* The bodies of instructions without Python: steps in lines, masks, extremes, scans and recurrences over random values
 * in blocks of random lengths, against plain loops over the whole sequence. Compiled with fastgru/_native/ops.c,
 * traced.c and pool.c; under sanitizers, and under emulation by tests/aarch64.sh. Its last line is a hash of all bits.
 *
 * Every value and line is an allocation of its own, of its exact size, so that AddressSanitizer sees both ends. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastgru/ops/due.h"

enum { VALUES = 7, LINES = 2 };

static uint64_t bits = 14695981039346656037u; /* FNV-1a */
static uint32_t seed = 1;
static const char *name = "";
static int errors;

static uint32_t draw(uint32_t n) { /* 0 .. n - 1, the same everywhere */
  seed = seed * 1664525u + 1013904223u;
  return (seed >> 8) % n;
}

static double number(void) { return ((double)draw(2001) - 1000) / 64; } /* sums of these are exact */

static void expect(int ok, const char *what, fg_idx at) {
  if (!ok && ++errors < 20) printf("%s: %s at %td is wrong\n", name, what, at);
}

static void *memory(fg_idx bytes) { /* never read before it is written: not zero */
  void *p = malloc((size_t)(bytes > 0 ? bytes : 1));
  memset(p, 0xA5, (size_t)bytes);
  return p;
}

static double get(const void *x, fg_idx i, fg_idx item) { return number_of(x, i, item); }

/* A run of one instruction over values with time, (B, most, size) each, in blocks of some of its T steps. */
typedef struct {
  fg_kernels kernels;
  fg_value values[VALUES];
  fg_rows rows[VALUES];
  fg_window lines[LINES];
  fg_recurrence recurrence;
  fg_idx room[FG_MAX_CLOCKS], due[FG_MAX_CLOCKS]; /* steps of a block and of a call that there is room for */
  fg_instruction ins;
  fg_run run;
  fg_idx item, B;
} bench;

static void begin(bench *b, const char *of, int op, fg_idx item, fg_idx B) {
  memset(b, 0, sizeof *b);
  name = of;
  b->item = item, b->B = B;
  b->kernels.item = item, b->kernels.lanes = 8;
  b->ins.op = op, b->ins.slice = 1 << 20, b->ins.n_inputs = 1, b->ins.inputs[0] = 0;
  b->ins.output = 1, b->ins.clock = 0;
  b->values[1].clock = 1;
  b->run.kernels = &b->kernels, b->run.values = b->values, b->run.rows = b->rows, b->run.windows = b->lines;
  b->run.recurrences = &b->recurrence, b->run.instructions = &b->ins, b->run.n_instructions = 1;
  b->run.B = B, b->run.parts = 1, b->run.mixed = 1, b->run.room = b->room, b->run.due = b->due;
  for (int i = 0; i < FG_MAX_CLOCKS; i++) b->room[i] = b->due[i] = 1 << 20;
}

/* Value v: for each row `steps` frames of `size` elements of `bytes`; steps 0: one frame without time. */
static void *give(bench *b, int v, fg_idx size, fg_idx bytes, fg_idx steps) {
  const fg_idx each = steps ? steps : 1;
  free(b->rows[v].data);
  b->values[v].size = size, b->values[v].item = bytes, b->values[v].time = steps > 0;
  b->rows[v] = (fg_rows){memory(b->B * each * size * bytes), size, each * size};
  return b->rows[v].data;
}

static void *give_numbers(bench *b, int v, fg_idx size, fg_idx steps) {
  char *x = give(b, v, size, b->item, steps);
  for (fg_idx i = 0; i < b->B * (steps ? steps : 1) * size; i++) set_number(x, i, b->item, number());
  return x;
}

static void give_line(bench *b, int line, fg_idx size, fg_idx capacity) {
  b->lines[line].capacity = capacity;
  b->lines[line].line = memory(b->B * capacity * size * b->item);
  memset(b->lines[line].line, 0, (size_t)(b->B * capacity * size * b->item));
}

static void end(bench *b) {
  for (int v = 0; v < VALUES; v++) {
    const fg_rows *r = &b->rows[v];
    if (v == 1 && r->data != NULL)
      for (fg_idx i = 0; i < b->B * r->b_stride * b->values[v].item; i++)
        bits = (bits ^ ((const uint8_t *)r->data)[i]) * 1099511628211u;
    free(r->data);
  }
  for (int i = 0; i < LINES; i++) free(b->lines[i].line);
}

static void execute(bench *b) { fg_ops[b->ins.op](&b->ins, &b->run); }

/* The next block: some of the steps that are left, or all where `most` is 0, in a value of its own. */
static fg_idx next_block(bench *b, const char *all, fg_idx size, fg_idx done, fg_idx T, fg_idx most) {
  const fg_idx left = T - done, some = most ? fg_min(left, 1 + draw((uint32_t)most)) : left;
  give(b, 0, size, b->item, fg_max(1, some));
  for (fg_idx r = 0; r < b->B; r++)
    memcpy(fg_row(&b->rows[0], b->item, 0, r), all + (r * T + done) * size * b->item, (size_t)(some * size * b->item));
  b->run.T = some, b->run.final = b->run.flush = done + some == T;
  return some;
}

/* A sequence (B, T, size) of numbers. */
static char *sequence(const bench *b, fg_idx T, fg_idx size) {
  char *x = memory(b->B * T * size * b->item);
  for (fg_idx i = 0; i < b->B * T * size; i++) set_number(x, i, b->item, number());
  return x;
}

/* Windows over a sequence with `before` and `after` steps of 1.5 around it, or its first steps left out. */
static void check_windows(fg_idx item) {
  bench b;
  begin(&b, "window", FG_OP_WINDOW, item, 1 + draw(3));
  const fg_idx size = 1 + draw(4), T = 1 + draw(30), most = 6, reach = 1 + draw(5), stride = 1 + draw(4);
  const fg_idx before = (fg_idx)draw(9) - 4, after = draw(3), B = b.B;
  b.ins.size = size;
  b.ins.window = (fg_op_window){.reach = reach, .stride = stride, .before = before, .after = after, .fill = 1.5};
  give_line(&b, 0, size, fg_max(reach - 1, fg_max(0, before)) + most + after);
  fg_window *w = &b.lines[0];
  w->held = fg_max(0, before), w->drop = fg_max(0, -before);
  for (fg_idx r = 0; r < B; r++) fg_fill_steps(&b.ins, &b.run, w->line + r * w->capacity * size * item, w->held);
  char *x = sequence(&b, T, size);
  fg_idx shown = 0;
  for (fg_idx done = 0; done < T; done += b.run.T) {
    next_block(&b, x, size, done, T, most);
    execute(&b);
    for (fg_idx k = 0; k < b.run.steps[1]; k++, shown++)
      for (fg_idx r = 0; r < B; r++)
        for (fg_idx j = 0; j < reach; j++)
          for (fg_idx i = 0; i < size; i++) {
            const fg_idx t = shown * stride + j - before;
            const double wanted = t < 0 || t >= T ? 1.5 : get(x, (r * T + t) * size + i, item);
            const double got = get(w->line, (r * w->capacity + k * stride + j) * size + i, item);
            expect(got == wanted, "element", t);
          }
  }
  const fg_idx padded = fg_max(0, T + before + after);
  expect(shown == (padded >= reach ? (padded - reach) / stride + 1 : 0), "count", shown);
  free(x), end(&b);
}

static void check_overlap_add(fg_idx item) {
  bench b;
  begin(&b, "overlap_add", FG_OP_OVERLAP_ADD, item, 1 + draw(3));
  const fg_idx size = 1 + draw(3), T = 1 + draw(20), most = 5, reach = 1 + draw(6), hop = 1 + draw(3), lead = draw(3);
  const fg_idx kept = fg_max(hop, reach + lead), skipped = draw(3), B = b.B, after = kept - hop;
  b.ins.size = size;
  b.ins.overlap_add = (fg_op_overlap_add){
      .reach = reach, .stride = hop, .before = skipped, .after = after, .kept = kept, .lead = lead};
  give_line(&b, 0, size, kept + hop * (1 + draw(4)));
  b.lines[0].drop = skipped;
  const fg_idx frame = reach * size, all = fg_max(0, T * hop + after - skipped);
  char *x = sequence(&b, T, frame);
  double *sums = calloc((size_t)(B * (T * hop + kept) * size), sizeof(double));
  for (fg_idx r = 0; r < B; r++)
    for (fg_idx t = 0; t < T; t++)
      for (fg_idx i = 0; i < frame; i++)
        sums[(r * (T * hop + kept) + t * hop + lead) * size + i] += get(x, (r * T + t) * frame + i, item);
  fg_idx shown = 0;
  const int apart = (int)draw(2); /* the end comes in a block without steps */
  for (fg_idx done = 0; !b.run.flush; done += b.run.T) {
    if (done < T)
      next_block(&b, x, frame, done, T, most), b.run.flush &= !apart;
    else
      b.run.T = 0, b.run.flush = 1;
    const fg_idx due = fg_overlaps_due(&b.ins.overlap_add, &b.lines[0], b.run.T, b.run.flush, 0);
    give(&b, 1, size, item, fg_max(1, due));
    execute(&b);
    expect(b.run.steps[1] == due, "steps", done);
    for (fg_idx k = 0; k < due; k++, shown++)
      for (fg_idx r = 0; r < B; r++)
        for (fg_idx i = 0; i < size; i++)
          expect(get(fg_row(&b.rows[1], item, k, r), i, item) ==
                     sums[(r * (T * hop + kept) + shown + skipped) * size + i], "sum", shown);
  }
  expect(shown == all, "count", shown);
  free(sums), free(x), end(&b);
}

static void check_mirror(fg_idx item) {
  bench b;
  begin(&b, "mirror", FG_OP_MIRROR, item, 1 + draw(3));
  const int edge = draw(3) == 0;
  const fg_idx size = 1 + draw(4), most = 5, before = draw(4), after = draw(4), B = b.B;
  const fg_idx reach = edge ? 1 : fg_max(1, 1 + fg_max(before, after)), T = reach + draw(15);
  if (!edge && reach == 1) return; /* nothing is mirrored */
  b.ins.size = size, b.ins.mirror = (fg_op_mirror){.reach = reach, .before = before, .after = after};
  give_line(&b, 0, size, reach);
  char *x = sequence(&b, T, size);
  fg_idx shown = 0;
  for (fg_idx done = 0; done < T; done += b.run.T) {
    next_block(&b, x, size, done, T, most);
    const fg_idx due = fg_mirror_due(&b.ins.line, &b.lines[0], b.run.T, b.run.flush);
    give(&b, 1, size, item, fg_max(1, due));
    execute(&b);
    for (fg_idx k = 0; k < due; k++, shown++)
      for (fg_idx r = 0; r < B; r++)
        for (fg_idx i = 0; i < size; i++) {
          fg_idx t = shown - before;
          if (edge)
            t = fg_min(fg_max(t, 0), T - 1);
          else
            t = t < 0 ? -t : t < T ? t : 2 * (T - 1) - t;
          const double got = get(fg_row(&b.rows[1], item, k, r), i, item);
          expect(got == get(x, (r * T + t) * size + i, item), "element", shown);
        }
  }
  expect(shown == before + T + after, "count", shown);
  free(x), end(&b);
}

/* Two values of which the second comes `late` steps later: each waits until both have a step. */
static void check_wait(fg_idx item) {
  bench b;
  begin(&b, "wait", FG_OP_WAIT, item, 1 + draw(3));
  const fg_idx size = 1 + draw(4), T = 1 + draw(25), most = 5, late = draw(6), B = b.B;
  b.ins.size = size, b.ins.wait = (fg_op_wait){.kept = late, .n_meeting = 2, .meeting = {{0, 1}, {1, 3}}};
  give_line(&b, 0, size, late + most);
  char *x = sequence(&b, T, size);
  fg_idx shown = 0, seen = 0, meets = 0; /* of the second value: steps come, and steps shown */
  for (fg_idx done = 0; done < T; done += b.run.T) {
    b.run.steps[0] = next_block(&b, x, size, done, T, most);
    const fg_idx come = fg_max(0, done + b.run.T - late);
    b.lines[1].held = seen, b.lines[1].drop = meets, b.run.steps[2] = come - seen;
    execute(&b);
    expect(b.run.steps[1] == come - shown, "steps", done);
    for (fg_idx k = 0; k < b.run.steps[1]; k++, shown++)
      for (fg_idx r = 0; r < B; r++)
        for (fg_idx i = 0; i < size; i++)
          expect(get(b.lines[0].line, (r * b.lines[0].capacity + k) * size + i, item) ==
                     get(x, (r * T + shown) * size + i, item), "element", shown);
    seen = come, meets = shown;
  }
  free(x), end(&b);
}

/* Steps that do not fit into the line, its values or the caller's arrays: none is written, and none counted. */
static void check_misfits(fg_idx item) {
  static const int ops[] = {FG_OP_WINDOW, FG_OP_WAIT, FG_OP_MIRROR, FG_OP_OVERLAP_ADD};
  for (int op = 0; op < 4; op++)
    for (int wrong = 0; wrong < 5; wrong++) { /* nothing, the line, the block, the call, what the line holds */
      bench b;
      begin(&b, "misfit", ops[op], item, 1);
      const int lines = ops[op] == FG_OP_WINDOW || ops[op] == FG_OP_WAIT; /* show their line, which can be too short */
      const fg_idx T = 3;
      b.ins.size = 1, b.ins.line.reach = b.ins.line.stride = b.ins.line.kept = 1;
      b.run.T = b.run.steps[0] = b.run.steps[1] = T;
      if ((wrong == 1 && !lines) || (wrong == 4 && ops[op] != FG_OP_WAIT)) continue;
      give_numbers(&b, 0, 1, T), give(&b, 1, 1, item, T);
      give_line(&b, 0, 1, ops[op] == FG_OP_OVERLAP_ADD ? 2 : ops[op] == FG_OP_MIRROR ? 1 : wrong == 1 ? T - 1 : T + 1);
      if (ops[op] == FG_OP_WAIT) b.ins.wait.n_meeting = wrong != 4, b.ins.wait.meeting[0][1] = 1;
      if (wrong == 2) b.room[1] = T - 1;
      if (wrong == 3) b.due[1] = T + 1, b.run.done[1] = 2;
      if (wrong == 4) b.lines[0].drop = 1; /* one step fewer than the other clock counts */
      const fg_window before = b.lines[0];
      execute(&b);
      expect((b.run.misfit != 0) == (wrong != 0), "flag", wrong);
      expect(b.run.steps[1] == (wrong ? 0 : T), "steps", wrong);
      expect(wrong == 0 || memcmp(&before, &b.lines[0], sizeof before) == 0, "line", wrong);
      b.rows[1].b_stride = 0;
      end(&b);
    }
}

/* The `count`th step that counts, or the first of the last `kept`, where a mask leaves some out. */
static void check_time_step(fg_idx item) {
  bench b;
  begin(&b, "time_step", FG_OP_TIME_STEP, item, 1 + draw(3));
  const fg_idx size = 1 + draw(4), T = 1 + draw(20), most = 6, B = b.B, kept = 1 + draw(4), count = draw(5);
  uint8_t *mask = memory(T * B);
  for (fg_idx i = 0; i < T * B; i++) mask[i] = draw(4) > 0;
  b.ins.size = size, b.ins.time_step = (fg_op_time_step){.kept = kept, .last = (int)draw(2), .count = count};
  b.ins.n_inputs = b.ins.time_step.last ? 2 : 3, b.ins.inputs[1] = 2, b.ins.inputs[2] = 3;
  if (draw(3)) b.run.mask = mask, b.run.mask_t = 1, b.run.mask_b = T;
  memset(give(&b, 2, size * (b.ins.time_step.last ? kept : 1), item, 0), 0,
         (size_t)(B * size * (b.ins.time_step.last ? kept : 1) * item));
  memset(give(&b, 3, 1, item, 0), 0, (size_t)(B * item));
  give(&b, 1, size, item, 0);
  char *x = sequence(&b, T, size);
  for (fg_idx done = 0; done < T; done += b.run.T) {
    b.run.done[0] = done;
    next_block(&b, x, size, done, T, most);
    execute(&b);
  }
  for (fg_idx r = 0; r < B; r++) {
    fg_idx places[32], n = 0;
    for (fg_idx t = 0; t < T; t++)
      if (b.run.mask == NULL || mask[r * T + t]) places[n++] = t;
    const fg_idx at = b.ins.time_step.last ? n - kept : count;
    for (fg_idx i = 0; i < size; i++)
      expect(get(fg_row(&b.rows[1], item, 0, r), i, item) ==
                 (at < 0 || at >= n ? 0 : get(x, (r * T + places[at]) * size + i, item)), "element", r);
  }
  free(mask), free(x), end(&b);
}

static void check_masks(fg_idx item) {
  bench b;
  begin(&b, "mask", FG_OP_MASK, item, 1 + draw(3));
  const fg_idx size = 1 + draw(4), T = 1 + draw(9), B = b.B;
  b.ins.size = size, b.ins.mask.value = 0.25, b.run.T = T;
  char *x = give_numbers(&b, 0, size, T);
  for (fg_idx i = 0; i < B * T * size; i++)
    if (draw(2)) set_number(x, i, item, 0.25);
  const uint8_t *mask = give(&b, 1, 1, 1, T);
  execute(&b);
  for (fg_idx m = 0; m < B * T; m++) {
    int differ = 0;
    for (fg_idx i = 0; i < size; i++) differ |= get(x, m * size + i, item) != 0.25;
    expect(mask[m] == differ, "step", m);
  }
  name = "apply_mask", b.ins.op = FG_OP_APPLY_MASK, b.ins.n_inputs = 2, b.ins.inputs[1] = 1, b.ins.output = 2;
  const char *y = give(&b, 2, size, item, T);
  execute(&b);
  for (fg_idx i = 0; i < B * T * size; i++)
    expect(get(y, i, item) == (mask[i / size] ? get(x, i, item) : 0), "element", i);
  name = "convert", b.ins.op = FG_OP_CONVERT, b.ins.inputs[0] = 1, b.ins.output = 3;
  const char *z = give(&b, 3, 1, item, T);
  execute(&b);
  for (fg_idx m = 0; m < B * T; m++) expect(get(z, m, item) == mask[m], "number", m);
  end(&b);
}

static void check_reverse(fg_idx item) {
  bench b;
  begin(&b, "reverse", FG_OP_REVERSE, item, 1 + draw(4));
  const fg_idx size = 1 + draw(4), T = 1 + draw(9), B = b.B;
  const double lengths[] = {0, (double)(T / 2), (double)T, (double)T + 5, -3, NAN};
  b.ins.size = size, b.run.T = T, b.ins.n_inputs = 1 + (int)draw(2), b.ins.inputs[1] = 2;
  const char *x = give_numbers(&b, 0, size, T), *y = give(&b, 1, size, item, T);
  char *given = give(&b, 2, 1, item, 0);
  for (fg_idx r = 0; r < B; r++) set_number(given, r, item, lengths[draw(6)]);
  execute(&b);
  for (fg_idx r = 0; r < B; r++) {
    const double length = b.ins.n_inputs == 2 ? get(given, r, item) : (double)T;
    const fg_idx n = length >= (double)T ? T : length >= 0 ? (fg_idx)length : 0;
    for (fg_idx t = 0; t < T; t++)
      for (fg_idx i = 0; i < size; i++)
        expect(get(y, (r * T + t) * size + i, item) == get(x, (r * T + (t < n ? n - 1 - t : t)) * size + i, item),
               "element", t);
  }
  end(&b);
}

static void check_concat(fg_idx item) {
  bench b;
  begin(&b, "concat", FG_OP_CONCAT, item, 1 + draw(3));
  const fg_idx sizes[] = {1 + draw(4), 1 + draw(4), 1 + draw(4)}, all = sizes[0] + sizes[1] + sizes[2], T = 1 + draw(9);
  const int from[] = {0, 2, 3};
  b.ins.n_inputs = 3, b.ins.inputs[1] = 2, b.ins.inputs[2] = 3, b.run.T = T;
  for (int i = 0; i < 3; i++) give_numbers(&b, from[i], sizes[i], T);
  const char *y = give(&b, 1, all, item, T);
  execute(&b);
  for (fg_idx m = 0; m < b.B * T; m++)
    for (fg_idx i = 0, k = 0, j = 0; i < all; i++, j++) {
      if (j == sizes[k]) k++, j = 0;
      expect(get(y, m * all + i, item) == get(b.rows[from[k]].data, m * sizes[k] + j, item), "element", i);
    }
  end(&b);
}

/* Selection by counting: an element's place is the number of those that come before it. */
static void check_top_k(fg_idx item) {
  bench b;
  begin(&b, "top_k", FG_OP_TOP_K, item, 1 + draw(3));
  const fg_idx n = 1 + draw(9), rows = 1 + draw(3), k = 1 + draw((uint32_t)n), T = 1 + draw(4);
  const int smallest = (int)draw(2);
  b.ins.size = n, b.run.T = T, b.ins.outputs[0] = 2;
  b.ins.top_k = (fg_op_top_k){.dims = {1, rows}, .read = {.inner = n}, .count = k, .smallest = smallest};
  char *x = give_numbers(&b, 0, rows * n, T);
  for (fg_idx i = 0; i < b.B * T * rows * n; i++)
    if (draw(3) == 0) set_number(x, i, item, draw(2) ? NAN : (double)draw(3));
  const char *y = give(&b, 1, rows * k, item, T), *places = give(&b, 2, rows * k, item, T);
  execute(&b);
  for (fg_idx m = 0; m < b.B * T * rows; m++)
    for (fg_idx i = 0; i < n; i++) {
      const double own = get(x, m * n + i, item);
      fg_idx place = 0;
      for (fg_idx j = 0; j < n; j++) {
        const double other = get(x, m * n + j, item);
        const int same = own == other || (own != own && other != other);
        const int less = other < own || (own != own && other == other);
        place += same ? j < i : less == smallest;
      }
      if (place >= k) continue;
      expect(get(places, m * k + place, item) == (double)i, "place", i);
      const double got = get(y, m * k + place, item);
      expect(got == own || (got != got && own != own), "extreme", i);
    }
  end(&b);
}

/* Kernels of the check's own, one number after the other. */
static fg_idx plain_item;

static fg_idx place_in(const fg_nest *nest, int operand, const fg_idx *at) {
  fg_idx here = 0;
  for (int d = 0; d < nest->rank; d++) here += at[d] * nest->strides[operand][d];
  return here;
}

static void plain_map(const fg_nest *nest, const fg_micro *program, int n, void *const *p) {
  (void)program, expect(n == 0 && nest->rank == 2, "copy", n);
  for (fg_idx i = 0; i < nest->dims[0]; i++)
    for (fg_idx j = 0; j < nest->dims[1]; j++) {
      const fg_idx at[] = {i, j};
      set_number(p[0], place_in(nest, 0, at), plain_item, get(p[1], place_in(nest, 1, at), plain_item));
    }
}

static void plain_contract(const fg_nest *nest, const fg_act *act, void *const *p) {
  for (fg_idx i = 0; i < nest->dims[0]; i++)
    for (fg_idx j = 0; j < nest->dims[1]; j++) {
      fg_idx at[] = {i, j, 0};
      double sum = nest->operands > 3 ? get(p[3], place_in(nest, 3, at), plain_item) : 0;
      for (at[2] = 0; at[2] < nest->dims[2]; at[2]++)
        sum += get(p[1], place_in(nest, 1, at), plain_item) * get(p[2], place_in(nest, 2, at), plain_item);
      at[2] = 0;
      set_number(p[0], place_in(nest, 0, at), plain_item, act->kind == FG_AFFINE ? act->alpha * sum : sum);
    }
}

/* In the place of a softmax what is exact: half of each number, and how many there are. */
static void plain_softmax(const fg_rows *x, const fg_rows *y, fg_idx n, const fg_span *rows) {
  for (fg_idx i = rows->first; i < rows->first + rows->count; i++) {
    const char *from = fg_row(x, plain_item, i, 0);
    char *to = fg_row(y, plain_item, i, 0);
    for (fg_idx j = 0; j < n; j++) set_number(to, j, plain_item, get(from, j, plain_item) / 2 + (double)n);
  }
}

/* Queries in blocks of as many as there is room for, against one after the other over all steps. */
static void check_attend(fg_idx item) {
  bench b;
  begin(&b, "attend", FG_OP_ATTEND, item, 1 + draw(3));
  const fg_idx heads = 1 + draw(3), D = 1 + draw(4), E = 1 + draw(4), T = 1 + draw(9), some = 1 + draw(4);
  const int causal = (int)draw(2), added = (int)draw(2);
  plain_item = item;
  b.kernels.map = plain_map, b.kernels.contract = plain_contract, b.kernels.softmax = plain_softmax;
  b.ins.n_inputs = 3 + added, b.ins.inputs[1] = 2, b.ins.inputs[2] = 3, b.ins.inputs[3] = 6;
  b.ins.outputs[0] = 4, b.ins.outputs[1] = 5, b.ins.size = heads * E, b.run.T = T;
  b.ins.attend = (fg_op_attend){.heads = heads, .width = D, .scale = 0.5, .causal = causal};
  const char *q = give_numbers(&b, 0, heads * D, T), *k = give_numbers(&b, 2, heads * D, T);
  const char *v = give_numbers(&b, 3, heads * E, T), *more = give_numbers(&b, 6, 1, T);
  for (int i = 0; i < 4; i++) /* small whole numbers: all sums are exact in float, too */
    for (fg_idx j = 0, value = (const int[]){0, 2, 3, 6}[i]; j < b.B * T * b.values[value].size; j++)
      set_number(b.rows[value].data, j, item, (double)draw(5) - 2);
  const char *y = give(&b, 1, heads * E, item, T);
  give(&b, 4, some, item, T), give(&b, 5, D, item, T);
  execute(&b);
  for (fg_idx m = 0; m < b.B * T; m++)
    for (fg_idx h = 0; h < heads; h++)
      for (fg_idx e = 0; e < E; e++) {
        const fg_idx row = m / T * T, seen = causal ? m % T + 1 : T;
        double sum = 0;
        for (fg_idx s = 0; s < seen; s++) {
          double score = added ? get(more, row + s, item) : 0;
          for (fg_idx d = 0; d < D; d++)
            score += get(q, (m * heads + h) * D + d, item) * get(k, ((row + s) * heads + h) * D + d, item);
          sum += (score / 4 + (double)seen) * get(v, ((row + s) * heads + h) * E + e, item);
        }
        expect(get(y, (m * heads + h) * E + e, item) == sum, "mean", m);
      }
  end(&b);
}

/* A cell of the check's own in the place of a kernel: h' = h / 2 + x, exact. */
static fg_idx item_of_cell, units_of_cell;

static void step_of_cell(const fg_phase *phase, fg_step *s) {
  const fg_idx item = item_of_cell, columns = phase->u.panels * 8, n = s->stride;
  fg_rows out = s->out;
  for (fg_idx step = 0; step < s->count; step++) {
    for (fg_idx i = s->rows.first; i < s->rows.first + s->rows.count; i++) {
      const fg_idx b = s->rows.index != NULL ? s->rows.index[i] : i;
      const char *x = s->w != NULL ? s->input : (const char *)s->x + b * columns * item;
      for (fg_idx j = 0; j < n; j++)
        set_number(s->h_new, b * n + j, item, j < units_of_cell ? get(s->h, b * n + j, item) / 2 + get(x, j, item) : 0);
      if (out.data != NULL)
        memcpy(fg_row(&out, item, step, b), (char *)s->h_new + b * n * item, (size_t)(s->width * item));
    }
    void *h = (void *)s->h;
    s->h = s->a = s->h_new, s->h_new = h;
    if (s->x != NULL) s->x = (char *)s->x + s->x_stride * item;
    if (s->w != NULL) s->input = (const char *)s->input + s->input_stride * item;
  }
}

/* The input's part of the check's cell: a copy, with zeros behind it. */
static void copy_of_input(const fg_matrix *w, const void *bias, const fg_act *act, const fg_rows *a, const fg_rows *c,
                          fg_idx columns, const fg_span *rows) {
  (void)w, (void)bias, (void)act;
  for (fg_idx i = rows->first; i < rows->first + rows->count; i++) {
    const fg_idx m = rows->index != NULL ? rows->index[i] : i, t = m / rows->batch, b = m % rows->batch;
    const char *x = fg_row(a, item_of_cell, t, b);
    char *to = fg_row(c, item_of_cell, t, b);
    for (fg_idx j = 0; j < columns; j++)
      set_number(to, j, item_of_cell, j < units_of_cell ? get(x, j, item_of_cell) : 0);
  }
}

/* The layer of the check's cell over value 0, in blocks of at most `most` steps. */
static void begin_cell(bench *b, fg_instruction *ins, fg_idx units, fg_idx rows, fg_idx most) {
  static char data;
  const fg_idx item = b->item, padded = fg_round_up(units, 8);
  fg_recurrence *r = &b->recurrence;
  item_of_cell = item, units_of_cell = units;
  b->kernels.steps = step_of_cell, b->kernels.product = copy_of_input;
  const fg_matrix u = {.data = &data, .panels = padded / 8, .gates = 1, .inner = units};
  ins->op = FG_OP_RECURRENT, ins->slice = 1 << 20;
  ins->recurrent.layer = (fg_layer){
      .units = units, .features = units, .units_padded = padded, .features_padded = padded, .n_phases = 1,
      .phases = {{.kind = FG_RNN, .u = u, .x = u}}};
  for (int i = 0; i < 2; i++) r->h[i] = calloc((size_t)(rows * padded), (size_t)item);
  r->c = memory(rows * padded * item), r->last = calloc((size_t)(rows * units), (size_t)item);
  r->x[0] = memory(most * rows * padded * item);
  b->run.index = memory(most * rows * 4), b->run.active = memory(rows * 4);
}

static void end_cell(bench *b) {
  free(b->recurrence.h[0]), free(b->recurrence.h[1]), free(b->recurrence.c), free(b->recurrence.last);
  free(b->recurrence.x[0]), free(b->run.index), free(b->run.active);
}

/* Over time: whole, masked, carried or backward; what a row gets at a step that does not count. Where it is traced, the
 * second output shows each state, and before it, of several rows, the only gate: the check's cell leaves the input. */
static void check_layer(fg_idx item, const char *of, int op) {
  bench b;
  begin(&b, of, op, item, 1 + draw(4));
  const fg_idx units = 1 + draw(20), T = 1 + draw(12), B = b.B;
  begin_cell(&b, &b.ins, units, B, T);
  const int traced = op == FG_OP_TRACED, gates = traced && B > 1;
  const fg_idx width = units * (1 + gates);
  b.ins.op = op;
  if (traced) {
    b.ins.n_outputs = 1, b.ins.outputs[0] = 2, b.ins.traced.n_shown = 1 + gates;
    b.ins.traced.shown[0] = 0, b.ins.traced.shown[gates] = FG_SHOWN_HIDDEN;
  }
  fg_layer *layer = &b.ins.recurrent.layer;
  layer->reverse = draw(2), layer->carry = draw(2), layer->last = draw(2);
  uint8_t *mask = memory(T * B);
  for (fg_idx i = 0; i < T * B; i++) mask[i] = draw(4) > 0;
  if (draw(2)) b.run.mask = mask, b.run.mask_t = 1, b.run.mask_b = T;
  fg_watch watch = {0};
  if (draw(2)) b.run.watch = &watch, b.ins.slice = 1 + draw(6); /* in slices, between which signals are looked at */
  char *x = sequence(&b, T, units);
  double *h = calloc((size_t)(B * units), sizeof *h), *y = calloc((size_t)(T * B * units), sizeof *y);
  double *last = calloc((size_t)(B * units), sizeof *last), *shown = calloc((size_t)(T * B * width), sizeof *shown);
  for (fg_idx i = 0; i < T; i++)
    for (fg_idx r = 0; r < B; r++)
      for (fg_idx j = 0; j < units; j++) {
        const fg_idx t = layer->reverse ? T - 1 - i : i;
        const int counts = b.run.mask == NULL || mask[r * T + t];
        if (counts) {
          h[r * units + j] = h[r * units + j] / 2 + get(x, (r * T + t) * units + j, item);
          if (item == 4) h[r * units + j] = (float)h[r * units + j];
          last[r * units + j] = h[r * units + j];
        }
        y[(t * B + r) * units + j] = counts || layer->carry ? last[r * units + j] : 0;
        shown[(t * B + r) * width + width - units + j] = h[r * units + j];
        if (gates) shown[(t * B + r) * width + j] = counts ? get(x, (r * T + t) * units + j, item) : 0;
      }
  for (fg_idx done = 0; done < T; done += b.run.T) {
    b.run.done[0] = done;
    const fg_idx some = next_block(&b, x, units, done, T, layer->reverse ? 0 : 5);
    give(&b, 1, units, item, layer->last ? 0 : some);
    if (traced) give(&b, 2, width, item, some);
    execute(&b);
    for (fg_idx i = 0; i < (traced ? some * B * width : 0); i++) {
      const fg_idx t = i / (B * width), r = i / width % B;
      expect(get(fg_row(&b.rows[2], item, t, r), i % width, item) == shown[done * B * width + i], "shown", i);
    }
    if (layer->last && !b.run.final) continue;
    for (fg_idx t = 0; t < (layer->last ? 1 : some); t++)
      for (fg_idx r = 0; r < B; r++)
        for (fg_idx j = 0; j < units; j++) {
          const double wanted = layer->last ? last[r * units + j] : y[((done + t) * B + r) * units + j];
          expect(get(fg_row(&b.rows[1], item, t, r), j, item) == wanted, "unit", j);
        }
  }
  free(h), free(y), free(last), free(shown), free(mask), free(x), end_cell(&b), end(&b);
}

static void check_recurrent(fg_idx item) { check_layer(item, "recurrent", FG_OP_RECURRENT); }
static void check_traced(fg_idx item) { check_layer(item, "traced", FG_OP_TRACED); }

/* Inside of frames: rows with an initial state and a length each. */
static void check_scan(fg_idx item) {
  bench b;
  begin(&b, "scan", FG_OP_SCAN, item, 1 + draw(3));
  const fg_idx units = 1 + draw(9), steps = 1 + draw(6), rows = 1 + draw(3), T = 1 + draw(3), B = b.B;
  const fg_idx held = rows > 1 ? rows : fg_max(B, T); /* frames of one row run together */
  const int masked = (int)draw(2), given = (int)draw(2);
  fg_instruction layer = {.n_inputs = masked ? 2 : 1, .inputs = {0, 2}, .output = 1};
  begin_cell(&b, &layer, units, held, steps);
  b.run.T = T, b.ins.n_outputs = 1, b.ins.outputs[0] = 2;
  b.ins.scan = (fg_op_scan){.layer = &layer, .steps = steps, .rows = rows, .read = {0, rows * units, units},
                            .operands = {{.buffer = given ? 3 : FG_ABSENT}, {.buffer = FG_ABSENT},
                                         {.buffer = masked ? 4 : FG_ABSENT}}};
  b.run.scan_mask = memory(steps * held);
  const char *x = give_numbers(&b, 0, steps * rows * units, T), *h0 = give_numbers(&b, 3, rows * units, T);
  char *lengths = give(&b, 4, rows, item, T);
  for (fg_idx i = 0; i < B * T * rows; i++) set_number(lengths, i, item, (double)draw((uint32_t)steps + 1));
  const char *y = give(&b, 1, steps * rows * units, item, T), *final = give(&b, 2, rows * units, item, T);
  execute(&b);
  for (fg_idx m = 0; m < B * T; m++)
    for (fg_idx n = 0; n < rows * units; n++) {
      double h = given ? get(h0, m * rows * units + n, item) : 0;
      for (fg_idx s = 0; s < steps; s++) {
        const fg_idx at = (m * steps + s) * rows * units + n;
        const int counts = !masked || (double)s < get(lengths, m * rows + n / units, item);
        if (counts) h = h / 2 + get(x, at, item);
        if (item == 4) h = (float)h;
        expect(get(y, at, item) == (counts ? h : 0), "unit", n);
      }
      expect(get(final, m * rows * units + n, item) == h, "final state", n);
    }
  free(b.run.scan_mask), end_cell(&b), end(&b);
}

/* A signal ends a long call between two steps, and only on the thread that listens. */
static int asked;
static int raises(void *caller) { return asked++, *(int *)caller; }

static void check_signals(fg_idx item) {
  bench b;
  begin(&b, "signals", FG_OP_REVERSE, item, 1);
  int raised = 0;
  fg_watch watch = {.signals = raises, .caller = &raised};
  b.run.watch = &watch, b.ins.size = 1, b.run.T = 1000;
  give_numbers(&b, 0, 1, 1000);
  memset(give(&b, 1, 1, item, 1000), 0xA5, (size_t)(1000 * item));
  execute(&b);
  expect(asked == 0, "a look by a thread that does not listen", 0);
  b.run.listens = 1, raised = 1;
  memset(b.rows[1].data, 0xA5, (size_t)(1000 * item));
  execute(&b);
  expect(asked == 1 && watch.stop == 1, "stop", asked);
  expect(((const uint8_t *)b.rows[1].data)[999 * item] == 0xA5, "a step behind the stop", 999);
  asked = 0, end(&b);
}

int main(int argc, char **argv) {
  static void (*const CHECKS[])(fg_idx) = {
      check_windows,   check_overlap_add, check_mirror, check_wait,   check_misfits, check_time_step, check_masks,
      check_reverse,   check_concat,      check_top_k,  check_scan,   check_recurrent, check_traced,  check_signals,
      check_attend,
  };
  const int rounds = argc > 1 ? atoi(argv[1]) : 200;
  for (int op = 0; op <= FG_OP_ATTEND; op++) expect(fg_ops[op] != NULL, "body of an instruction", op);
  for (int i = 0; i < rounds; i++)
    for (size_t c = 0; c < sizeof CHECKS / sizeof *CHECKS; c++) CHECKS[c](4), CHECKS[c](8);
  printf("%d rounds, %d errors\nhash %016llx\n", rounds, errors, (unsigned long long)bits);
  return errors != 0;
}
