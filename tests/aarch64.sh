#!/usr/bin/env bash
# Cross-compile the kernels for aarch64 and run tests/native_check.c on them under qemu-user; on an x86-64 machine
# with AVX2, also compare the bits of all outputs: lanes never mix, so NEON and AVX2 must give the same.
# Debian: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
flags=(-std=gnu11 -O3 -Wall -Wextra -Werror -ffp-contract=fast -fno-math-errno -fno-trapping-math -Iinclude)
objects=()
for dtype in f32 f64; do
  define=(); [ $dtype = f64 ] && define=(-DFG_DOUBLE)
  aarch64-linux-gnu-gcc "${flags[@]}" "${define[@]}" -DFG_ISA=neon -DFG_TABLE=fg_neon_$dtype \
    -c fastgru/_native/kernels.c -o "$build/$dtype.o"
  objects+=("$build/$dtype.o")
done
aarch64-linux-gnu-gcc "${flags[@]}" '-DFG_BUILT_ISAS(row)=row(neon, always)' \
  fastgru/_native/dispatch.c tests/native_check.c "${objects[@]}" -static -lm -o "$build/check"
qemu-aarch64-static "$build/check" | tee "$build/neon"

if grep -qw avx2 /proc/cpuinfo; then
  for dtype in f32 f64; do
    define=(); [ $dtype = f64 ] && define=(-DFG_DOUBLE)
    gcc "${flags[@]}" -mavx2 -mfma "${define[@]}" -DFG_ISA=avx2 -DFG_TABLE=fg_avx2_$dtype \
      -c fastgru/_native/kernels.c -o "$build/$dtype.o"
  done
  gcc "${flags[@]}" '-DFG_BUILT_ISAS(row)=row(avx2, has_avx2)' \
    fastgru/_native/dispatch.c tests/native_check.c "${objects[@]}" -lm -o "$build/check"
  "$build/check" | tee "$build/avx2"
  bits() { sed -n 's/^bits [a-z0-9]* //p' "$1"; }
  [ "$(bits "$build/neon")" = "$(bits "$build/avx2")" ] || { echo "NEON and AVX2 must give the same bits" >&2; exit 1; }
fi
