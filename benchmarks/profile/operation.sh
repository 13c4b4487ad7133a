#!/usr/bin/env bash
# Runs one operation at one shape, in one process, under a profiler. See --help.
set -euo pipefail
home=$(dirname -- "$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")")

usage() {
  cat <<'HELP'
usage: operation.sh OPERATION [options]

Runs one benchmark of benchmarks/ at one shape and profiles it while it is measured, not while it warms up.
Needs a built tree (mvn -Dmaven.test.skip=true package).

  OPERATION           as in attention, matmul, verify, rms_norm, forward_pass, decode_step
  --model NAME        shapes of: demo, janus-pro-1b, lumina-7b          (demo)
  --rows N            rows per pass                                     (64)
  --dtype NAME        f32 or bf16                                       (bf16)
  --threads N         worker threads, 0: every core                     (0)
  --backend NAME      cpu, cuda, reference                              (cpu)
  --param KEY=VALUE   any other parameter of the benchmark, as product=qkv or kvLen=2400; may be repeated
  --seconds N         length of the measurement                         (10)

What is done meanwhile, one of:
  --stat              perf stat: cycles, instructions, cache misses; where the machine hides its counters from
                      programs, as most virtual ones do, time and switches only       (the default)
  --record FILE       perf record: samples into FILE, then the functions that took most
  --ncu FILE          Nsight Compute on the kernels of the operation, into FILE; implies --backend cuda
  --none              only the time, to see what a profiler costs

Examples:
  operation.sh matmul --model janus-pro-1b --rows 16 --param product=gate_up
  operation.sh attention --model lumina-7b --rows 64 --record attention.perf
  operation.sh attention --model lumina-7b --rows 64 --ncu attention.ncu-rep
HELP
}

fail() {
  printf 'operation.sh: %s\n' "$1" >&2
  exit "${2:-1}"
}

[[ $# -gt 0 ]] || { usage >&2; exit 2; }
operation=
model=demo rows=64 dtype=bf16 threads=0 backend=cpu seconds=10 mode=stat file=
params=()
while (($#)); do
  option=$1
  shift
  case $option in
    -h | --help) usage; exit 0 ;;
    --stat | --none) mode=${option#--} ;;
    --model | --rows | --dtype | --threads | --backend | --param | --seconds | --record | --ncu)
      (($#)) || fail "$option needs a value: see --help" 2
      case $option in
        --param) [[ $1 == *=* ]] || fail "--param $1: expected KEY=VALUE" 2; params+=(-p "$1") ;;
        --record | --ncu) mode=${option#--} file=$1 ;;
        *) printf -v "${option#--}" '%s' "$1" ;;
      esac
      shift
      ;;
    -*) fail "$option is no option: see --help" 2 ;;
    *) [[ -z $operation ]] || fail "$option: one operation at a time" 2; operation=$option ;;
  esac
done
[[ $operation =~ ^[a-z0-9_]+$ ]] || fail "'$operation' is no operation: write it as rms_norm" 2
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "--seconds $seconds: expected a number from 1" 2

jar=$home/benchmarks/target/sjd2-benchmarks.jar
native=$home/java/engine/target/classes/META-INF/native/linux-x86_64
[[ -e $jar ]] || fail "$jar is missing: build it with: mvn -Dmaven.test.skip=true package"
name=$(sed -E 's/(^|_)([a-z0-9])/\U\2/g' <<<"$operation")Benchmark
[[ -e $home/benchmarks/src/main/java/io/sjd2/benchmarks/$name.java ]] \
  || fail "there is no $name; there are: $(cd "$home/benchmarks/src/main/java/io/sjd2/benchmarks" \
    && grep -L 'abstract class' -- *Benchmark.java | sed -E 's/Benchmark.java//; s/([A-Z])/_\l\1/g; s/^_//' | tr '\n' ' ')" 2


# One shape: where a parameter is not given, its first value.
sources=$home/benchmarks/src/main/java/io/sjd2/benchmarks
parent=$(sed -nE 's/.* extends ([A-Za-z]+).*/\1/p' "$sources/$name.java" | head -n 1)
given=" backend threads rows dtype model $(printf '%s\n' "${params[@]}" | sed -nE 's/^([A-Za-z]+)=.*/\1/p' | tr '\n' ' ')"
while read -r key value; do
  if [[ $given != *" $key "* ]]; then
    params+=(-p "$key=$value")
    echo "operation.sh: $key=$value; --param $key=.. takes another" >&2
  fi
done < <(cat "$sources/$name.java" ${parent:+"$sources/$parent.java"} | tr '\n' ' ' \
  | grep -oE '@Param\([^)]*\) +public +[A-Za-z]+ +[A-Za-z]+' | sed -E 's/@Param\(\{?"([^"]*)".* ([A-Za-z]+)$/\2 \1/')

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
for candidate in "${JAVA25_HOME:-}" /usr/lib/jvm/*; do
  if ! "$java" -version 2>&1 | grep -q 'version "25' && [[ -x $candidate/bin/java ]]; then
    java=$candidate/bin/java
  fi
done
flags=(--enable-native-access=ALL-UNNAMED -Xmx2g "-Dsjd2.home=$home")
# The library where it was built, so that a profiler finds its symbols; the one in the jar is unpacked and deleted.
[[ ! -e $native/libsjd2_$backend.so ]] || flags+=("-Dsjd2.native.dir=$native")
# Names of compiled Java methods, for perf.
[[ $mode != record ]] || flags+=(-XX:+PreserveFramePointer -XX:+UnlockDiagnosticVMOptions -XX:+DumpPerfMapAtExit)
[[ $mode != ncu ]] || { backend=cuda; flags+=(-Dsjd2.cuda.graphs=false -Dsjd2.nvtx=true); }
command=("$java" "${flags[@]}" -cp "$jar:$home/benchmarks/target/lib/*" org.openjdk.jmh.Main
  "^io\\.sjd2\\.benchmarks\\.$name\\..*" -f 0 -foe true -wi 1 -w 2 -i 1 -r "$seconds"
  -p "backend=$backend" -p "threads=$threads" -p "rows=$rows" -p "dtype=$dtype" "${params[@]}")
grep -q 'String model' "$sources/$name.java" ${parent:+"$sources/$parent.java"} && command+=(-p "model=$model")

if [[ $mode == ncu ]]; then
  command -v ncu >/dev/null || fail "ncu is not here: it comes with the CUDA toolkit (nsight-compute)"
  exec ncu --target-processes all --kernel-name "regex:${operation}" --launch-skip 20 --launch-count 5 \
    --export "$file" --force-overwrite "${command[@]}"
fi
[[ $mode == none ]] && exec "${command[@]}"

command -v perf >/dev/null || fail "perf is not here: install it with: apt-get install linux-perf"
events=(-e task-clock,context-switches,page-faults)
sampling=(-e cpu-clock)
if perf stat -e cycles true 2>&1 | grep -Eq '[0-9][0-9,.]* +cycles'; then
  events=(-e task-clock,context-switches,cycles,instructions,cache-references,cache-misses,dTLB-load-misses)
  sampling=(-e cycles)
elif perf stat -e cpu-clock true >/dev/null 2>&1; then
  echo "operation.sh: this machine shows no hardware counters to programs (a virtual one?): time only" >&2
else
  fail "perf may not measure here: kernel.perf_event_paranoid is $(cat /proc/sys/kernel/perf_event_paranoid); lower it with: sysctl kernel.perf_event_paranoid=1"
fi

output=$(mktemp)
trap 'rm -f -- "$output"' EXIT
"${command[@]}" >"$output" 2>&1 &
process=$!
# JMH ends the line of the warm-up when the measurement begins.
until grep -q '^# Warmup Iteration .*: .*/op' "$output" || grep -Eq '^Iteration +1:' "$output"; do
  kill -0 "$process" 2>/dev/null || { cat -- "$output" >&2; fail "the benchmark ended before it was measured"; }
  sleep 0.1
done
if [[ $mode == stat ]]; then
  perf stat "${events[@]}" -p "$process" -- sleep "$seconds" || true
else
  perf record "${sampling[@]}" -F 999 -g -o "$file" -p "$process" -- sleep "$seconds" || true
fi
wait "$process" || { cat -- "$output" >&2; fail "the benchmark failed"; }
grep -E '^(Benchmark|[A-Za-z]+Benchmark\.)' "$output" || cat -- "$output"
if [[ $mode == record ]]; then
  perf report -i "$file" --no-children --stdio --percent-limit 1 -g none 2>/dev/null | grep -v '^$' | cut -c -120 | head -n 30
fi
