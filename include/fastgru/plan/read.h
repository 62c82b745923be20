/* Fields of structs from the words of a compiled plan, by the tables of fields.h.
 *
 * A word is an int64_t or the bits of a double. Fields stand in the order of their declaration: an integer, a code or a
 * truth value is a word; a tuple its number of items, then these; a record its fields; an array its number, or -1 for
 * none; fastgru/lowering/encoding.py writes them. Each is read if it is of the range that its kind says, and no further:
 * check.h says which fields go together.
 *
 * Where a struct points to the numbers of an array, or has a matrix packed of them, it holds the number of the array,
 * from 1 on, until the engine puts the packed numbers in its place. */
#ifndef FASTGRU_PLAN_READ_H
#define FASTGRU_PLAN_READ_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fastgru/fields.h"
#include "fastgru/sizes.h"

enum { FG_AXES = 16, FG_MOST_CODE = 1 << 16 };

/* Of an array, or of a state that is shown. */
typedef struct {
  int rank;
  fg_idx dims[FG_AXES];
} fg_shape;

typedef struct {
  const int64_t *at, *end;
  fg_idx texts, arrays;                          /* how many there are */
  void *(*reserve)(void *owner, size_t bytes);   /* zeroed memory that lives as long as the structs, or NULL */
  void *owner;
  char path[32];     /* of a record in its instruction: "layer." */
  char problem[256]; /* "" as long as all is right */
} fg_reader;

/* Each of these returns 1 where it has read what it should, else 0, with the problem told. */

static inline int fg_miss(fg_reader *r, const char *name, const char *must, int64_t got) {
  snprintf(r->problem, sizeof r->problem, "%s%s must be %s, got %lld", r->path, name, must, (long long)got);
  return 0;
}

static inline int read_word(fg_reader *r, const char *name, int64_t *word) {
  if (r->at >= r->end) {
    snprintf(r->problem, sizeof r->problem, "%s%s must stand in the file, which ends before it", r->path, name);
    return 0;
  }
  *word = *r->at++;
  return 1;
}

static inline int read_within(fg_reader *r, const char *name, const char *must, int64_t least, int64_t greatest,
                       int64_t *word) {
  return read_word(r, name, word) && ((least <= *word && *word <= greatest) || fg_miss(r, name, must, *word));
}

static inline int read_integer(fg_reader *r, const fg_field *field, int64_t *word) {
  return read_within(r, field->name, field->must, field->least, field->greatest, word);
}

static inline int read_number(fg_reader *r, const char *name, double *number) {
  int64_t word;
  if (!read_word(r, name, &word)) return 0;
  memcpy(number, &word, sizeof word);
  return 1;
}

static inline int fg_is_scale(double x) { return 0x1p-100 <= x && x <= 0x1p100; }

/* Whether alpha and beta are parameters of the activation or function of this code. */
static inline int fg_has_parameters(int64_t code, double alpha, double beta) {
  if (!isfinite(alpha) || !isfinite(beta)) return 0;
  return code != FG_FAKE_QUANTIZE || (fg_is_scale(alpha) && fabs(beta) <= FG_MOST_CODE);
}

static inline int read_float(fg_reader *r, const fg_field *field, double *number) {
  if (!read_number(r, field->name, number)) return 0;
  int right = field->kind == FG_KIND_FLOAT || (field->kind == FG_KIND_FINITE && isfinite(*number) && *number >= 0) ||
              (field->kind == FG_KIND_SCALE && (*number == 0 || fg_is_scale(*number)));
  if (!right)
    snprintf(r->problem, sizeof r->problem, "%s%s must be %s, got %g", r->path, field->name, field->must, *number);
  return right;
}

static inline int read_act(fg_reader *r, const fg_field *field, fg_act *act) {
  int64_t kind;
  if (!read_word(r, field->name, &kind) || !read_number(r, field->name, &act->alpha) ||
      !read_number(r, field->name, &act->beta))
    return 0;
  act->kind = (int)kind;
  return (0 <= kind && kind <= FG_FAKE_QUANTIZE && fg_has_parameters(kind, act->alpha, act->beta)) ||
         fg_miss(r, field->name, field->must, kind);
}

/* The number of an array into a pointer. */
static inline int read_array(fg_reader *r, const fg_field *field, const void **to) {
  int64_t word;
  if (!read_word(r, field->name, &word)) return 0;
  *to = (const void *)(size_t)(word + 1);
  if (0 <= word && word < r->arrays) return 1;
  return (word == -1 && field->optional) || fg_miss(r, field->name, field->must, word);
}

static inline int read_count(fg_reader *r, const fg_field *field, int *n) {
  int64_t word;
  if (!read_word(r, field->name, &word)) return 0;
  *n = (int)word;
  if (0 <= word && word <= field->most) return 1;
  snprintf(r->problem, sizeof r->problem, "%s must be at most %d, got %lld", field->items, field->most,
           (long long)word);
  return 0;
}

static inline int fg_read_fields(fg_reader *r, void *record, const fg_field *field);

/* A record inside of one, whose path is told while it is read: "layer.phases[1].". */
static inline int read_record(fg_reader *r, const fg_field *field, int item, void *to) {
  size_t length = strlen(r->path), room = sizeof r->path - length;
  if (item < 0) snprintf(r->path + length, room, "%s.", field->name);
  else snprintf(r->path + length, room, "%s[%d].", field->name, item);
  int right = fg_read_fields(r, to, field->fields);
  if (right) r->path[length] = 0;
  return right;
}

static inline int read_dims(fg_reader *r, const fg_field *field, fg_nest *nest) {
  int64_t word;
  if (!read_count(r, field, &nest->rank)) return 0;
  for (int i = 0; i < nest->rank; i++) {
    if (!read_integer(r, field, &word)) return 0;
    nest->dims[i] = (fg_idx)word;
  }
  return 1;
}

static inline int read_strides(fg_reader *r, const fg_field *field, fg_nest *nest) {
  int64_t word;
  if (!read_count(r, field, &nest->operands)) return 0;
  for (int i = 0; i < nest->operands; i++) {
    if (!read_word(r, field->name, &word)) return 0;
    if (word != nest->rank) {
      snprintf(r->problem, sizeof r->problem, "strides must be %d for each of %d operands, got %lld", nest->rank,
               nest->operands, (long long)word);
      return 0;
    }
    for (int j = 0; j < nest->rank; j++) {
      if (!read_integer(r, field, &word)) return 0;
      nest->strides[i][j] = (fg_idx)word;
    }
  }
  return 1;
}

/* Integers of one kind side by side. */
static inline int read_integers(fg_reader *r, const fg_field *field, char *to, int n) {
  int64_t word;
  for (int i = 0; i < n; i++) {
    if (!read_integer(r, field, &word)) return 0;
    if (field->size == sizeof(int)) ((int *)to)[i] = (int)word;
    else ((fg_idx *)to)[i] = (fg_idx)word;
  }
  return 1;
}

/* The first step of a slice and the one behind its last, INT64_MAX for that of the sequence. */
static inline int read_bounds(fg_reader *r, const fg_field *field, fg_idx *to, int n) {
  int64_t word;
  if (n == 1) return fg_miss(r, field->name, "none or two", n);
  for (int i = 0; i < n; i++) {
    if (i == 1 && r->at < r->end && *r->at == INT64_MAX) {
      to[i] = FG_TOO_LARGE;
      r->at++;
    } else if (!read_integer(r, field, &word)) {
      return 0;
    } else {
      to[i] = (fg_idx)word;
    }
  }
  return 1;
}

static inline int read_inner(fg_reader *r, const fg_field *field, fg_instruction **to) {
  fg_instruction *made = *to = r->reserve(r->owner, sizeof *made);
  if (!made) return fg_miss(r, field->name, "one that there is memory for", 0);
  made->op = FG_OP_RECURRENT;
  made->output = made->n_inputs = 1; /* it reads value 0 and writes value 1 */
  fg_field own = *field;
  own.fields = fg_layer_fields;
  return read_record(r, &own, -1, &made->recurrent.layer);
}

/* A tuple of so many items. */
static inline int read_items(fg_reader *r, const fg_field *field, char *to, int n) {
  if (field->kind == FG_KIND_BOUNDS) return read_bounds(r, field, (fg_idx *)to, n);
  if (field->kind == FG_KIND_PAIRS) return read_integers(r, field, to, 2 * n);
  if (!field->fields) return read_integers(r, field, to, n);
  if (field->kind == FG_KIND_FUNCTIONS) {
    char *made = r->reserve(r->owner, field->size * (size_t)n);
    if (!made) return fg_miss(r, field->name, "as many as there is memory for", n);
    memcpy(to, &made, sizeof made);
    to = made;
  }
  for (int i = 0; i < n; i++)
    if (!read_record(r, field, i, to + field->size * (size_t)i)) return 0;
  return 1;
}

static inline int read_field(fg_reader *r, const fg_field *field, char *record) {
  char *to = record + field->at;
  int64_t word;
  int n;
  switch (field->kind) {
    case FG_KIND_FLOAT: case FG_KIND_FINITE: case FG_KIND_SCALE: return read_float(r, field, (double *)to);
    case FG_KIND_ACT: return read_act(r, field, (fg_act *)to);
    case FG_KIND_ACTS:
      for (int i = 0; i < 3; i++)
        if (!read_act(r, field, (fg_act *)to + i)) return 0;
      return 1;
    case FG_KIND_TEXT:
      if (!read_within(r, field->name, field->must, 0, r->texts - 1, &word)) return 0;
      *(int *)to = (int)word;
      return 1;
    case FG_KIND_CLOCK:
      if (!read_integer(r, field, &word)) return 0;
      *(int *)to = (int)word - 1;
      return 1;
    case FG_KIND_OUTER:
      if (!read_integer(r, field, &word)) return 0;
      ((fg_nest *)to)->outer = (int)word;
      return 1;
    case FG_KIND_DIMS: return read_dims(r, field, (fg_nest *)to);
    case FG_KIND_STRIDES: return read_strides(r, field, (fg_nest *)to);
    case FG_KIND_PAIR: return read_integers(r, field, to, 2);
    case FG_KIND_ROWS: return read_record(r, field, -1, to);
    case FG_KIND_LAYER: return read_record(r, field, -1, to);
    case FG_KIND_INNER: return read_inner(r, field, (fg_instruction **)to);
    case FG_KIND_MATRIX: case FG_KIND_PANELS: case FG_KIND_LOOKUP:
      return read_array(r, field, &((fg_matrix *)to)->data);
    case FG_KIND_ARRAY: case FG_KIND_BIAS: case FG_KIND_GATES: case FG_KIND_TABLE: case FG_KIND_PADDED:
      return read_array(r, field, (const void **)to);
    default:
      if (!field->most) return read_integers(r, field, to, 1); /* an integer, a truth value, one of some words */
      if (!read_count(r, field, &n)) return 0;
      *(int *)(record + field->count) = n;
      return read_items(r, field, to, n);
  }
}

/* Read the fields of a table, in its order. */
static inline int fg_read_fields(fg_reader *r, void *record, const fg_field *field) {
  for (; field->name; field++)
    if (!read_field(r, field, record)) return 0;
  return 1;
}

/* Read an instruction: its code, the fields that all have, and its own. */
static inline int fg_read_instruction(fg_reader *r, fg_instruction *ins) {
  int64_t op;
  if (!read_within(r, "code of an instruction", "that of one there is", 0, FG_OP_COUNT - 1, &op)) return 0;
  ins->op = (int)op;
  return fg_read_fields(r, ins, fg_instruction_fields) && fg_read_fields(r, ins, fg_op_fields[op]);
}

/* Read a shape: its number of axes, and so many numbers of `least` and more below 2**31. */
static inline int fg_read_shape(fg_reader *r, const char *name, fg_shape *to, int most, int64_t least) {
  int64_t rank, word;
  if (!read_within(r, name, "of few axes", 0, most, &rank)) return 0;
  to->rank = (int)rank;
  for (int i = 0; i < to->rank; i++) {
    if (!read_within(r, name, "of positive numbers below 2**31", least, INT32_MAX, &word)) return 0;
    to->dims[i] = (fg_idx)word;
  }
  return 1;
}

/* The elements of a shape; FG_TOO_LARGE where they are too many to count. */
static inline fg_idx fg_elements(const fg_shape *shape) {
  fg_idx n = 1;
  for (int i = 0; i < shape->rank; i++) n = fg_times(n, shape->dims[i]);
  return n;
}

#endif
