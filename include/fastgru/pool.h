/* Threads for kernels: a run has all its parts at once, so that they may meet at barriers. */
#ifndef FASTGRU_POOL_H
#define FASTGRU_POOL_H

#include <stdatomic.h>
#include <stdint.h>

/* Runs fn(arg, part) for part = 0 .. parts-1, each on a thread of its own, part 0 on the caller's, all with the
 * caller's rounding and treatment of subnormal numbers; returns when all have. Any thread may call, also from within a
 * part; a part must not fork. Returns 0, or an errno when a thread could not be started: then nothing ran. */
int fg_pool_run(int parts, void (*fn)(void *arg, int part), void *arg);

/* Worker threads alive now. */
int fg_pool_threads(void);

/* Where the parts of one run meet. Needs no destruction. */
typedef struct {
  int parts;
  atomic_int missing;
  char apart[64]; /* who waits reads `phase`; arrivals must not take that cache line away */
  atomic_uint phase;
} fg_barrier;

void fg_barrier_init(fg_barrier *, int parts);
void fg_barrier_wait(fg_barrier *);

/* Counters that parts share: what was written before fg_publish is there after an fg_seen that sees it. */
static inline int fg_seen(const int *counter) { return __atomic_load_n(counter, __ATOMIC_ACQUIRE); }
static inline void fg_publish(int *counter, int value) { __atomic_store_n(counter, value, __ATOMIC_RELEASE); }
/* Whether the caller, and no other, now has what *taken (0 or 1) stands for. */
static inline int fg_claim(int *taken) { return !__atomic_exchange_n(taken, 1, __ATOMIC_ACQUIRE); }
/* Adds n to a counter; returns what it is then. */
static inline int fg_add(int *counter, int n) { return __atomic_add_fetch(counter, n, __ATOMIC_ACQ_REL); }
/* Lets others run that may have what the caller waits for. */
void fg_yield(void);
void fg_sleep(int64_t ns);
/* Nanoseconds of a clock that only moves forward. */
int64_t fg_now(void);

#endif
