#!/bin/sh
# The program from outside: exit codes, messages, output forms. usage: test_cli.sh NIBBLE EXAMPLE
set -u
nibble=$(realpath "$1")
example=$(realpath "$2")
root=$NIBBLE_SOURCE_ROOT
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
checks=0
failures=0

# expect CODE PATTERN command...: exit code, and a pattern in what it prints (stdout and stderr)
expect() {
    code=$1 pattern=$2
    shift 2
    "$@" >out.txt 2>&1 </dev/null
    got=$?
    checks=$((checks + 1))
    if [ "$got" != "$code" ] || ! grep -q -E -- "$pattern" out.txt; then
        failures=$((failures + 1))
        echo "FAILED: $*"
        echo "  expected exit code $code and /$pattern/, found $got and:"
        sed 's/^/  | /' out.txt | head -20
    fi
}
# the last command printed one line only
one_line() {
    checks=$((checks + 1))
    [ "$(wc -l <out.txt)" = 1 ] && return
    failures=$((failures + 1))
    echo "FAILED: expected one line, found:"
    sed 's/^/  | /' out.txt | head -20
}

golden=$root/tests/golden/cli
expect 0 'nibble [0-9]+\.[0-9]+' "$nibble" --version
expect 0 'usage: nibble COMMAND' "$nibble" --help
expect 2 'usage: nibble COMMAND' "$nibble"
expect 2 "no command 'trian'" "$nibble" trian
for c in train eval data generate chat init inspect tokenize doctor; do
    expect 0 "usage: nibble $c" "$nibble" $c --help
    expect 0 'nibble [0-9]' "$nibble" $c --version
done

# a model of random weights and rows for it
expect 0 'made model' "$nibble" init "$golden/config.json" model --seed 7
expect 3 'exists' "$nibble" init "$golden/config.json" model
expect 9 'missing.json' "$nibble" init missing.json other
printf '{"input_ids": [1, 5, 6, 7, 8], "labels": [-100, -100, 6, 7, 8]}\n{"input_ids": [1, 9, 10, 11], "labels": [-100, 9, 10, 11]}\n' >rows.jsonl
: >empty.jsonl
printf '{"input_ids": [1, 5, 6], "labels": [-100, -100, -100]}\n' >nothing.jsonl
printf '{"input_ids": [1, 5, "x"]}\n' >wrong.jsonl
printf '{"input_ids": [1, 5, 99999], "labels": [1, 5, 99999]}\n' >range.jsonl

expect 0 '^\{"loss": [0-9.]+, "perplexity": [0-9.]+, "token_accuracy": [0-9.]+, "trained_tokens": 6, "rows": 2\}$' \
    "$nibble" eval --model model --data rows.jsonl --format tokenized --json
expect 0 'perplexity' "$nibble" eval --model model --data rows.jsonl --load_in_4bit true --save_logits logits.safetensors
expect 0 'logits' "$nibble" inspect logits.safetensors --tensors
expect 0 'llama' "$nibble" inspect model
expect 0 '^\{"path": "model"' "$nibble" inspect model --json
one_line
expect 0 '^\{"new_ids": \[[0-9, ]+\]' "$nibble" generate --model model --prompt_ids 1,2,3 --max_new_tokens 5 --ignore_eos true --json
one_line
expect 2 'prompt' "$nibble" generate --model model
expect 2 'prompt_ids' "$nibble" generate --model model --prompt_ids 1,x
expect 4 'vocab|range|99999' "$nibble" generate --model model --prompt_ids 1,99999 --json

# training, all three methods
train="$nibble train --model model --data rows.jsonl --format tokenized --max_steps 2 --per_device_train_batch_size 2 --gradient_accumulation_steps 1"
expect 0 'trainable params: [0-9,]+ \|\| all params: [0-9,]+ \|\| trainable%: [0-9.]+' $train --method qlora --output_dir q
expect 0 'saved in l' $train --method lora --output_dir l
expect 0 'saved in f' $train --method full --output_dir f
for f in q/adapter_config.json q/adapter_model.safetensors q/nibble.json q/train_log.jsonl f/config.json f/model.safetensors; do
    checks=$((checks + 1))
    [ -s $f ] || { failures=$((failures + 1)); echo "FAILED: $f is missing"; }
done
expect 0 'loss' "$nibble" eval --adapter q --data rows.jsonl --format tokenized
expect 0 'adapter' "$nibble" inspect q
expect 0 'new_ids' "$nibble" generate --adapter q --prompt_ids 1,2 --max_new_tokens 3 --json

# wrong input: one clear line each
expect 9 'nowhere' "$nibble" train --model nowhere --data rows.jsonl --output_dir x
one_line
expect 9 'nowhere.jsonl' "$nibble" train --model model --data nowhere.jsonl --output_dir x
expect 4 'empty.jsonl' "$nibble" train --model model --data empty.jsonl --format tokenized --output_dir x
expect 4 'nothing.jsonl' "$nibble" train --model model --data nothing.jsonl --format tokenized --output_dir x
expect 4 'wrong.jsonl:1' "$nibble" train --model model --data wrong.jsonl --format tokenized --output_dir x
expect 4 'range.jsonl:1' "$nibble" train --model model --data range.jsonl --format tokenized --output_dir x
expect 3 'learning_rate' "$nibble" train --model model --data rows.jsonl --learning_rte 1
expect 3 'learning_rate' "$nibble" train --model model --data rows.jsonl --learning_rate fast
expect 3 'q_proj' $train --method lora --lora_target_modules nothing_like_it --output_dir x
printf 'model: model\nlerning_rate: 1\n' >bad.yaml
expect 3 'bad.yaml:2.*learning_rate' "$nibble" train bad.yaml
head -c 300 model/model.safetensors >cut.safetensors
expect 5 'cut.safetensors' "$nibble" inspect cut.safetensors
cp -r model broken && head -c 2000 model/model.safetensors >broken/model.safetensors
expect 5 'model.safetensors' "$nibble" eval --model broken --data rows.jsonl --format tokenized
sed 's/"llama"/"wonder"/' model/config.json >broken/config.json
expect 6 'wonder.*llama' "$nibble" eval --model broken --data rows.jsonl --format tokenized
echo '{"hidden_size": "x"' >broken/config.json
expect 5 'config.json' "$nibble" eval --model broken --data rows.jsonl --format tokenized
if [ -w /dev/full ]; then
    checks=$((checks + 1))
    "$nibble" --help >/dev/full 2>err.txt
    [ $? = 8 ] || { failures=$((failures + 1)); echo "FAILED: a full disk for the output has exit code 8"; }
fi

# tokenizers
expect 0 '^\[[0-9, ]+\]$' "$nibble" tokenize --model "$golden" "hello world"
printf '{"text": "a b"}\n{"text": "c"}\n' >texts.jsonl
expect 0 '^\[[0-9, ]+\]$' "$nibble" tokenize --model "$golden" --input texts.jsonl --no_special
expect 2 'needs --model' "$nibble" tokenize "x"
cp out.txt ids.jsonl 2>/dev/null
"$nibble" tokenize --model "$golden" --input texts.jsonl --no_special >ids.jsonl
expect 0 '"a b"' "$nibble" tokenize --model "$golden" --decode --input ids.jsonl
expect 0 'avx|ref' "$nibble" doctor --threads 1

# the example program, which sees the shared library only
cp -r model model_tok && cp "$golden"/tokenizer*.json model_tok/
printf '{"instruction": "say a", "input": "", "output": "a b c"}\n{"instruction": "say b", "input": "", "output": "b c"}\n' >alpaca.jsonl
expect 0 'loss [0-9.]+ -> [0-9.]+' "$example" model_tok alpaca.jsonl ex "say a" 2

echo "$checks checks, $failures failures"
[ "$failures" = 0 ]
