# SPDX-License-Identifier: MIT
# What the tests of the program share. Sourced with: NIBBLE EXAMPLE as arguments of the script.
set -u
nibble=$(realpath "$1")
example=$(realpath "$2")
golden=$NIBBLE_SOURCE_ROOT/tests/golden/cli
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
checks=0
failures=0

failed() {
    failures=$((failures + 1))
    echo "FAILED: $*"
}
show_output() {
    sed 's/^/  | /' out.txt | head -20
}
# expect CODE PATTERN command...: exit code, and a pattern in what it prints (stdout and stderr)
expect() {
    code=$1 pattern=$2
    shift 2
    "$@" >out.txt 2>&1 </dev/null
    got=$?
    checks=$((checks + 1))
    if [ "$got" != "$code" ] || ! grep -q -E -- "$pattern" out.txt; then
        failed "$*"
        echo "  expected exit code $code and /$pattern/, found $got and:"
        show_output
    fi
}
# the last command printed one line only
one_line() {
    checks=$((checks + 1))
    [ "$(wc -l <out.txt)" = 1 ] && return
    failed "expected one line, found:"
    show_output
}
# the last command printed no such line
without() {
    checks=$((checks + 1))
    grep -q -E -- "$1" out.txt || return
    failed "expected no /$1/, found:"
    show_output
}
# check TEXT condition...: a condition that must hold
check() {
    text=$1
    shift
    checks=$((checks + 1))
    "$@" || failed "$text"
}
# the same output (stdout) from two commands, given as words
same_output() {
    checks=$((checks + 1))
    a=$($1 2>/dev/null </dev/null)
    b=$($2 2>/dev/null </dev/null)
    [ -n "$a" ] && [ "$a" = "$b" ] && return
    failed "different output: '$a' from $1, '$b' from $2"
}
# a model of random weights with tokenizer (model_tok) and without (model), and rows for them
make_files() {
    "$nibble" init "$golden/config.json" model_tok --seed 7 >/dev/null || exit 1
    mkdir model && cp model_tok/config.json model_tok/model.safetensors model/
    cp "$golden"/tokenizer*.json model_tok/
    cat >rows.jsonl <<'EOF'
{"input_ids": [1, 5, 6, 7, 8], "labels": [-100, -100, 6, 7, 8]}
{"input_ids": [1, 9, 10, 11], "labels": [-100, 9, 10, 11]}
EOF
    cat >alpaca.jsonl <<'EOF'
{"instruction": "say a", "input": "", "output": "a b c"}
{"instruction": "say b", "input": "", "output": "b c"}
EOF
}
finish() {
    echo "$checks checks, $failures failures"
    [ "$failures" = 0 ]
}
