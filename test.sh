#!/bin/sh
# Installs what is missing, builds, runs all tests. Tests that compare with reference data run when
# NIBBLE_ORACLE names its folder, else they say that they were skipped.
set -eu
cd "$(dirname "$0")"
tools/install-deps.sh
# shellcheck disable=SC2086
tools/build.sh build ${NIBBLE_MESON_OPTIONS:-}
exec tools/run-tests.sh build "$@"
