#!/usr/bin/env bash
# Build tests/kernels/pool.c with and without sanitizers and futexes, and run it on all CPUs and on one; also for aarch64 under
# qemu-user where tests/aarch64.sh would run.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
flags=(-std=gnu11 -O2 -g -Wall -Wextra -Werror -pthread -Iinclude fastgru/_native/pool.c tests/kernels/pool.c -o "$build/pool")

try() { # name, rounds, what runs it
  echo "$1"
  timeout 300 "${@:3}" "$build/pool" "$2"
}

export ASAN_OPTIONS=detect_leaks=0 # a child has not the threads that LeakSanitizer looks for
variants=("" -DFG_POOL_PORTABLE -fsanitize=thread "-fsanitize=thread -DFG_POOL_PORTABLE"
          "-fsanitize=address,undefined -fno-sanitize-recover=all -DLIMITS=0")
for variant in "${variants[@]}"; do
  ${CC:-gcc} $variant "${flags[@]}"
  rounds=2000; [[ $variant == *sanitize* ]] && rounds=500
  try "pool $variant" $rounds
  if command -v taskset >/dev/null; then try "pool $variant on one CPU" $((rounds / 4)) taskset -c 0; fi
done

if command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64-static >/dev/null; then
  aarch64-linux-gnu-gcc -static -DLIMITS=0 "${flags[@]}"
  try "pool aarch64" 100 qemu-aarch64-static
fi
