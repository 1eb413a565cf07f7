#!/bin/sh
# SPDX-License-Identifier: MIT
# Prompt processing and generation of one model: nibble with NF4 (double quantisation) and, when
# llama.cpp is given, Q4_0 with as many threads, run alternately; prints both and their ratios.
#
#   bench/generate.sh BENCH_GENERATE MODEL_DIR [threads] [rounds]
#
# BENCH_GENERATE is the built program of bench/bench_generate.c. Environment:
#   LLAMA_BENCH   llama.cpp's llama-bench      GGUF   the same model as Q4_0
#   LLAMA_ARGS    further arguments of llama-bench
#   COMPUTE       bf16 (default) or f32        PROMPT, NEW   tokens (512, 128)
set -eu
if [ $# -lt 2 ]; then
    sed -n '3,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
program=$1 model=$2 threads=${3:-2} rounds=${4:-3}
compute=${COMPUTE:-bf16} prompt=${PROMPT:-512} new=${NEW:-128}
fail() { echo "bench/generate.sh: $*" >&2; exit 2; }
whole() { case $2 in '' | *[!0-9]* | 0*) fail "$1 must be a whole number from 1, found '$2'" ;; esac; }
whole threads "$threads"; whole rounds "$rounds"; whole PROMPT "$prompt"; whole NEW "$new"
case $compute in bf16 | f32) ;; *) fail "COMPUTE must be bf16 or f32, found '$compute'" ;; esac
command -v "$program" >/dev/null || fail "$program is no program; build it: ninja -C build bench/bench_generate"
[ -e "$model/config.json" ] || fail "$model is no model folder"
llama=
if [ -n "${LLAMA_BENCH:-}${GGUF:-}" ]; then
    command -v "${LLAMA_BENCH:-}" >/dev/null || fail "LLAMA_BENCH ('${LLAMA_BENCH:-}') is not llama.cpp's llama-bench"
    [ -e "${GGUF:-}" ] || fail "GGUF ('${GGUF:-}') is not the model as a Q4_0 file"
    llama=1
else
    echo "LLAMA_BENCH and GGUF are not set: nibble alone"
fi
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-10000}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

nibble_run() {
    "$program" "$model" "$threads" "$compute" "$prompt" "$new" 1 >"$work/out" || return 1
    awk '/^prompt/ { p = $3 } /^generation/ { g = $3; r = $(NF - 1) } END { print p, g, r }' "$work/out"
}

# llama-bench prints a table, with the test (pp..., tg...) and tokens a second in its last columns
llama_run() {
    # shellcheck disable=SC2086
    "$LLAMA_BENCH" -m "$GGUF" -t "$threads" -p "$prompt" -n "$new" -r 1 ${LLAMA_ARGS:-} 2>/dev/null |
        awk -F'|' 'NF < 4 { next } { split($(NF - 1), v, " ") } $(NF - 2) ~ /pp[0-9]/ { p = v[1] }
                   $(NF - 2) ~ /tg[0-9]/ { g = v[1] } END { print p + 0, g + 0 }'
}

best_np=0 best_ng=0 best_lp=0 best_lg=0
max() { awk -v a="$1" -v b="$2" 'BEGIN { print (a + 0 > b + 0 ? a : b) }'; }
i=0
while [ "$i" -lt "$rounds" ]; do
    i=$((i + 1))
    line=$(nibble_run) || fail "$program failed"
    # shellcheck disable=SC2086
    set -- $line
    echo "nibble NF4 $compute: prompt $1 tokens/s, generation $2 tokens/s, $3 % of reading speed"
    best_np=$(max "$1" "$best_np") best_ng=$(max "$2" "$best_ng")
    if [ -n "$llama" ]; then
        # shellcheck disable=SC2046
        set -- $(llama_run)
        [ "$1" != 0 ] && [ "$2" != 0 ] || fail "$LLAMA_BENCH gave no speeds for $GGUF; run it by hand to see why"
        echo "llama.cpp Q4_0: prompt $1 tokens/s, generation $2 tokens/s"
        best_lp=$(max "$1" "$best_lp") best_lg=$(max "$2" "$best_lg")
    fi
done
if [ "$best_lp" != 0 ] && [ "$best_lg" != 0 ]; then
    awk -v a="$best_np" -v b="$best_lp" -v c="$best_ng" -v d="$best_lg" \
        'BEGIN { printf "nibble / llama.cpp: prompt %.2f, generation %.2f\n", a / b, c / d }'
fi
