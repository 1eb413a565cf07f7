#!/bin/sh
# SPDX-License-Identifier: MIT
# Wrong input: one clear line with the place and its exit code. usage: test_cli_errors.sh NIBBLE EXAMPLE
here=$(dirname "$(realpath "$0")")
. "$here/cli_lib.sh"
make_files
# wrong CODE PATTERN command...
wrong() {
    expect "$@"
    check "the last line is the error: $(tail -1 out.txt)" grep -q '^nibble: ' out.txt
    without 'runtime error|AddressSanitizer|LeakSanitizer'
}
# alone CODE PATTERN command...: nothing else is printed
alone() {
    wrong "$@"
    one_line
}

# command lines
alone 2 'unknown flag --max_new_token; did you mean --max_new_tokens' "$nibble" generate --model model --prompt_ids 1 --max_new_token 3
alone 2 '--jsn.*--json' "$nibble" inspect model --jsn
alone 3 'learning_rate' "$nibble" train --model model --data rows.jsonl --learning_rte 1
alone 3 'learning_rate.*fast' "$nibble" train --model model --data rows.jsonl --learning_rate fast
alone 2 '--model needs a value' "$nibble" generate --model --json --prompt x
alone 2 'needs a value' "$nibble" generate --prompt x --model
alone 2 '--json.*maybe' "$nibble" eval --model model --data rows.jsonl --json=maybe
alone 2 'unknown flag --foo .nibble inspect --help' "$nibble" inspect model --foo
alone 2 'unknown flag --colour .nibble train --help' "$nibble" train --colour
alone 3 'unknown key "foo" .nibble train' "$nibble" train --model model --data rows.jsonl --foo 1
alone 2 'unknown flag --jsonn; did you mean --json' "$nibble" eval --model model --data rows.jsonl --jsonn true
alone 2 "'b' is one word too many" "$nibble" eval a b
alone 2 "'x' is one word too many" "$nibble" doctor x
alone 2 "'x' is one word too many" "$nibble" generate x --model model --prompt_ids 1
alone 2 'spelled --name' "$nibble" generate -m model
alone 2 'prompt' "$nibble" generate --model model
alone 2 'prompt_ids' "$nibble" generate --model model --prompt_ids 1,x
alone 2 'temperature.*nan' "$nibble" generate --model model --prompt_ids 1 --temperature nan
alone 2 'max_new_tokens.*0' "$nibble" generate --model model --prompt_ids 1 --max_new_tokens 0
alone 2 'compare needs --adapter' "$nibble" generate --model model --prompt_ids 1 --compare
alone 2 'needs --model' "$nibble" tokenize x
alone 2 'CONFIG.json DIR' "$nibble" init x
alone 3 'cpumask.*sse9' "$nibble" generate --model model --prompt_ids 1 --cpumask sse9
alone 3 'compute_dtype.*compute_dtype' "$nibble" eval --model model --data rows.jsonl --compute_dtype bf16 --bnb_4bit_compute_dtype float32

# plans
alone 3 'memory_limit: "much" is no size' "$nibble" plan --model model --memory_limit much
alone 3 'time_budget: "soon" is no time' "$nibble" plan --model model --time_budget soon
alone 9 'nowhere' "$nibble" plan --model nowhere
alone 2 "'b' is one word too many" "$nibble" plan a b
wrong 13 'this run takes .* but memory_limit is 1.0 MiB' "$nibble" train --model model --data rows.jsonl --output_dir refused --memory_limit 1MiB --lora_r 16 --per_device_train_batch_size 16
check 'nothing is left of a refused run' [ ! -e refused ]

# models
alone 9 'nowhere' "$nibble" train --model nowhere --data rows.jsonl --output_dir x
alone 9 'nowhere' "$nibble" inspect nowhere
alone 6 'neither model' "$nibble" inspect .
alone 4 'vocab|range|99999' "$nibble" generate --model model --prompt_ids 1,99999 --json
alone 3 'no tokenizer.json' "$nibble" generate --model model --prompt x
head -c 300 model/model.safetensors >cut.safetensors
alone 5 'cut.safetensors' "$nibble" inspect cut.safetensors
cp -r model broken
eval="$nibble eval --model broken --data rows.jsonl --threads 1"
for size in 0 7 2000; do
    head -c $size model/model.safetensors >broken/model.safetensors
    alone 5 'broken/model.safetensors' $eval
done
rm broken/model.safetensors
alone 9 'model.safetensors' $eval
echo x >broken/pytorch_model.bin
alone 6 'pickle' $eval
cp model/model.safetensors broken/
sed 's/"llama"/"wonder"/' model/config.json >broken/config.json
alone 6 'wonder.*llama' $eval
sed 's/"hidden_size": 32/"hidden_size": "x"/' model/config.json >broken/config.json
alone 5 'config.json.*hidden_size' $eval
sed 's/"hidden_size": 32/"hidden_size": 48/' model/config.json >broken/config.json
alone 5 'shape' $eval
echo '{"hidden_size": "x"' >broken/config.json
alone 5 'config.json' $eval
cp -r model_tok broken_tok && echo '{"model": 5}' >broken_tok/tokenizer.json
alone 5 'tokenizer.json' "$nibble" tokenize --model broken_tok x

# data
train="$nibble train --model model --threads 1 --per_device_train_batch_size 16 --gradient_accumulation_steps 1 --max_steps 1 --output_dir x"
: >empty.jsonl
printf '{"input_ids": [1, 5, 6], "labels": [-100, -100, -100]}\n' >nothing.jsonl
printf '{"input_ids": [1, 5, "x"]}\n' >wrong.jsonl
printf '{"input_ids": [1, 5]}\n{"input_ids": [1, 5, 99999]}\n' >range.jsonl
printf '{"input_ids": [1, 5], "labels": [1]}\n' >short.jsonl
printf '{"input_ids": [1, 5]\n' >open.jsonl
printf '{"something": 1}\n' >other.jsonl
alone 9 'nowhere.jsonl' $train --data nowhere.jsonl
alone 4 'empty.jsonl' $train --data empty.jsonl
alone 4 'nothing.jsonl' $train --data nothing.jsonl
alone 4 'wrong.jsonl:1' $train --data wrong.jsonl
alone 4 'range.jsonl:2' $train --data range.jsonl
alone 4 'short.jsonl:1.*labels' $train --data short.jsonl
alone 4 'open.jsonl:1' $train --data open.jsonl
alone 4 'other.jsonl:1.*something' $train --data other.jsonl
alone 3 'data: not given' $train
printf '\n{"instruction": 5}\n' >ask.jsonl
ask="$nibble generate --model model_tok --format alpaca --input ask.jsonl --threads 1"
alone 4 'ask.jsonl:2: .*instruction' $ask
printf '{"instruction": \n' >ask.jsonl
alone 4 'ask.jsonl:1: ' $ask
alone 9 'nofile' "$nibble" generate --model model_tok --format alpaca --input nofile
printf '[1, 2]\n[5, 999999]\n' >ids.jsonl
wrong 4 'ids.jsonl:2: .*999999' "$nibble" tokenize --model "$golden" --decode --input ids.jsonl
printf '{"txt": "a"}\n' >texts.jsonl
alone 4 'texts.jsonl:1: .*"text"' "$nibble" tokenize --model "$golden" --input texts.jsonl

# recipes and targets
wrong 3 'q_proj' $train --data rows.jsonl --method lora --lora_target_modules nothing_like_it
printf 'model: model\nlerning_rate: 1\n' >bad.yaml
alone 3 'bad.yaml:2.*learning_rate' "$nibble" train bad.yaml
printf 'model: [a\n' >bad.yaml
alone 3 'bad.yaml:[0-9]' "$nibble" train bad.yaml

# places that cannot be written
echo >plain
alone 8 'plain.*not a folder' "$nibble" train --model model --data rows.jsonl --per_device_train_batch_size 16 --output_dir plain
if [ -w /dev/full ]; then
    "$nibble" --help >/dev/full 2>out.txt
    code=$?
    check "a full disk for the output has exit code 8, found $code" [ $code = 8 ]
    one_line
    "$nibble" tokenize --model "$golden" x >/dev/full 2>out.txt
    check 'a full disk for a list of ids' [ $? = 8 ]
fi
# a closed output is no place for files opened later
"$nibble" tokenize --model "$golden" x >&- 2>out.txt
check 'closed standard output' [ $? = 8 ]
i=0
while [ $i -lt 3000 ]; do
    echo '{"text": "some words to fill the pipe"}'
    i=$((i + 1))
done >many.jsonl
("$nibble" tokenize --model "$golden" --input many.jsonl 2>out.txt; echo $? >code.txt) | head -1 >/dev/null
check 'a closed pipe ends the listing' [ "$(cat code.txt)" = 8 ]
one_line
finish
