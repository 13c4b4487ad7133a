#!/usr/bin/env bash
# Makes one archive that runs on a machine with nothing but a Linux and, for the GPU, its driver: a Java runtime, the engine, the
# demo model, and the checks of the CUDA backend. Called by `./sjd2 bundle [FILE]`, FILE being build/sjd2-linux-x86_64.tar.gz
# unless named. JAVA25_HOME names the JDK that the runtime is made from.
#
#   bin/sjd2         the command line
#   bin/gpu-check    all contract tests and a generation on the GPU, a verdict for each (--emulated: without one)
#   bin/gpu-bench    times of every operation (sjd2_cuda_bench)
#   lib/ models/ runtime/      what the first needs
#   check/           what the others need beside
set -euo pipefail

here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
home=$(readlink -f -- "$here/../../../..")
name=sjd2-linux-x86_64
archive=$(readlink -m -- "${1:-$home/build/$name.tar.gz}")
# The runtime's parts: what the engine, the command line and the checks use. No java.desktop: pictures are written by the engine.
modules=java.base,java.logging,java.management,jdk.jfr,jdk.management,jdk.unsupported
most_bytes=$((60 * 1000 * 1000))
cuda=$home/build/cuda
jar=$JAVA25_HOME/bin/jar

say() { printf 'bundle: %s\n' "$1" >&2; }

fail() {
  say "$1"
  exit 1
}

work=$(mktemp -d -- "${TMPDIR:-/tmp}/sjd2-bundle.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
root=$work/$name
mkdir -p -- "$root"/{bin,lib,models,check/lib,check/emulated}

maven() { (cd -- "$home" && JAVA25_HOME=$JAVA25_HOME mvn -B -q -ntp ${SJD2_MAVEN_OPTS:-} "$@" >&2); }

build() {
  say "building; the kernels for GPUs take minutes the first time"
  # Compiles the tests, too, as they are part of the bundle, and runs none.
  maven -pl java/engine,java/cli -DskipTests package
  maven -pl java/engine -DskipTests dependency:build-classpath -Dmdep.includeScope=test "-Dmdep.outputFile=$work/test.path"
  cmake -S "$home/cuda" -B "$cuda" -DCMAKE_BUILD_TYPE=Release --log-level=WARNING >&2
  cmake --build "$cuda" --parallel 2 --target sjd2_cuda_emulation sjd2_cuda_emulated_programs >&2
}

# A jar of JCuda's natives with those that are used: it brings a compiler of 24 MB that nobody calls.
slim() {
  local source=$1 wanted=$2 target=$3
  mkdir -- "$work/slim"
  (cd -- "$work/slim" && "$jar" -xf "$source")
  find "$work/slim" -name '*.so' -not -name "$wanted" -delete
  rm -f -- "$target"
  "$jar" -cf "$target" -C "$work/slim" lib
  rm -r -- "$work/slim"
}

collect_engine() {
  cp -- "$home/java/cli/target/sjd2-cli.jar" "$home"/java/cli/target/lib/*.jar "$root/lib/"
  slim "$root/lib/jcuda-natives-linux-x86_64.jar" 'libJCudaDriver-*.so' "$root/lib/jcuda-natives-linux-x86_64.jar"
  slim "$root/lib/jcublas-natives-linux-x86_64.jar" 'libJCublas2-*.so' "$root/lib/jcublas-natives-linux-x86_64.jar"
  mkdir -p -- "$work/emulation/META-INF/native/linux-x86_64/emulated"
  cp -- "$cuda"/emulated/*.so* "$work/emulation/META-INF/native/linux-x86_64/emulated/"
  "$jar" -cf "$root/lib/sjd2-emulation.jar" -C "$work/emulation" META-INF
  cp -r -- "$home/models/demo" "$root/models/demo"
  cp -- "$home/LICENSE" "$home/NOTICE" "$root/"
  cp -- "$here/README.txt" "$root/"
}

collect_checks() {
  local entry
  local -a path
  "$jar" -cf "$root/check/lib/sjd2-engine-tests.jar" -C "$home/java/engine/target/test-classes" io
  IFS=: read -r -a path <<<"$(<"$work/test.path")"
  for entry in "${path[@]}"; do
    case ${entry##*/} in
      junit-* | opentest4j-* | assertj-core-* | apiguardian-api-*) cp -- "$entry" "$root/check/lib/" ;;
    esac
  done
  cp -- "$cuda"/*_emulated_test "$cuda/sjd2_cuda_bench_emulated" "$cuda/libsjd2_cuda_emu.so" "$root/check/emulated/"
  if [[ -e $cuda/libsjd2_cuda.so ]]; then
    mkdir -- "$root/check/device"
    cp -- "$cuda"/*_gpu_test "$cuda/sjd2_cuda_bench" "$cuda/libsjd2_cuda.so" "$root/check/device/"
  else
    say "there is no nvcc here: the bundle runs on the CPU and on the emulated device alone"
  fi
  find "$root/check" -type f \( -name '*_test' -o -name 'sjd2_cuda_bench*' \) -exec strip {} +
}

collect_programs() {
  cp -- "$here"/bin/* "$root/bin/"
  chmod 755 "$root"/bin/*
  (cd -- "$home" && git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown) >"$root/COMMIT"
  "$JAVA25_HOME/bin/jlink" --add-modules "$modules" --strip-debug --no-header-files --no-man-pages --compress zip-6 \
    --output "$root/runtime"
}

build
collect_engine
collect_checks
collect_programs
mkdir -p -- "$(dirname -- "$archive")"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner -cf - "$name" | gzip -9 >"$archive.part"
bytes=$(stat -c %s -- "$archive.part")
((bytes <= most_bytes)) || fail "the archive would have $bytes bytes, at most $most_bytes are allowed"
mv -- "$archive.part" "$archive"
say "$archive: $((bytes / 1000000)) MB; unpack it anywhere and run bin/sjd2, or bin/gpu-check"
