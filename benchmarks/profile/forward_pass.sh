#!/usr/bin/env bash
# forward_pass under perf or ncu: takes the options of operation.sh.
exec "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/operation.sh" forward_pass "$@"
