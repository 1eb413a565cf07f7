#!/bin/sh
# SPDX-License-Identifier: MIT
# The speed of whole QLoRA steps, alone or beside the reference stack.
#
# usage: bench/train.sh NIBBLE MODEL_DIR [--tokens 512] [--batch 1] [--steps 4] [--rounds 2] [--ckpt]
#                       [--rows ROWS.jsonl] [--max-tokens N] [--config CONFIG.json] [--json]
#
# MODEL_DIR is made with random weights when it is not there (of CONFIG.json, else of the 1.1B shape).
# Without --rows the rows are random ids, BATCH of TOKENS each a step; with it they are rows of
# input_ids and labels, and --max-tokens packs them. When PEER_PYTHON names a Python that has torch,
# transformers, peft and bitsandbytes, and PEERS the folder of hf_qlora.py and hf_rows.py, the same
# work runs there in turns, and the ratios are printed. Every figure is the best of the rounds; the
# first step of a run warms caches and does not count.
set -eu
usage() { sed -n "5,6s/^# //p" "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
nibble=$1 model=$2; shift 2
tokens=512 batch=1 steps=4 rounds=2 ckpt= rows= max_tokens=0 config= json=
while [ $# -gt 0 ]; do
    case $1 in
        --ckpt) ckpt=1; shift; continue ;;
        --json) json=1; shift; continue ;;
    esac
    [ $# -ge 2 ] || usage
    case $1 in
        --tokens) tokens=$2 ;;
        --batch) batch=$2 ;;
        --steps) steps=$2 ;;
        --rounds) rounds=$2 ;;
        --rows) rows=$2 ;;
        --max-tokens) max_tokens=$2 ;;
        --config) config=$2 ;;
        *) usage ;;
    esac
    shift 2
done
fail() { echo "bench/train.sh: $*" >&2; exit 2; }
whole() { case $2 in '' | *[!0-9]*) fail "$1 must be a whole number, found '$2'" ;; esac; }
whole --tokens "$tokens"; whole --batch "$batch"; whole --steps "$steps"; whole --rounds "$rounds"
whole --max-tokens "$max_tokens"
[ "$steps" -ge 2 ] || fail "--steps must be 2 or more"
[ "$rounds" -ge 1 ] && [ "$tokens" -ge 2 ] && [ "$batch" -ge 1 ] ||
    fail "--rounds and --batch must be 1 or more, --tokens 2 or more"
command -v "$nibble" >/dev/null || fail "$nibble is no program; build it: tools/build.sh build"
[ -z "$rows" ] || [ -e "$rows" ] || fail "$rows does not exist"
if [ -n "${PEER_PYTHON:-}" ]; then
    command -v "$PEER_PYTHON" >/dev/null || fail "PEER_PYTHON ('$PEER_PYTHON') is no program"
    script=${rows:+hf_rows.py}
    [ -n "${PEERS:-}" ] || fail "PEERS must name the folder of hf_qlora.py and hf_rows.py"
    script=$PEERS/${script:-hf_qlora.py}
    [ -e "$script" ] || fail "$script does not exist; PEERS names its folder"
elif [ -z "$json" ]; then
    echo "PEER_PYTHON is not set: nibble alone"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

if [ ! -e "$model" ]; then
    if [ -z "$config" ]; then
        config=$work/config.json
        cat >"$config" <<EOF
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": 32000,
 "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
 "num_key_value_heads": 4, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
 "initializer_range": 0.02, "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
 "torch_dtype": "bfloat16"}
EOF
    fi
    "$nibble" init "$config" "$model" --dtype bfloat16 >&2
fi
vocab=$(tr -d ' \n' <"$model/config.json" | sed 's/.*"vocab_size":\([0-9]*\).*/\1/')
if [ -z "$rows" ]; then
    awk -v n=$((batch * steps)) -v t="$tokens" -v v="$vocab" 'BEGIN {
        srand(1)
        for (i = 0; i < n; i++) {
            ids = ""
            for (j = 0; j < t; j++) ids = ids (j ? ", " : "") int(rand() * v)
            printf "{\"input_ids\": [%s], \"labels\": [%s]}\n", ids, ids
        }
    }' >"$work/rows.jsonl"
fi

# The value of a number's key in the lines of standard input.
number() { sed -n 's/.*"'"$1"'": \([0-9.eE+-]*\).*/\1/p'; }

# Each adds a line "tokens/s  peak MiB  start-up seconds" to its file.
run_nibble() {
    cat >"$work/recipe.yaml" <<EOF
model: "$model"
data: "${rows:-$work/rows.jsonl}"
format: tokenized
output_dir: "$work/out"
load_in_4bit: true
bnb_4bit_quant_type: nf4
bnb_4bit_use_double_quant: true
compute_dtype: bf16
lora_r: 16
lora_alpha: 32
lora_target_modules: all-linear
per_device_train_batch_size: $batch
max_steps: $steps
learning_rate: 2e-4
logging_steps: 1
shuffle: false
save_strategy: no
gradient_checkpointing: $([ -n "$ckpt" ] && echo true || echo auto)
EOF
    [ "$max_tokens" -eq 0 ] || printf 'packing: true\nmax_tokens_per_batch: %s\n' "$max_tokens" \
        >>"$work/recipe.yaml"
    rm -rf "$work/out"
    "$nibble" train "$work/recipe.yaml" >"$work/nibble.out" 2>&1 || { cat "$work/nibble.out" >&2; exit 1; }
    log=$work/out/train_log.jsonl
    # equal steps: the fastest; real rows: all tokens over all time
    speed=$(grep '"tokens_per_second"' "$log" | sed 1d | awk -v all="${rows:+1}" '
        { match($0, /"tokens": [0-9]+/); n = substr($0, RSTART + 10, RLENGTH - 10)
          match($0, /"tokens_per_second": [0-9.eE+]+/); r = substr($0, RSTART + 21, RLENGTH - 21)
          sum += n; time += n / r; if (r + 0 > best) best = r + 0 }
        END { print all ? sum / time : best }')
    echo "$speed $(number peak_bytes <"$log" | awk '{ print $1 / 1048576 }')" \
        "$(number seconds_to_first_step <"$log")" >>"$work/nibble"
}

run_peer() {
    if [ -n "$rows" ]; then
        set -- "$PEERS/hf_rows.py" "$model" "$rows"
    else
        set -- "$PEERS/hf_qlora.py" "$model" --tokens "$tokens"
    fi
    "$PEER_PYTHON" "$@" --batch "$batch" --steps "$steps" ${ckpt:+--ckpt} >"$work/peer.out" 2>"$work/peer.err" ||
        { cat "$work/peer.err" >&2; exit 1; }
    line=$(tail -n 1 "$work/peer.out")
    speed=$(echo "$line" | number tok_s_best)
    echo "${speed:-$(echo "$line" | number tok_s)}" "$(echo "$line" | number peak_rss_mib)" \
        "$(echo "$line" | number startup_s)" >>"$work/peer"
}

round=0
while [ $round -lt "$rounds" ]; do
    [ -z "${PEER_PYTHON:-}" ] || run_peer
    run_nibble
    round=$((round + 1))
done

best() { awk 'NR == 1 || $1 > t { t = $1 } NR == 1 || $2 < m { m = $2 } NR == 1 || $3 < s { s = $3 }
              END { printf "%.2f %.1f %.2f\n", t, m, s }' "$1"; }
n=$(best "$work/nibble")
p=$([ -e "$work/peer" ] && best "$work/peer" || echo "")
echo "$n $p" | awk -v json="$json" '{
    if (json) {
        printf "{\"nibble\": {\"tok_s\": %s, \"peak_mib\": %s, \"startup_s\": %s}", $1, $2, $3
        if (NF > 3) printf ", \"peer\": {\"tok_s\": %s, \"peak_mib\": %s, \"startup_s\": %s}, \"speed_ratio\": %.3f, \"memory_ratio\": %.3f, \"startup_ratio\": %.4f", $4, $5, $6, $1 / $4, $2 / $5, $3 / $6
        print "}"
        exit
    }
    printf "%-10s %12s %12s %12s\n", "", "tokens/s", "peak MiB", "start-up s"
    printf "%-10s %12s %12s %12s\n", "nibble", $1, $2, $3
    if (NF > 3) {
        printf "%-10s %12s %12s %12s\n", "reference", $4, $5, $6
        printf "%-10s %12.2f %12.3f %12.4f\n", "ratio", $1 / $4, $2 / $5, $3 / $6
    }
}'
