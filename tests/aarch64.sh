#!/usr/bin/env bash
# Cross-compile the kernels for aarch64 and run tests/kernels/native_check.c on them under qemu-user; on an x86-64 machine
# with AVX2, also compare the bits of all outputs: lanes never mix, so NEON, AVX2 and the tiles of AVX-512
# (tests/kernels/wide_kernels.c) must give the same. Then the reduced-precision products of every target this machine can run
# (tests/kernels/narrow_check.c), which must agree, too; loops over frames, and the bodies of instructions (tests/kernels/ops_check.c).
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
dots() { printf -- '-DFG_BUILT_DOTS(row)=row(%s, plain, always)' "$1"; }
aarch64-linux-gnu-gcc "${flags[@]}" -DFG_DOT=plain -DFG_TABLE=fg_neon_plain -c fastgru/_native/narrow.c -o "$build/narrow.o"
aarch64-linux-gnu-gcc "${flags[@]}" '-DFG_BUILT_ISAS(row)=row(neon, always, neon)' "$(dots neon)" "$build/narrow.o" \
  fastgru/_native/dispatch.c tests/kernels/native_check.c "${objects[@]}" -static -lm -o "$build/check"
qemu-aarch64-static "$build/check" | tee "$build/neon"

if grep -qw avx2 /proc/cpuinfo; then
  for dtype in f32 f64; do
    define=(); [ $dtype = f64 ] && define=(-DFG_DOUBLE)
    gcc "${flags[@]}" -mavx2 -mfma -mf16c "${define[@]}" -DFG_ISA=avx2 -DFG_TABLE=fg_avx2_$dtype \
      -c fastgru/_native/kernels.c -o "$build/$dtype.o"
  done
  gcc "${flags[@]}" -mavx2 -mfma -mf16c -DFG_DOT=plain -DFG_TABLE=fg_avx2_plain -c fastgru/_native/narrow.c -o "$build/narrow.o"
  gcc "${flags[@]}" '-DFG_BUILT_ISAS(row)=row(avx2, has_avx2, avx2)' "$(dots avx2)" "$build/narrow.o" \
    fastgru/_native/dispatch.c tests/kernels/native_check.c "${objects[@]}" -lm -o "$build/check"
  "$build/check" | tee "$build/avx2"
  bits() { sed -n 's/^bits [a-z0-9]* //p' "$1"; }
  gcc "${flags[@]}" -Wno-psabi -mavx2 -mfma '-DFG_BUILT_ISAS(row)=row(wide, has_avx2, wide)' "$(dots wide)" \
    fastgru/_native/dispatch.c tests/kernels/native_check.c tests/kernels/wide_kernels.c -lm -o "$build/check"
  "$build/check" | tee "$build/wide"
  for other in avx2 wide; do
    [ "$(bits "$build/neon")" = "$(bits "$build/$other")" ] || {
      echo "NEON and $other must give the same bits" >&2; exit 1; }
  done
fi

narrow() { # name, what runs it, compiler, flags
  "$3" "${flags[@]}" "${@:4}" -DFG_DOT=x -DFG_TABLE=fg_x fastgru/_native/narrow.c tests/kernels/narrow_check.c -static -o "$build/narrow"
  $2 "$build/narrow" | sed "s/$/ $1/" | tee -a "$build/hashes"
}
cpu() { for flag in "$@"; do grep -qw "$flag" /proc/cpuinfo || return 1; done; }
wide=(-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c)
narrow neon qemu-aarch64-static aarch64-linux-gnu-gcc
narrow neon-dot "qemu-aarch64-static -cpu max" aarch64-linux-gnu-gcc -march=armv8.2-a+dotprod
if cpu avx2 fma; then
  narrow avx2 "" gcc -mavx2 -mfma -mf16c
  for variant in -UWIDE_VNNI -DWIDE_VNNI; do # AVX-512's instructions out of AVX2's
    narrow "wide $variant" "" gcc -Wno-psabi -mavx2 -mfma -mf16c "$variant" -include tests/kernels/wide_narrow.h
  done
fi
if cpu avx2 fma avx_vnni; then narrow avx2-vnni "" gcc -mavx2 -mfma -mf16c -mavxvnni; fi
if cpu avx512bw; then narrow avx512 "" gcc "${wide[@]}"; fi
if cpu avx512_vnni; then narrow avx512-vnni "" gcc "${wide[@]}" -mavx512vnni; fi
if cpu avx512_vnni avx512_bf16; then narrow avx512-bf16 "" gcc "${wide[@]}" -mavx512vnni -mavx512bf16; fi
if cpu lm; then # without fused multiply-adds only the integer products agree
  narrow portable "" gcc -Wno-psabi | grep int8 >/dev/null
  sed -i '/bfloat16 .* portable$/d' "$build/hashes"
fi
[ "$(cut -d' ' -f1,2 "$build/hashes" | sort -u | wc -l)" = 5 ] || { echo "all targets must give the same bits" >&2; exit 1; }

frames() { # what runs it, compiler, flags: loops over frames against plain ones; its last lines are hashes of all bits
  local options=(-std=gnu11 -Wall -Wextra -Werror -fno-math-errno -Iinclude -DFG_TABLE=fg_table "${@:3}")
  "$2" "${options[@]}" -O3 -ffp-contract=fast -fno-trapping-math -Wno-unused-function -c tests/kernels/frame_kernels.c \
    -o "$build/frames.o"
  "$2" "${options[@]}" -O2 -ffp-contract=off tests/kernels/frame_check.c "$build/frames.o" -static -lm -o "$build/frames"
  $1 "$build/frames" 300
}
frames qemu-aarch64-static aarch64-linux-gnu-gcc | tee "$build/frames.neon"
if grep -qw avx2 /proc/cpuinfo; then
  frames env gcc -mavx2 -mfma > "$build/frames.avx2"
  hashes() { grep hash "$1" | sed 's/^[a-z0-9]* //'; }
  [ "$(hashes "$build/frames.neon")" = "$(hashes "$build/frames.avx2")" ] || {
    echo "NEON and AVX2 must give the same bits for loops over frames" >&2; exit 1; }
fi

ops() { # what runs it, compiler: the bodies of instructions against plain loops; its last line is a hash of all bits
  "$2" "${flags[@]}" tests/kernels/ops_check.c fastgru/_native/{ops,traced,pool}.c -static -pthread -lm -o "$build/ops"
  $1 "$build/ops" 200
}
ops qemu-aarch64-static aarch64-linux-gnu-gcc | tee "$build/ops.aarch64"
ops env gcc >"$build/ops.here"
cmp "$build/ops.aarch64" "$build/ops.here" || { echo "aarch64 must give the bits of this machine" >&2; exit 1; }
