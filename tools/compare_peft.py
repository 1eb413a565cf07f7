#!/usr/bin/env python3
"""Loads a base and an adapter written by nibble in PEFT and compares the logits with nibble's own.

usage: compare_peft.py --nibble build/nibble --base DIR --adapter DIR --tokens ROWS.jsonl [--load_in_4bit]

ROWS.jsonl holds pre-tokenised rows ({"input_ids": [...], "labels": [...]}). Needs a Python with torch, transformers,
peft and, for a 4-bit base, bitsandbytes; nothing else of nibble needs Python. Exits with 1 when a logit differs by
more than the tolerance (f32: 2e-4, the bound the reference runs of these libraries keep among themselves).
"""
import argparse
import json
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser()
parser.add_argument("--nibble", default="build/nibble")
parser.add_argument("--base", required=True)
parser.add_argument("--adapter", required=True)
parser.add_argument("--tokens", required=True)
parser.add_argument("--load_in_4bit", action="store_true")
parser.add_argument("--tolerance", type=float, default=2e-4)
args = parser.parse_args()

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

rows = [json.loads(line) for line in open(args.tokens)]
with tempfile.TemporaryDirectory() as folder:
    command = [args.nibble, "eval", "--model", args.base, "--adapter", args.adapter, "--data", args.tokens,
               "--format", "tokenized", "--save_logits", folder + "/logits.safetensors", "--json"]
    if args.load_in_4bit:
        command += ["--load_in_4bit", "true", "--bnb_4bit_quant_type", "nf4", "--bnb_4bit_use_double_quant", "true"]
    subprocess.run(command, check=True)
    ours = load_file(folder + "/logits.safetensors")

options = {}
if args.load_in_4bit:
    from transformers import BitsAndBytesConfig
    options["quantization_config"] = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32)
model = AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.float32, **options)
model = PeftModel.from_pretrained(model, args.adapter).eval()
for module in model.modules():  # its evaluation kernel for AVX512-BF16 rounds the scales of 4-bit weights
    if hasattr(module, "support_avx512bf16_for_cpu"):
        module.support_avx512bf16_for_cpu = False

worst = 0.0
segments = ours["segments"].tolist()
with torch.no_grad():
    for i, row in enumerate(rows):
        theirs = model(torch.tensor([row.get("input_ids", row.get("ids"))])).logits[0]
        worst = max(worst, (theirs - ours["logits"][segments[i]:segments[i + 1]]).abs().max().item())
print(f"{len(rows)} rows, largest difference of a logit {worst:.2e} (tolerance {args.tolerance:.0e})")
sys.exit(0 if worst <= args.tolerance else 1)
