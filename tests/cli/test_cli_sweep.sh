#!/bin/sh
# SPDX-License-Identifier: MIT
# Variants over one base. usage: test_cli_sweep.sh NIBBLE EXAMPLE
here=$(dirname "$(realpath "$0")")
. "$here/cli_lib.sh"
make_files

flags="--model model --data rows.jsonl --eval_data rows.jsonl --threads 1 --max_steps 3 --per_device_train_batch_size 2 --gradient_accumulation_steps 1"
expect 0 'wrote s/sweep.html' "$nibble" sweep $flags --method qlora,lora --learning_rate 1e-2,1e-4 --output_dir s
check 'a folder for each variant' [ "$(ls -d s/*=*/ | wc -l)" = 4 ]
check 'a rank for each variant' [ "$(grep -c -E '^ +[1-4]  method=q?lora,learning_rate=1e-[24] +[0-9.]+ +[0-9.]+ +3$' out.txt)" = 4 ]
check 'ranked by evaluation loss' sh -c "grep -E '^ +[1-4]  ' out.txt | awk '{print \$3}' | sort -n -c"
check 'the page' grep -q '<svg' s/sweep.html

# a variant on the shared base is the run by itself, also after the base was held in another way
for m in qlora lora; do
    expect 0 'saved in' "$nibble" train $flags --method $m --learning_rate 1e-4 --output_dir alone_$m
    check "variant $m equals the run by itself" cmp -s alone_$m/adapter_model.safetensors "s/method=$m,learning_rate=1e-4/adapter_model.safetensors"
done

expect 0 'wrote größe/sweep.html' "$nibble" sweep $flags --method lora --lora_r 2,4 --output_dir größe

# wrong use
expect 2 'several values' "$nibble" sweep $flags --learning_rate 1e-4 --output_dir x
expect 2 'commas between' "$nibble" sweep $flags --learning_rate 1e-4,,2 --output_dir x
expect 3 'learning_rate' "$nibble" sweep $flags --learning_rate 1e-4,fast --output_dir x
check 'nothing was run' [ ! -e x ]
expect 3 'output_dir' "$nibble" sweep $flags --learning_rate 1e-4,2e-4
finish
