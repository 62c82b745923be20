/* The instruction sets of this build, best first, and whether this CPU and operating system run them. */
#include "fastgru/fastgru.h"

/* Every flag that setup.py gives to an object must be asked for here. __builtin_cpu_supports looks at
 * XCR0, too: a CPU with AVX-512 under a system that does not save its registers answers no. */
#define FG_PREDICATE static __attribute__((unused)) int /* a build may leave instruction sets out */
FG_PREDICATE always(void) { return 1; }
#if defined(__x86_64__)
FG_PREDICATE has_avx2(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
FG_PREDICATE has_avx512(void) {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

/* Each row: name, predicate. FG_BUILT_ISAS comes from the table in setup.py. */
#define FG_DECLARE(name, supported) extern const fg_kernels fg_##name##_f32, fg_##name##_f64;
FG_BUILT_ISAS(FG_DECLARE)

#define FG_ROW(name, supported) {#name, &fg_##name##_f32, &fg_##name##_f64, 0},
#define FG_ASK(name, supported) supported,

const fg_isa *fg_isas(int *count) {
  static fg_isa rows[] = {FG_BUILT_ISAS(FG_ROW)};
  static int (*const predicates[])(void) = {FG_BUILT_ISAS(FG_ASK)};
  *count = sizeof rows / sizeof rows[0];
  for (int i = 0; i < *count; i++) rows[i].supported = predicates[i]();
  return rows;
}
