#!/bin/sh
# Configures (once) and builds into the given folder; further words are options for meson setup.
#   tools/build.sh build [-Db_sanitize=...]
set -eu
cd "$(dirname "$0")/.."
dir=$1
shift
[ -e "$dir/build.ninja" ] || meson setup "$dir" "$@" >"$dir.log" 2>&1 || {
    cat "$dir.log" >&2
    exit 1
}
rm -f "$dir.log"
ninja -C "$dir" --quiet
