#!/usr/bin/env bash
# Refreshes docs/operations.md from what the last contract run on this machine measured: run mvn verify first.
# A build writes the report below target alone, so that it never dirties the tree.
set -euo pipefail
home=$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")
report=$home/java/engine/target/operations.md
if [[ ! -e $report ]]; then
  echo "operations.sh: $report is missing: run mvn verify first" >&2
  exit 1
fi
for backend in reference cpu-; do
  if ! grep -q "| $backend" "$report"; then
    echo "operations.sh: $report has nothing of $backend: it is of a part of the tests; run mvn verify first" >&2
    exit 1
  fi
done
cp -- "$report" "$home/docs/operations.md"
