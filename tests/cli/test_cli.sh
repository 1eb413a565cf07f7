#!/bin/sh
# SPDX-License-Identifier: MIT
# The program from outside: help, output forms. usage: test_cli.sh NIBBLE EXAMPLE
here=$(dirname "$(realpath "$0")")
. "$here/cli_lib.sh"

expect 0 'nibble [0-9]+\.[0-9]+' "$nibble" --version
expect 0 'usage: nibble COMMAND' "$nibble" --help
expect 2 'usage: nibble COMMAND' "$nibble"
expect 2 "no command 'trian'" "$nibble" trian
for c in train plan eval data generate chat init inspect tokenize doctor quantize; do
    expect 0 "usage: nibble $c" "$nibble" $c --help
    expect 0 'nibble [0-9]' "$nibble" $c --version
done

# the guide knows every recipe key, command and exit code
guide=$NIBBLE_SOURCE_ROOT/docs/guide.md
for key in $("$nibble" train --help | sed -n '/^recipe keys/,$s/^  --\([a-z_0-9]*\).*/\1/p'); do
    check "docs/guide.md lacks the key $key" grep -q "^| \`$key\` |" "$guide"
done
for code in $(sed -n 's/^    X([A-Z]*, \([0-9]*\),.*/\1/p' "$NIBBLE_SOURCE_ROOT/include/nibble/status.h"); do
    check "docs/guide.md lacks the exit code $code" grep -q "^| $code |" "$guide"
done

# making and looking at models
expect 0 'made made' "$nibble" init "$golden/config.json" made --seed 7
expect 3 'exists' "$nibble" init "$golden/config.json" made
expect 9 'missing.json' "$nibble" init missing.json other
make_files
expect 0 'llama' "$nibble" inspect model
expect 0 '^\{"path": "model"' "$nibble" inspect model --json
one_line
mkdir bare && cp model/config.json bare
expect 0 'weights: none' "$nibble" inspect bare
sed 's/"llama"/"wonder"/' model/config.json >bare/config.json
expect 0 'not_supported: .*wonder' "$nibble" inspect bare
expect 0 '^  peak +[0-9.]+ ' "$nibble" plan --model model --data rows.jsonl --threads 1
expect 0 '^limit .*free .*: the run fits' "$nibble" plan --model model --data rows.jsonl --threads 1
expect 0 '^rows +no data given: rows of 48 tokens' "$nibble" plan --model model/config.json --max_seq_length 48 --threads 1
expect 0 '^\{"model_type": "llama", .*"peak_bytes": [0-9]+, .*"fits": true' "$nibble" plan --model model --data rows.jsonl --json --threads 1
expect 0 '"fits": false.*"would_fit": \[' "$nibble" plan --model model --data rows.jsonl --json --threads 1 --memory_limit 1KiB
expect 0 'full +LoRA +QLoRA' "$nibble" plan --model model/config.json --compare --threads 1
expect 0 'no setting makes it fit time_budget' "$nibble" plan --model model --data rows.jsonl --time_budget 0.000001 --threads 1
expect 0 'time_budget 60 min: enough for about [0-9]+ steps' "$nibble" plan --model model --time_budget 1h --threads 1
expect 0 'avx|ref' "$nibble" doctor --threads 1
expect 0 '^\{"version"' "$nibble" doctor --threads 1 --json
one_line

# the 4-bit folder and the cache of it
expect 0 'made four' "$nibble" quantize --model model --output four --threads 1
expect 0 'quantisation: .*nf4' "$nibble" inspect four
expect 3 'exists' "$nibble" quantize --model model --output four
expect 2 'takes a model' "$nibble" quantize --model model
expect 3 'quantised already' "$nibble" quantize --model four --output five
check 'nothing is left of a failure' test ! -e five

# evaluation
eval="$nibble eval --model model --data rows.jsonl --threads 1"
$eval --json >out.txt 2>/dev/null
check 'eval --json' grep -q -E '^\{"loss": [0-9.]+, "perplexity": [0-9.]+, "token_accuracy": [0-9.]+, "trained_tokens": 6, "rows": 2\}$' out.txt
one_line
expect 0 'perplexity' $eval --load_in_4bit true --save_logits logits.safetensors
same_output "$eval --json --load_in_4bit true" "$eval --json --model four"
same_output "$eval --json --load_in_4bit true" "$eval --json --load_in_4bit true --quantized_cache kept"
same_output "$eval --json --load_in_4bit true" "$eval --json --load_in_4bit true --quantized_cache kept"
expect 0 'logits F32 \[9, 260\].*segments I64 \[3\]' "$nibble" inspect logits.safetensors --tensors

# generation
generate="$nibble generate --model model_tok --threads 1 --max_new_tokens 6"
expect 0 '^\{"new_ids": \[[0-9, ]+\], "stopped": false\}$' "$nibble" generate --model model --prompt_ids 1,2,3 \
    --max_new_tokens 5 --temperature 0 --ignore_eos true --json
one_line
expect 0 '^\{"new_ids": \[[0-9, ]+\], "text": "' $generate --prompt "a b" --json
same_output "$generate --prompt a --ignore_eos --temperature 2 --seed 3 --json" \
    "$generate --prompt a --ignore_eos --temperature 2 --seed=3 --json"
checks=$((checks + 1))
[ "$($generate --prompt a --temperature 2 --seed 3 --json)" = "$($generate --prompt a --temperature 2 --seed 4 --json)" ] &&
    failed "the seed does not reach the sampling"
same_output "$nibble generate --model model --prompt_ids 1,2 --max_new_tokens 8 --ignore_eos" \
    "$nibble generate --model model --prompt_ids 1,2 --max-new-tokens=8 --ignore-eos true --threads 1"
expect 0 '"text"' $generate --prompt a --stop zzz --json
echo '{"instruction": "say a"}' >ask.jsonl
expect 0 '^\{"new_ids"' $generate --input ask.jsonl --format alpaca --json
printf 'say a\n\n/base\n/reset\nsay b\n/quit\n' >talk.txt
checks=$((checks + 1))
"$nibble" chat --model model_tok --format alpaca --max_new_tokens 3 --threads 1 <talk.txt >out.txt 2>&1 ||
    failed "chat from a pipe: $(cat out.txt)"

# rows as the model sees them
expect 0 '>>a b c</s><<' "$nibble" data --model model_tok --data alpaca.jsonl
expect 0 'trained a$' "$nibble" data --model model_tok --data alpaca.jsonl --tokens
"$nibble" data --model model_tok --data alpaca.jsonl --json >out.txt 2>/dev/null
checks=$((checks + 1))
[ "$(grep -c -E '^\{"row": [01], "line": [12], "text": ".*", "input_ids": \[1, .*\], "labels": \[-100, .*\], "tokens": [0-9]+, "trained_tokens": [0-9]+, "truncated": false\}$' out.txt)" = 2 ] ||
    failed "data --json: $(cat out.txt)"
printf '{"text": "a\\u0000b"}\n' >nul.jsonl
expect 0 '"text": "a\\u0000b' "$nibble" data --model model_tok --data nul.jsonl --json
printf 'q,a\n"say \033[31m",b\n' >control.csv
expect 0 'x1b\[31m' "$nibble" data --model model_tok --data control.csv --template '{q}: {a}'

# tokenizer
tokenize="$nibble tokenize --model $golden"
expect 0 '^\[1, [0-9, ]+\]$' $tokenize "hello world"
expect 0 '^\[1\]$' $tokenize ""
printf '{"text": "a b"}\n{"text": "c\\u00e9"}\n' >texts.jsonl
expect 0 '^\[101, 36, 102\]$' $tokenize --input texts.jsonl --no_special
$tokenize --input texts.jsonl --no_special >ids.jsonl
expect 0 '^"a b"$' $tokenize --decode --input ids.jsonl
check 'JSON is ASCII' grep -q '^"c\\u00e9"$' out.txt
expect 0 '"offsets": \[\[0, 0\], \[0, 1\]\]' $tokenize --offsets a

# the example program, which sees the shared library only
expect 0 'loss [0-9.]+ -> [0-9.]+' "$example" model_tok alpaca.jsonl ex "say a" 2
finish
