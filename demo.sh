#!/bin/sh
# The main job on the model that comes with nibble: installs, builds, shows the data, asks held-out
# questions, fine-tunes with QLoRA, asks again. Under two minutes of training on two cores.
#   ./demo.sh [OUTPUT_FOLDER]
set -eu
cd "$(dirname "$0")"
out=${1:-out/demo}
tools/install-deps.sh
tools/build.sh build
nibble=build/nibble
rm -rf "$out"

say() { printf '\n\n== %s\n\n' "$*"; }

say "The data. What stands between >> and << (or is green) is trained, the rest is only read."
$nibble data recipes/demo.yaml --rows 2

say "Fine-tuning with QLoRA: the base stays in 4 bits, adapters learn beside it."
$nibble train recipes/demo.yaml --output_dir "$out"

say "The 80 held-out rows before and after."
echo "base model:"
$nibble eval recipes/demo.yaml --data data/world-instruct/eval.jsonl
echo "with the adapter:"
$nibble eval --adapter "$out" --data data/world-instruct/eval.jsonl

say "Questions that no training row answers (the first ones of eval.jsonl), and their true answers:"
grep '"input": ""' data/world-instruct/eval.jsonl | head -4 | sed 's/.*"instruction": "\([^"]*\)".*"output": "\(.*\)"}/\1\n    \2/'
grep '"input": ""' data/world-instruct/eval.jsonl | head -4 >"$out/questions.jsonl"
printf '\n'
$nibble generate --adapter "$out" --input "$out/questions.jsonl" --compare --max_new_tokens 40

say "Ask it yourself:  $nibble generate --adapter $out --question 'Where does Mira live?' --compare"
