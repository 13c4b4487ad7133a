#!/usr/bin/env bash
# matmul under perf or ncu: takes the options of operation.sh.
exec "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/operation.sh" matmul "$@"
