#!/bin/sh
# Writes java/engine/src/test/resources/golden/encoders again, with PyTorch. Needs JDK 25 as JAVA_HOME or as `java`, and
# fetches the peers (half a gigabyte) on first use.
set -eu
cd "$(dirname "$0")/../.."
goldens=java/engine/src/test/resources/golden
mvn -B -q -ntp -Ppeers -Dmaven.test.skip=true -pl benchmarks/peers -am package
"${JAVA_HOME:+$JAVA_HOME/bin/}java" --enable-native-access=ALL-UNNAMED \
  -Dorg.bytedeco.javacpp.cachedir=benchmarks/peers/target/natives \
  -cp "benchmarks/peers/target/sjd2-peers.jar:benchmarks/peers/target/lib/*" \
  io.sjd2.benchmarks.peers.EncoderGoldens "$goldens"
cd "$goldens/encoders"
sha256sum ./*.safetensors > SHA256SUMS
