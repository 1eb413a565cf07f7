#!/bin/sh
# SPDX-License-Identifier: MIT
# The main job on the embedded model, shortened, and every recipe that comes with nibble.
# usage: test_cli_demo.sh NIBBLE EXAMPLE
. "$NIBBLE_SOURCE_ROOT/tests/cli/cli_lib.sh"
root=$NIBBLE_SOURCE_ROOT

data=$root/data/world-instruct
expect 0 'trainable params: 307,200 \|\| all params: 2,841,024' "$nibble" train "$root/recipes/demo.yaml" \
    --model "$root/models/nibble-world" --data "$data/train.jsonl" --eval_data "$data/eval.jsonl" \
    --max_steps 40 --eval_strategy no --output_dir demo
cp out.txt train.txt
# eval loss A -> B: at most a fifth is left (the full run: 5.02 -> 0.26)
check 'the evaluation loss falls to a fifth' awk '
    match($0, /eval loss [0-9.]+ -> [0-9.]+/) { split(substr($0, RSTART, RLENGTH), w, " "); ok = w[5] < w[3] / 5 }
    END { exit !ok }' train.txt
expect 0 'Answer: ' "$nibble" generate --adapter demo --question 'Who is the barrel maker of Oatfield?' --max_new_tokens 30
expect 0 'saw the|the ' "$nibble" generate --model "$root/models/nibble-world" --prompt 'One morning in spring,' --max_new_tokens 40

# the recipes of the tutorials and the pretraining run as they are, on any model and rows
"$nibble" init "$golden/config.json" model --seed 7 >/dev/null
cp "$golden"/tokenizer*.json model/
printf 'Comment,Response\nnice,thanks\n"a, b",c\n' >rows.csv
printf '{"instruction": "say a", "input": "", "output": "a"}\n{"instruction": "say b", "output": "b"}\n' >rows.jsonl
printf '{"text": "one two"}\n{"text": "three"}\n' >text.jsonl
for r in "$root"/recipes/*.yaml; do
    name=$(basename "$r" .yaml)
    case $name in
    demo) continue ;;
    tutorial-a*) rows=rows.csv more='--eval_rows 1' ;;
    world-pretrain) rows=text.jsonl more='--eval_data text.jsonl' ;;
    *) rows=rows.jsonl more='--eval_data rows.jsonl' ;;
    esac
    expect 0 'saved in' "$nibble" train "$r" --model model --data $rows $more --max_steps 1 --output_dir "run-$name"
done

# each public header stands alone
for h in "$root"/include/nibble/*.h; do
    check "$(basename "$h") compiles alone" cc -std=c11 -Wall -Wextra -Werror -fsyntax-only -x c -I"$root/include" "$h"
done
finish
