/* Faults planted in memory that kernels are given, to prove that a sanitizer sees into every kernel object: the program
 * links the objects that the extension is made of. Each call runs in a child, which must end by the sanitizer's report.
 * Built and run by tests/sanitize.sh as `planted address|undefined|thread`. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fastgru/fastgru.h"

#define N 40          /* elements of a row: whole vectors and a rest */
#define ROUNDS 20000  /* of two threads: enough for both to run at a time */

typedef struct {
  const fg_kernels *kernels; /* or NULL: */
  const fg_narrow *narrow;
  char *in, *out;
  fg_idx stride, first;
} target;

/* Reads one row of `in`, writes one of `out`. */
static void touch(const target *t) {
  if (t->narrow) {
    const fg_matrix table = {.data = t->in, .inner = N, .format = FG_BFLOAT16};
    t->narrow->lookup(&table, t->first ? t->stride : 0, t->out);
    return;
  }
  const fg_act relu = {FG_RELU, 0, 0};
  const fg_rows x = {t->in, t->stride, N}, y = {t->out, t->stride, N};
  const fg_span span = {1, t->first, 1, NULL, 0};
  t->kernels->activate(&relu, NULL, &x, &y, N, &span);
}

static void *touch_often(void *t) {
  for (int i = 0; i < ROUNDS; i++) touch(t);
  return NULL;
}

static int plant(const char *kind, target t) {
  const size_t item = t.narrow ? 2 : (size_t)t.kernels->item, short_by = !strcmp(kind, "address");
  t.in = calloc(N * item - short_by, 1);
  t.out = calloc(N, 8);
  t.stride = N;
  if (!strcmp(kind, "undefined")) t.stride = PTRDIFF_MAX / 2, t.first = 3; /* the row's address overflows */
  if (!strcmp(kind, "thread")) {
    pthread_t other;
    if (pthread_create(&other, NULL, touch_often, &t)) return 0;
    touch_often(&t);
    pthread_join(other, NULL);
  } else {
    touch(&t);
  }
  return 0;
}

/* 1 unless the child ended by a report: by an exit code that is not 0, not by a signal. */
static int missed(const char *kind, const char *isa, const char *table, target t) {
  fflush(NULL);
  const pid_t child = fork();
  if (!child) exit(plant(kind, t));
  int status = 0;
  waitpid(child, &status, 0);
  const int seen = WIFEXITED(status) && WEXITSTATUS(status) != 0;
  printf("%s %s: planted fault %s\n", isa, table, seen ? "reported" : "NOT REPORTED");
  return !seen;
}

int main(int argc, char **argv) {
  int count, wrong = argc != 2;
  const fg_isa *rows = fg_isas(&count);
  for (int i = 0; i < count && !wrong; i++) {
    if (!rows[i].supported) continue;
    wrong += missed(argv[1], rows[i].name, "float32", (target){.kernels = rows[i].f32});
    wrong += missed(argv[1], rows[i].name, "float64", (target){.kernels = rows[i].f64});
    wrong += missed(argv[1], rows[i].name, rows[i].narrow->name, (target){.narrow = rows[i].narrow});
  }
  return wrong > 0;
}
