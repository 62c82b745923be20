/* The searches of decoders, without Python: little room against much, which must give the same bits; paths against all
 * paths. Argument: rounds. The last line is a hash of all results.
 *   cc -std=gnu11 -O2 -Iinclude tests/kernels/decode_check.c -lm -o check && ./check 300 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastgru/decode/crf.h"
#include "fastgru/decode/ctc.h"
#include "fastgru/decode/transducer.h"

static uint64_t state = 1, hash = 14695981039346656037u;
static double unit(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (double)(state >> 11) * 0x1p-53;
}
static int below(int n) { return (int)(unit() * n); }
static void note(const void *at, size_t size) {
  for (size_t i = 0; i < size; i++) hash = (hash ^ ((const unsigned char *)at)[i]) * 1099511628211u;
}
static void fail(const char *what, int round) {
  printf("round %d: %s\n", round, what);
  exit(1);
}
static void *block(size_t size) {
  void *p = malloc(size ? size : 1);
  if (!p) exit(2);
  memset(p, 0x5a, size); /* nothing may be taken for granted */
  return p;
}

/* Log-probabilities of T frames, some of them 0 or equal. */
static double *frames(int T, int V) {
  double *x = block(sizeof(double) * (size_t)(T * V));
  for (int i = 0; i < T * V; i++) x[i] = below(8) == 0 ? -INFINITY : below(4) == 0 ? -1 : -5 * unit();
  fg_log_softmax(x, T, V);
  return x;
}

/* The words a, ab and b, of labels 1 and 2; label 3, if there is one, is the space, later ones are no letters. */
static const int32_t child[] = {1, 2, -1, -1}, sibling[] = {-1, 3, -1, -1}, unit_of[] = {0, 'a', 'b', 'b'};
static const uint8_t ends[] = {0, 1, 1, 1};

typedef struct {
  double score, total;
  int32_t length;
  int64_t labels[64], frames[64];
} result;

static void take(result *r, const fg_prefix *prefix, int32_t at, const fg_moment *moment, int32_t when) {
  r->length = prefix[at].length;
  for (int32_t i = r->length; i-- > 0; at = prefix[at].parent, when = moment[when].parent)
    r->labels[i] = prefix[at].label, r->frames[i] = moment[when].frame;
}

static void *grown(void *old, size_t before, size_t size) {
  void *p = block(size);
  if (old) memcpy(p, old, before);
  free(old);
  return p;
}

static void grow(fg_tree *t, int32_t room) {
  const size_t old = (size_t)t->room, new = (size_t)room;
  t->prefix = grown(t->prefix, sizeof(fg_prefix) * old, sizeof(fg_prefix) * new);
  t->moment = grown(t->moment, sizeof(fg_moment) * old, sizeof(fg_moment) * new);
  free(t->to), t->to = block(sizeof(int32_t) * new);
  t->room = room;
}

static int run_ctc(const double *x, int T, int V, int width, int32_t room, int listed, int scored, result *found) {
  int32_t begin[9] = {0, 0, 1, 2}, units[8] = {'a', 'b'};
  for (int c = 3; c < V; c++) units[c - 1] = 'x', begin[c + 1] = begin[c] + 1;
  fg_ctc s = {.V = V, .width = width, .space = V > 3 ? 3 : FG_NONE, .listed = listed, .scored = scored, .unknown = -1};
  s.lexicon = (fg_lexicon){child, sibling, unit_of, ends, begin, units};
  const size_t beam = sizeof(fg_hypothesis) * (size_t)width, ints = sizeof(int32_t) * (size_t)width;
  grow(&s.tree, room);
  s.beam = block(beam), s.next = block(beam), s.made = block(beam), s.heap = block(sizeof(fg_candidate) * (size_t)width);
  s.order = block(sizeof(int32_t) * (size_t)V), s.taken = block(sizeof(int32_t) * (size_t)V);
  s.heir = block(ints), s.other = block(ints);
  fg_ctc_begin(&s);
  for (fg_size t = 0;;) {
    for (int32_t i; (i = fg_ctc_asks(&s)) >= 0;) fg_ctc_told(&s, i, -0.25 * s.tree.prefix[s.beam[i].prefix].length, 0);
    if (t == T) break;
    const fg_size some = fg_ctc_frames(&s, x + t * V, T - t);
    t += some;
    if (below(3) == 0) s.tree.settled = fg_tree_shared(&s.tree, fg_ctc_holders(&s));
    if (some == 0 && fg_ctc_asks(&s) < 0) {
      fg_tree_collect(&s.tree, fg_ctc_holders(&s));
      if (fg_tree_full(&s.tree, width)) {
        grow(&s.tree, 2 * s.tree.room);
      }
    }
  }
  fg_ctc_end(&s);
  for (int32_t i = 0; i < s.count; i++) {
    const fg_hypothesis *h = &s.beam[i];
    memset(&found[i], 0, sizeof *found);
    const int32_t moment = h->best_blank > h->best_label ? h->moment_blank : h->moment_label;
    take(&found[i], s.tree.prefix, h->prefix, s.tree.moment, moment);
    found[i].score = h->rank, found[i].total = h->total;
  }
  const int count = s.count;
  free(s.tree.prefix), free(s.tree.moment), free(s.tree.to), free(s.beam), free(s.next), free(s.made), free(s.heap);
  free(s.order), free(s.taken), free(s.heir), free(s.other);
  return count;
}

/* Logits that follow from the frame and the labels so far. */
static void join(const fg_transducer *s, int32_t prefix, const double *frame, double *to) {
  double sum = 0;
  for (int32_t i = prefix; i > 0; i = s->tree.prefix[i].parent) sum = sum / 2 + s->tree.prefix[i].label;
  for (int32_t c = 0; c < s->V; c++) to[c] = frame[c] + sin(sum * (c + 1));
}

static int run_transducer(const double *x, int T, int V, int width, int most, int often, result *found) {
  const int32_t room = width * most * T + 1;
  fg_transducer s = {.V = V, .width = width, .most = most};
  const size_t beam = sizeof(fg_path) * (size_t)width;
  grow(&s.tree, room);
  s.beam = block(beam), s.active = block(beam), s.made = block(beam), s.ended = block(beam * (size_t)(most + 1));
  s.heap = block(sizeof(fg_candidate) * (size_t)width);
  double *logits = block(sizeof(double) * (size_t)(V * width));
  fg_transducer_begin(&s);
  for (int t = 0; t < T; t++) {
    if (often) fg_tree_collect(&s.tree, fg_transducer_holders(&s));
    fg_transducer_frame(&s);
    while (s.actives) {
      for (int32_t i = 0; i < s.actives; i++) join(&s, s.active[i].prefix, x + t * V, logits + i * V);
      fg_log_softmax(logits, s.actives, V);
      fg_transducer_level(&s, logits);
    }
    fg_transducer_end(&s);
    s.tree.settled = fg_tree_shared(&s.tree, fg_transducer_holders(&s));
  }
  for (int32_t i = 0; i < s.count; i++) {
    memset(&found[i], 0, sizeof *found);
    take(&found[i], s.tree.prefix, s.beam[i].prefix, s.tree.moment, s.beam[i].moment);
    found[i].score = s.beam[i].total, found[i].total = s.beam[i].best;
  }
  const int count = s.count;
  free(s.tree.prefix), free(s.tree.moment), free(s.tree.to), free(s.beam), free(s.active), free(s.made);
  free(s.ended), free(s.heap);
  free(logits);
  return count;
}

static void check_same(const result *a, int n, const result *b, int m, const char *what, int round) {
  if (n != m || memcmp(a, b, sizeof *a * (size_t)n)) fail(what, round);
  note(a, sizeof *a * (size_t)n);
  for (int i = 1; i < n; i++)
    if (!(a[i].score <= a[i - 1].score)) fail("hypotheses must come in falling order", round);
}

/* The best path and the sums against all K^T paths. */
static void check_field(int round) {
  const int K = 1 + below(4), T = 1 + below(5);
  double transitions[16], start[4], end[4], e[20], score[8], scratch[12], p[20], wanted[20] = {0}, most = -INFINITY, sum = 0;
  for (int i = 0; i < K * K; i++) transitions[i] = below(5) ? 4 * unit() - 2 : -INFINITY;
  for (int i = 0; i < K; i++) start[i] = 4 * unit() - 2, end[i] = 4 * unit() - 2;
  for (int i = 0; i < T * K; i++) e[i] = 6 * unit() - 3;
  const fg_crf c = {K, transitions, start, end};
  int count = 1;
  for (int t = 0; t < T; t++) count *= K;
  for (int n = 0; n < count; n++) {
    int tags[5], rest = n;
    for (int t = 0; t < T; t++, rest /= K) tags[t] = rest % K;
    double x = start[tags[0]] + end[tags[T - 1]];
    for (int t = 0; t < T; t++) x += e[t * K + tags[t]] + (t ? transitions[tags[t - 1] * K + tags[t]] : 0);
    if (x > most) most = x;
    sum += exp(x);
    for (int t = 0; t < T; t++) wanted[t * K + tags[t]] += exp(x);
  }
  int32_t from[20];
  int64_t tags[5];
  double *now = score, *then = score + K;
  for (int t = 0; t < T; t++) {
    fg_viterbi_frame(&c, e + t * K, t ? then : NULL, now, from + t * K);
    double *other = now;
    now = then, then = other;
  }
  const fg_size last = fg_viterbi_end(&c, then);
  fg_viterbi_path(from, T, K, last, tags);
  if (most > -INFINITY && fabs(then[last] - most) > 1e-12) fail("the best path must have the best score", round);
  note(tags, sizeof *tags * (size_t)T);
  const double all = fg_crf_marginals(&c, e, T, p, scratch);
  if (sum > 0 ? fabs(all - log(sum)) > 1e-12 : all != -INFINITY) fail("the sum must be that of all paths", round);
  for (int i = 0; i < T * K; i++)
    if (fabs(p[i] - (sum > 0 ? wanted[i] / sum : 0)) > 1e-12) fail("marginals must be those of all paths", round);
}

int main(int argc, char **argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 100;
  static result few[16], many[16];
  for (int round = 0; round < rounds; round++) {
    const int V = 3 + below(6), T = below(60), width = 1 + below(16), listed = below(2), scored = below(2);
    double *x = frames(T, V);
    const uint64_t kept = state;
    const int n = run_ctc(x, T, V, width, 4096, listed, scored, many);
    state = kept;
    check_same(many, n, few, run_ctc(x, T, V, width, 2 * width, listed, scored, few), "CTC: room must not matter", round);
    const int most = 1 + below(3), steps = T < 20 ? T : 20, own = 1 + below(4);
    const int m = run_transducer(x, steps, V, own, most, 0, many);
    check_same(many, m, few, run_transducer(x, steps, V, own, most, 1, few), "transducer: collecting must not matter", round);
    int64_t labels[60], when[60];
    int32_t last = FG_NONE;
    double score = 0;
    fg_size count = fg_ctc_greedy(x, T, V, 0, 0, &last, &score, labels, when);
    note(labels, sizeof *labels * (size_t)count), note(&score, sizeof score);
    free(x);
    check_field(round);
  }
  printf("%d rounds, %016llx\n", rounds, (unsigned long long)hash);
}
