#!/bin/sh
# SPDX-License-Identifier: MIT
# Training from outside: results, the log, interruption. usage: test_cli_train.sh NIBBLE EXAMPLE
here=$(dirname "$(realpath "$0")")
. "$here/cli_lib.sh"
make_files

train="$nibble train --model model --data rows.jsonl --threads 1 --logging_steps 1 --per_device_train_batch_size 2 --gradient_accumulation_steps 1"
expect 0 'trainable params: [0-9,]+ \|\| all params: [0-9,]+ \|\| trainable%: [0-9.]+' $train --max_steps 2 --method qlora --output_dir q
check 'coverage line' grep -q 'adapters on 14 of 15 linear weights; without one: lm_head' out.txt
check 'plain progress lines' grep -q -E '^step 2/2 .*loss .*tokens/s' out.txt
without "$(printf '\r')"
expect 0 'saved in l' $train --max_steps 2 --method lora --output_dir l
expect 0 'saved in f' $train --max_steps 2 --method full --output_dir f
for f in q/adapter_config.json q/adapter_model.safetensors q/nibble.json f/config.json f/model.safetensors; do
    check "$f is missing" [ -s $f ]
done
check 'first line of the log' grep -q '^{"versions": .*"seed": 42, "trainable_parameters": .*"settings": {.*"seconds_to_first_step": ' q/train_log.jsonl
check 'step lines of the log' [ "$(grep -c -E '^\{"step": [12], "epoch": .*, "loss": .*, "grad_norm": .*, "learning_rate": .*, "tokens": 9, "tokens_per_second": .*\}$' q/train_log.jsonl)" = 2 ]
expect 0 'LoRA' "$nibble" inspect q
expect 0 "trainable_parameters: $(sed -n '1s/.*"trainable_parameters": \([0-9]*\).*/\1/p' q/train_log.jsonl)\$" "$nibble" inspect q
expect 0 'nf4' "$nibble" inspect q

# a recipe file, evaluation, checkpoints
cat >recipe.yaml <<'EOF'
model: model_tok
data: alpaca.jsonl
eval_data: alpaca.jsonl
per_device_train_batch_size: 2
num_train_epochs: 2
evaluation_strategy: epoch
save_strategy: epoch
threads: 1
output_dir: r
EOF
expect 0 'eval loss [0-9.]+ -> [0-9.]+' "$nibble" train recipe.yaml --learning_rate 1e-3
check 'checkpoints' [ -s r/checkpoint-1/adapter_config.json ] && check 'checkpoints' [ -s r/checkpoint-2/nibble.json ]
check 'tokenizer beside the adapter' [ -s r/tokenizer.json ]
check 'evaluation lines' [ "$(grep -c '"eval_loss": ' r/train_log.jsonl)" = 3 ]

# the adapter alone finds its base, its quantisation and its layout
expect 0 'loss' "$nibble" eval --adapter r --data alpaca.jsonl --threads 1
expect 0 'new_ids' "$nibble" generate --adapter q --prompt_ids 1,2 --max_new_tokens 3 --json --threads 1
same_output "$nibble generate --adapter r --question say --max_new_tokens 4 --json --threads 1" \
    "$nibble generate --model model_tok --adapter r/checkpoint-2 --question say --max_new_tokens 4 --json --threads 1"
printf '{"instruction": "say a"}\n{"instruction": "say b", "output": "ignored"}\n' >ask.jsonl
"$nibble" generate --adapter r --input ask.jsonl --json --max_new_tokens 3 --threads 1 >out.txt 2>/dev/null
check 'one object a row' [ "$(grep -c '^{"new_ids": ' out.txt)" = 2 ]
expect 0 '^\{"adapter": false, "new_ids"' "$nibble" generate --adapter r --prompt a --compare --json --max_new_tokens 3 --threads 1
check 'with the adapter too' grep -q '^{"adapter": true, "new_ids"' out.txt
cp -r r broken_r && sed -i 's/"r": 16/"r": 8/' broken_r/adapter_config.json
expect 12 'adapter_model.safetensors.*shape' "$nibble" generate --model model_tok --adapter broken_r --prompt a
one_line

# the same run gives the same result
expect 0 'saved' $train --max_steps 2 --method lora --output_dir l2
check 'runs are repeatable' cmp -s l/adapter_model.safetensors l2/adapter_model.safetensors

# interruption: saves and ends with 130; meanwhile the folder is taken
$train --max_steps 1000000 --save_strategy no --method lora --output_dir long >long.txt 2>&1 &
pid=$!
tries=0
while ! grep -q '^step 1/' long.txt && [ $tries -lt 200 ]; do
    sleep 0.05
    tries=$((tries + 1))
done
expect 11 'long.*in use' $train --max_steps 1 --output_dir long
kill -INT $pid
wait $pid
code=$?
check "exit code of an interrupted run is 130, found $code" [ $code = 130 ]
saved=$(ls -d long/checkpoint-*)
check 'checkpoint of an interrupted run' [ -s "$saved/adapter_model.safetensors" ]
expect 0 'new_ids' "$nibble" generate --adapter "$saved" --prompt_ids 1,2 --max_new_tokens 3 --json --threads 1
finish
