/* What the pool needs of the operating system: threads, a lock, sleeping on a word, clocks. Included by pool.c alone.
 * Linux sleeps by futex, Windows by WaitOnAddress, every other system on condition variables. */
#ifndef FASTGRU_SYSTEM_H
#define FASTGRU_SYSTEM_H

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <process.h>

static void park(atomic_uint *word, unsigned value) { WaitOnAddress(word, &value, sizeof value, INFINITE); }
static void unpark(atomic_uint *word) { WakeByAddressAll(word); }

static void reset_parking(void) {}

static int count_cpus(void) { return (int)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS); }
static void name_thread(void) {}

typedef SRWLOCK mutex;
#define MUTEX_FREE SRWLOCK_INIT
static void acquire(mutex *m) { AcquireSRWLockExclusive(m); }
static void release(mutex *m) { ReleaseSRWLockExclusive(m); }

typedef struct {
  void *(*fn)(void *);
  void *arg;
} thread_start;

static unsigned __stdcall run_thread(void *given) {
  const thread_start start = *(thread_start *)given;
  HeapFree(GetProcessHeap(), 0, given);
  start.fn(start.arg);
  return 0;
}

/* Runs fn(arg) on a thread that nobody joins; returns 0 or an errno. */
static int start_thread(void *(*fn)(void *), void *arg, unsigned stack) {
  thread_start *start = HeapAlloc(GetProcessHeap(), 0, sizeof *start);
  if (!start) return ENOMEM;
  *start = (thread_start){fn, arg};
  uintptr_t thread = _beginthreadex(NULL, stack, run_thread, start, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
  if (!thread) {
    int error = errno;
    HeapFree(GetProcessHeap(), 0, start);
    return error;
  }
  CloseHandle((HANDLE)thread);
  return 0;
}

/* Windows has no fork. */
static int prepare(void (*before)(void), void (*after)(void), void (*child)(void)) {
  (void)before, (void)after, (void)child;
  return 0;
}

/* once(&flag, fn): fn() has run exactly once when it returns. */
typedef INIT_ONCE once_flag;
#define ONCE INIT_ONCE_STATIC_INIT
static BOOL CALLBACK call_once(INIT_ONCE *flag, void *fn, void **result) {
  (void)flag, (void)result;
  (*(void (**)(void))fn)();
  return TRUE;
}
static void once(once_flag *flag, void (*fn)(void)) { InitOnceExecuteOnce(flag, call_once, &fn, NULL); }

int64_t fg_now(void) {
  LARGE_INTEGER count, each;
  QueryPerformanceCounter(&count);
  QueryPerformanceFrequency(&each);
  return count.QuadPart / each.QuadPart * 1000000000 + count.QuadPart % each.QuadPart * 1000000000 / each.QuadPart;
}

void fg_yield(void) { SwitchToThread(); }
void fg_sleep(int64_t ns) { Sleep((DWORD)((ns + 999999) / 1000000)); }

#else
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__) && !defined(FG_POOL_PORTABLE)
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* Sleeps while *word is `value`; may return early. */
static void park(atomic_uint *word, unsigned value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

/* Only the address of `word` counts here: its memory may be gone. */
static void unpark(atomic_uint *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0); }

static void reset_parking(void) {}

/* The CPUs that the calling thread may use. */
static int count_cpus(void) {
  unsigned long mask[8192 / (CHAR_BIT * sizeof(long))]; /* the most that Linux can be built for */
  long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
  int count = 0;
  for (long i = 0; i < bytes / (long)sizeof *mask; i++) count += __builtin_popcountl(mask[i]);
  return count;
}

static void name_thread(void) { prctl(PR_SET_NAME, "fastgru"); }
#else
static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
} lots[64];

#define LOT(word) (&lots[(uintptr_t)(word) / 64 % (sizeof lots / sizeof *lots)])

static void park(atomic_uint *word, unsigned value) {
  pthread_mutex_lock(&LOT(word)->lock);
  while (atomic_load_explicit(word, memory_order_relaxed) == value)
    pthread_cond_wait(&LOT(word)->changed, &LOT(word)->lock);
  pthread_mutex_unlock(&LOT(word)->lock);
}

static void unpark(atomic_uint *word) {
  pthread_mutex_lock(&LOT(word)->lock);
  pthread_cond_broadcast(&LOT(word)->changed);
  pthread_mutex_unlock(&LOT(word)->lock);
}

static void reset_parking(void) {
  for (size_t i = 0; i < sizeof lots / sizeof *lots; i++) {
    pthread_mutex_init(&lots[i].lock, NULL);
    pthread_cond_init(&lots[i].changed, NULL);
  }
}

static int count_cpus(void) { return (int)sysconf(_SC_NPROCESSORS_ONLN); }

static void name_thread(void) {
#ifdef __APPLE__
  pthread_setname_np("fastgru");
#endif
}
#endif

typedef pthread_mutex_t mutex;
#define MUTEX_FREE PTHREAD_MUTEX_INITIALIZER
static void acquire(mutex *m) { pthread_mutex_lock(m); }
static void release(mutex *m) { pthread_mutex_unlock(m); }

/* Runs fn(arg) on a thread that nobody joins; returns 0 or an errno. */
static int start_thread(void *(*fn)(void *), void *arg, unsigned stack) {
  pthread_attr_t attr;
  int error = pthread_attr_init(&attr);
  if (error) return error;
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, stack);

  /* Signals are for Python's threads, but a fault must reach its handler (faulthandler) where it occurs. */
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
  sigset_t blocked, old;
  sigfillset(&blocked);
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
  pthread_sigmask(SIG_SETMASK, &blocked, &old);
  pthread_t thread;
  error = pthread_create(&thread, &attr, fn, arg);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  pthread_attr_destroy(&attr);
  return error;
}

/* Registers what a fork does before it, and after it in the parent and the child. */
static int prepare(void (*before)(void), void (*after)(void), void (*child)(void)) {
  reset_parking();
  return pthread_atfork(before, after, child);
}

/* once(&flag, fn): fn() has run exactly once when it returns. */
typedef pthread_once_t once_flag;
#define ONCE PTHREAD_ONCE_INIT
static void once(once_flag *flag, void (*fn)(void)) { pthread_once(flag, fn); }

int64_t fg_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void fg_yield(void) { sched_yield(); }

void fg_sleep(int64_t ns) {
  const struct timespec t = {ns / 1000000000, ns % 1000000000};
  nanosleep(&t, NULL);
}
#endif

#endif
