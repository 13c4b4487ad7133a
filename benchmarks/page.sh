#!/usr/bin/env bash
# Makes docs/performance.md anew from the reports in benchmarks/results; needs the module to be built.
set -euo pipefail
home=$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")
exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" -cp "$home/benchmarks/target/sjd2-benchmarks.jar:$home/benchmarks/target/lib/*" \
  io.sjd2.benchmarks.BenchMain --page "$home/benchmarks/results" "$home/docs/performance.md"
