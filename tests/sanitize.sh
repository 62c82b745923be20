#!/usr/bin/env bash
# Build the engine and all kernels with a sanitizer, from a clean clone in a throw-away environment, and run tests:
#   bash tests/sanitize.sh address|undefined|thread [--short] [--record] [pytest arguments]
#   bash tests/sanitize.sh address --run -m tests.fuzz fgru --mutants 100000     (any arguments of Python)
# Before the tests it proves that the sanitizer sees into every kernel object: each must have its symbols, and faults
# planted from C (tests/kernels/planted.c) and, of threads, from Python (tests/support/planted_race.py) must be reported.
# --record writes the last line of the tests to docs/testing.json. FASTGRU_ISAS=avx512 builds fewer kernels;
# FASTGRU_PACKAGES="onnx keras" installs what the run needs besides.
set -euo pipefail
{ # read whole before it runs: the file may be edited meanwhile
cd "$(dirname "$0")/.."

kind=${1:-address}
shift || true
engine=(sweep engine bitwise graphs stream frames clocks threads narrow transforms quantization recipe_parts tensor_ops
        selftest fileformat memory interrupt bases steps sharing validation)
case $kind in
  address) flags=address symbols=__asan_ library=asan short=(sweep stream frames clocks threads bases steps validation) ;;
  undefined) flags=undefined,float-cast-overflow symbols=__ubsan_ library=ubsan short=(sweep stream frames clocks threads bases steps validation) ;;
  thread) flags=thread symbols=__tsan_ library=tsan short=(threads) engine=(threads sweep stream frames clocks memory interrupt bases) ;;
  *) echo "sanitizer must be address, undefined or thread, got $kind" >&2; exit 2 ;;
esac
names=("${engine[@]}")
if [ "${1:-}" = --short ]; then names=("${short[@]}"); shift; fi
page=
if [ "${1:-}" = --record ]; then page=$PWD; shift; fi
run=(-m pytest -q -p no:cacheprovider)
if [ "${1:-}" = --run ]; then run=("${@:2}")
elif [ $# -gt 0 ]; then run+=("$@")
else run+=($(printf "tests/*/test_%s.py " "${names[@]}")); fi

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
git clone -q . "$build/src"
python3 -m venv "$build/venv"
cd "$build/src"
python() { "$build/venv/bin/python" "$@"; }
python - >"$build/needs" <<'END'
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))
lists = project["build-system"]["requires"], project["project"]["dependencies"], project["project"]["optional-dependencies"]["test"]
print("\n".join(sum(lists, [])))
END
python -m pip install -qq --disable-pip-version-check -r "$build/needs" ${FASTGRU_PACKAGES:-}
FASTGRU_SANITIZE=$flags CFLAGS=-w python setup.py -q build_ext --inplace
python -c "import site; print(site.getsitepackages()[0])" >"$build/site"
echo "$PWD" >"$(cat "$build/site")/fastgru.pth" # also for tests that run an isolated Python

echo "== the sanitizer's symbols in every kernel object =="
mapfile -t objects < <(find build -path '*_native*' -name '*.o')
for object in "${objects[@]}"; do
  case $object in *dispatch.o | *pool.o) continue ;; esac
  nm -u "$object" | grep -q "$symbols" || { echo "$object is not instrumented" >&2; exit 1; }
done
echo "${#objects[@]} objects"

# Threads beside a fork are what the tests are about; a child of theirs ends by itself.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS="die_after_fork=0:suppressions=$PWD/tests/thread_sanitizer.txt"

echo "== planted faults =="
gcc -std=gnu11 -g -O1 -fsanitize="$flags" -Iinclude tests/kernels/planted.c "${objects[@]}" -pthread -lm -o "$build/planted"
"$build/planted" "$kind" 2>"$build/reports" || { cat "$build/reports"; exit 1; }

# Small blocks from malloc, too, where the sanitizer sees their ends. Threads of BLAS are not ours.
export PYTHONMALLOC=malloc OPENBLAS_NUM_THREADS=1
# The library of C++ with it: a sanitizer that is loaded first looks there for what throws, or ends with any exception.
preload="$(gcc -print-file-name=lib$library.so) $(gcc -print-file-name=libstdc++.so.6)"
if [ "$kind" = thread ]; then
  if LD_PRELOAD=$preload python tests/support/planted_race.py >"$build/reports" 2>&1; then
    echo "the race planted from Python was not reported" >&2
    exit 1
  fi
  grep -m 1 'WARNING: ThreadSanitizer: data race' "$build/reports"
fi

echo "== python ${run[*]} =="
# pytest holds back what is written to the terminal, and children have exit codes of their own: reports go to files.
for options in ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS; do export $options="${!options}:log_path=$build/report"; done
code=0
LD_PRELOAD=$preload "$build/venv/bin/python" "${run[@]}" | tee "$build/log" || code=$?
if compgen -G "$build/report.*" >/dev/null; then
  head -n 80 "$build"/report.*
  echo "$kind: $(cat "$build"/report.* | grep -c '^SUMMARY') reports" >&2
  exit 1
fi
[ $code -eq 0 ] || exit $code
[ -z "$page" ] || { cd "$page" && python3 -m tests.results sanitizers "$kind" "result=$(tail -n 1 "$build/log")"; }
exit
}
