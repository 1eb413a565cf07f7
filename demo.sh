#!/bin/sh
# The main job on the model that comes with nibble: installs, builds, asks, fine-tunes with QLoRA, asks
# again. Under two minutes of training on two cores.
set -eu
cd "$(dirname "$0")"
tools/install-deps.sh
tools/build.sh build
out=${1:-out/demo}
rm -rf "$out"
question="Who keeps the bees?"

say() { printf '\n== %s\n' "$1"; }

say "the data: what the model sees; only what stands between >> and << (or is green) is trained"
build/nibble data recipes/demo.yaml --rows 2
say "evaluation on held-out questions and training"
build/nibble train recipes/demo.yaml --output_dir "$out"
say "a held-out question, before and after: $question"
build/nibble generate --adapter "$out" --question "$question" --max_new_tokens 48 --compare
