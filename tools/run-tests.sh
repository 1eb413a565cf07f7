#!/bin/sh
# Runs the tests of a build folder and closes with one line of counts.
#   tools/run-tests.sh build [words for meson test, e.g. --suite unit]
set -u
dir=$1
shift
[ -z "${NIBBLE_ORACLE:-}" ] || export NIBBLE_ORACLE="$(cd "$NIBBLE_ORACLE" && pwd)"
# Two test programs at a time share the cores: threads that wait must sleep, not spin.
export OMP_WAIT_POLICY=passive
meson test -C "$dir" --print-errorlogs --num-processes 2 "$@" >"$dir/test-output.txt" 2>&1
rc=$?
cat "$dir/test-output.txt"
count() { sed -n "s/^$1: *\([0-9]*\).*/\1/p" "$dir/test-output.txt" | tail -1; }
ok=$(count 'Ok'); fail=$(count 'Fail'); skip=$(count 'Skipped'); time=$(count 'Timeout'); xpass=$(count 'Unexpected Pass')
failed=$((${fail:-0} + ${time:-0} + ${xpass:-0}))
if [ "$rc" != 0 ] && [ "$failed" = 0 ]; then
    failed=1
fi
echo "${ok:-0} $failed ${skip:-0}" >"$dir/test-counts.txt"
echo "${ok:-0} passed, $failed failed, ${skip:-0} skipped"
[ "$failed" = 0 ] && [ "${ok:-0}" != 0 ]
