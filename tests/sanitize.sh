#!/usr/bin/env bash
# Build with AddressSanitizer into a throw-away environment and run the tests on it. FASTGRU_SANITIZE=address,undefined
# adds UndefinedBehaviorSanitizer: minutes of compiling.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
git clone -q . "$build/src"
python3 -m venv "$build/venv"
cd "$build/src"
FASTGRU_SANITIZE="${FASTGRU_SANITIZE:-address}" "$build/venv/bin/pip" install -q '.[test]'
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
  UBSAN_OPTIONS=halt_on_error=1 "$build/venv/bin/pytest" -q -p no:cacheprovider \
  tests/test_engine.py tests/test_bitwise.py tests/test_graphs.py tests/test_stream.py tests/test_frames.py tests/test_clocks.py \
  tests/test_threads.py tests/test_narrow.py
