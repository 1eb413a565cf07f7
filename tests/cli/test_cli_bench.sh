#!/bin/sh
# SPDX-License-Identifier: MIT
# bench/train.sh alone and beside a reference stack that is a stand-in of one line.
# usage: test_cli_bench.sh NIBBLE EXAMPLE
. "$NIBBLE_SOURCE_ROOT/tests/cli/cli_lib.sh"
bench=$NIBBLE_SOURCE_ROOT/bench/train.sh

unset PEER_PYTHON PEERS
expect 0 'nibble +[0-9.]+ +[0-9.]+ +[0-9.]+' "$bench" "$nibble" model --config "$golden/config.json" \
    --tokens 16 --steps 3 --rounds 1
check 'it made the model' test -e model/model.safetensors
without 'reference'
mkdir peers
cat >peers/hf_qlora.py <<'EOF'
echo "$*" >args.txt
echo loading
echo '{"startup_s": 20.5, "step_s": [8.5, 3.6], "tok_s_best": 0.5, "peak_rss_mib": 6000}'
EOF
cat >peers/hf_rows.py <<'EOF'
echo '{"startup_s": 20.5, "tok_s": 0.25, "padding_factor": 1.2, "peak_rss_mib": 6000}'
EOF
export PEER_PYTHON=sh PEERS=peers
expect 0 '^ratio +[0-9.]+ +0[.]0[0-9]+ +[0-9.]+' "$bench" "$nibble" model --tokens 16 --batch 2 --steps 2 --ckpt
check 'the same work for both' grep -qx 'model --tokens 16 --batch 2 --steps 2 --ckpt' args.txt
for i in 1 2 3 4 5 6 7 8; do
    echo '{"input_ids": [1, 5, 6, 7, 8], "labels": [-100, -100, 6, 7, 8]}'
done >rows.jsonl
expect 0 '"peer": .*"tok_s": 0.25.*"speed_ratio": [0-9]' "$bench" "$nibble" model --rows rows.jsonl --batch 2 \
    --steps 2 --max-tokens 10 --json
printf 'echo no torch >&2\nexit 3\n' >peers/hf_rows.py
expect 1 'no torch' "$bench" "$nibble" model --rows rows.jsonl --batch 2 --steps 2
expect 2 'usage' "$bench" "$nibble"
expect 2 '2 or more' "$bench" "$nibble" model --steps 1
expect 2 "--steps must be a whole number, found 'x'" "$bench" "$nibble" model --steps x
expect 2 'no-rows does not exist' "$bench" "$nibble" model --rows no-rows
expect 2 'is no program' "$bench" ./no-program model
PEERS=nowhere expect 2 'nowhere/hf_qlora.py does not exist' "$bench" "$nibble" model
PEERS= expect 2 'PEERS must name the folder' "$bench" "$nibble" model
PEER_PYTHON=no-python expect 2 "PEER_PYTHON .*no-python.* is no program" "$bench" "$nibble" model

generate=$NIBBLE_SOURCE_ROOT/bench/generate.sh
expect 2 'BENCH_GENERATE MODEL_DIR' "$generate"
expect 2 'no-program is no program' "$generate" ./no-program model
expect 2 'nowhere is no model folder' "$generate" true nowhere
expect 2 "threads must be a whole number from 1, found 'x'" "$generate" true model x
LLAMA_BENCH=no-llama expect 2 'is not llama.cpp' "$generate" true model
LLAMA_BENCH=true expect 2 'GGUF .* is not the model' "$generate" true model
COMPUTE=f8 expect 2 'COMPUTE must be bf16 or f32' "$generate" true model
finish
