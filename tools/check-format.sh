#!/bin/sh
# Fails when clang-format would change a file. Needs clang-format 14; says so and passes without it.
set -eu
cd "$(dirname "$0")/.."
command -v clang-format >/dev/null 2>&1 || {
    echo "format check skipped: no clang-format"
    exit 0
}
case $(clang-format --version) in
*" 14."*) ;;
*)
    echo "format check skipped: clang-format 14 decides, found $(clang-format --version)"
    exit 0
    ;;
esac
git ls-files -co --exclude-standard '*.c' '*.h' | grep -v '_tables\.[ch]$' | xargs clang-format --dry-run -Werror
