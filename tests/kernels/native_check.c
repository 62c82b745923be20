/* The kernels without Python: every phase of every table against plain loops in double, and the same bits for a
 * row alone and in a batch. Run under emulation by tests/aarch64.sh. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastgru/fastgru.h"

static const struct { int kind, gates; const char *name; } PHASES[] = {
    {FG_RNN, 1, "rnn"}, {FG_GRU_AFTER, 3, "gru_after"}, {FG_LSTM, 4, "lstm"}, {FG_LSTM_COUPLED, 3, "lstm_coupled"},
};

static uint64_t bits = 14695981039346656037u; /* FNV-1a over every output: equal sums, equal bits */

static void hash(const float *row, int n) {
  uint32_t word;
  for (int i = 0; i < n; i++) memcpy(&word, row + i, 4), bits = (bits ^ word) * 1099511628211u;
}

static float random_weight(void) { return (float)rand() / (float)RAND_MAX - 0.5f; }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* One unit by the formulas of fastgru/reference.py; a: pre-activations x + u, the two parts of n apart. */
static double unit(int kind, const double *x, const double *u, double h, double *c) {
  double i, f, g, o, r, z, n;
  switch (kind) {
    case FG_RNN: return tanh(x[0] + u[0]);
    case FG_GRU_AFTER:
      r = sigmoid(x[0] + u[0]), z = sigmoid(x[1] + u[1]), n = tanh(x[2] + r * u[2]);
      return z * h + (1 - z) * n;
    case FG_LSTM: i = sigmoid(x[0] + u[0]), f = sigmoid(x[1] + u[1]), g = tanh(x[2] + u[2]), o = sigmoid(x[3] + u[3]); break;
    default: i = sigmoid(x[0] + u[0]), f = 1 - i, g = tanh(x[1] + u[1]), o = sigmoid(x[2] + u[2]);
  }
  *c = f * *c + i * g;
  return o * tanh(*c);
}

static void *aligned(size_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }

static int check(const fg_kernels *k, int p, int H, int B, int format, int tier) {
  const int kind = PHASES[p].kind, G = PHASES[p].gates, L = (int)k->lanes, panels = (H + L - 1) / L, P = panels * L;
  float *w = aligned(sizeof(float) * (size_t)(P * G * H + 64));
  float *x = aligned(sizeof(float) * (size_t)(B * P * G + 64)), *before = calloc((size_t)(B * P), 4);
  _Float16 *halves = aligned(sizeof(_Float16) * (size_t)(P * G * H + 64));
  float *h = calloc((size_t)(B * P), 4), *h_new = calloc((size_t)(B * P), 4), *c = calloc((size_t)(B * P), 4);
  float *c_old = calloc((size_t)(B * P), 4), *alone = calloc((size_t)(2 * B * P), 4);
  float *out = calloc((size_t)(2 * B * P), 4);
  memset(w, 0, sizeof(float) * (size_t)(P * G * H));
  for (int j = 0; j < H; j++)
    for (int i = 0; i < H; i++)
      for (int g = 0; g < G; g++) w[((j / L * H + i) * G + g) * L + j % L] = random_weight();
  for (int i = 0; i < P * G * H; i++) {
    halves[i] = (_Float16)w[i];
    if (format == FG_FLOAT16) w[i] = (float)halves[i];
  }
  for (int b = 0; b < B; b++)
    for (int j = 0; j < H; j++) {
      h[b * P + j] = random_weight(), c[b * P + j] = c_old[b * P + j] = random_weight();
      for (int g = 0; g < G; g++) x[((b * panels + j / L) * G + g) * L + j % L] = random_weight();
    }
  fg_phase phase = {.kind = kind, .tier = tier, .u = {.panels = panels, .gates = G, .inner = H, .format = format}};
  phase.u.data = format == FG_FLOAT16 ? (void *)halves : (void *)w;
  fg_step s = {.rows = {B, 0, B, NULL, 0}, .a = h, .a_stride = P, .x = x, .h = h, .h_new = h_new, .c = c, .stride = P, .count = 1};
  k->steps(&phase, &s);
  double worst = 0;
  for (int b = 0; b < B; b++) hash(h_new + b * P, H);
  for (int b = 0; b < B; b++)
    for (int j = 0; j < H; j++) {
      double xs[4], us[4], cell = c_old[b * P + j];
      for (int g = 0; g < G; g++) {
        xs[g] = x[((b * panels + j / L) * G + g) * L + j % L], us[g] = 0;
        for (int i = 0; i < H; i++) us[g] += (double)w[((j / L * H + i) * G + g) * L + j % L] * h[b * P + i];
      }
      worst = fmax(worst, fabs(unit(kind, xs, us, h[b * P + j], &cell) - h_new[b * P + j]));
    }
  int same = 1;
  for (int b = 0; b < B; b++) {
    int32_t row = b;
    memcpy(c, c_old, sizeof(float) * (size_t)(B * P));
    s.rows.count = 1, s.rows.index = &row, s.rows.backward = b & 1, s.a = s.h = h, s.h_new = alone;
    k->steps(&phase, &s);
    same = same && !memcmp(alone + b * P, h_new + b * P, sizeof(float) * (size_t)H);
  }
  /* Two steps whose input parts a product makes, of all rows; and of each alone, which makes its own. */
  const fg_act linear = {FG_LINEAR, 0, 0};
  const fg_rows from = {h, 0, P}, to = {x, 0, P * G};
  s.rows = (fg_span){B, 0, B, NULL, 0}, s.a = s.h = h, s.h_new = h_new, s.out = (fg_rows){out, B * H, H}, s.width = H;
  memcpy(c, c_old, sizeof(float) * (size_t)(B * P)), memcpy(before, h, sizeof(float) * (size_t)(B * P));
  k->product(&phase.u, NULL, &linear, &from, &to, P * G, &s.rows);
  s.count = 2;
  k->steps(&phase, &s);
  for (int b = 0; b < 2 * B; b++) hash(out + b * H, H);
  memcpy(c, c_old, sizeof(float) * (size_t)(B * P)), memcpy(h, before, sizeof(float) * (size_t)(B * P));
  for (int b = 0; b < B; b++) {
    int32_t row = b;
    s.rows = (fg_span){B, 0, 1, &row, b & 1}, s.a = s.h = h, s.h_new = h_new, s.x = x;
    s.w = &phase.u, s.input = before + b * P;
    memset(x, 0, sizeof(float) * (size_t)(B * P * G)), memset(alone, 0, sizeof(float) * (size_t)(2 * B * H));
    s.out.data = alone;
    k->steps(&phase, &s);
    for (int t = 0; t < 2; t++)
      same = same && !memcmp(alone + (t * B + b) * H, out + (t * B + b) * H, sizeof(float) * (size_t)H);
  }
  free(w), free(halves), free(x), free(h), free(h_new), free(c), free(c_old), free(alone), free(before), free(out);
  if (worst <= (tier == FG_FAST ? 5e-6 : 2e-6) && same) return 0;
  printf("%s %s format %d tier %d H=%d B=%d: error %g, same bits alone: %s\n", k->isa, PHASES[p].name, format, tier, H, B, worst,
         same ? "yes" : "no");
  return 1;
}

int main(void) {
  int count, passed = 0, failed = 0;
  const fg_isa *isas = fg_isas(&count);
  uint64_t first = 0;
  const int sizes[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 300}, batches[] = {1, 2, 5, 6, 13, 70};
  for (int i = 0; i < count; i++) {
    if (!isas[i].supported) continue;
    srand(1), bits = 14695981039346656037u;
    for (unsigned p = 0; p < sizeof PHASES / sizeof PHASES[0]; p++)
      for (unsigned h = 0; h < sizeof sizes / sizeof sizes[0]; h++)
        for (unsigned b = 0; b < sizeof batches / sizeof batches[0]; b++)
          for (int format = FG_NATIVE; format <= FG_FLOAT16; format++)
            for (int tier = FG_USUAL; tier <= FG_FAST; tier++)
              check(isas[i].f32, (int)p, sizes[h], batches[b], format, tier) ? failed++ : passed++;
    printf("bits %s %016llx\n", isas[i].name, (unsigned long long)bits);
    if (first == 0) first = bits;
    if (first != bits) failed++;
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0 || passed == 0;
}
