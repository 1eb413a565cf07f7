#!/usr/bin/env python3
"""Loads a folder written by `nibble quantize` in transformers + bitsandbytes and compares the weights and the logits.

usage: compare_quantized.py --nibble build/nibble --source DIR [--bnb_4bit_quant_type nf4|fp4] [--single] [--keep DIR]

SOURCE is a 16/32-bit model folder. nibble quantises it into a temporary folder; transformers loads that folder as it
would any bitsandbytes checkpoint. Every 4-bit weight, decoded by bitsandbytes from what it loaded, must be the one
nibble decodes, bit for bit, and the weights that stay dense those of the source; logits of random tokens must agree
within the tolerance. Needs a Python with torch, transformers, bitsandbytes and safetensors; nothing else of nibble
needs Python. Exits with 1 when something differs.
"""
import argparse
import json
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser()
parser.add_argument("--nibble", default="build/nibble")
parser.add_argument("--source", required=True)
parser.add_argument("--bnb_4bit_quant_type", default="nf4", choices=["nf4", "fp4"])
parser.add_argument("--single", action="store_true", help="without double quantisation")
parser.add_argument("--keep", help="make the folder here and leave it")
parser.add_argument("--tolerance", type=float, default=2e-4)
args = parser.parse_args()

import bitsandbytes.functional as F
import numpy
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def open_source(folder):
    """name -> tensor of a folder of one or more safetensors files"""
    import glob
    tensors = {}
    for path in sorted(glob.glob(folder + "/*.safetensors")):
        with safe_open(path, "pt") as f:
            for name in f.keys():
                tensors[name] = (path, name)
    return tensors


def read(place):
    with safe_open(place[0], "pt") as f:
        return f.get_tensor(place[1])


def decode_by_hand(folder, name):
    """The weight from the file's own tensors by the rule that nibble and the format's description state."""
    with safe_open(folder + "/model.safetensors", "pt") as f:
        kind = args.bnb_4bit_quant_type
        state = json.loads(bytes(f.get_tensor(f"{name}.quant_state.bitsandbytes__{kind}").tolist()).decode())
        codes = f.get_tensor(name).flatten()
        book = f.get_tensor(name + ".quant_map")
        absmax = f.get_tensor(name + ".absmax")
        if "nested_blocksize" in state:
            nested = f.get_tensor(name + ".nested_absmax")
            values = f.get_tensor(name + ".nested_quant_map")[absmax.long()]
            scale = nested.repeat_interleave(state["nested_blocksize"])[:len(values)]
            absmax = values * scale + torch.tensor(state["nested_offset"], dtype=torch.float32)
    index = torch.stack([codes >> 4, codes & 15], 1).flatten().long()
    count = state["shape"][0] * state["shape"][1]
    scale = absmax.repeat_interleave(state["blocksize"])[:count]
    return (book[index[:count]] * scale).reshape(state["shape"])


def check(folder):
    command = [args.nibble, "quantize", "--model", args.source, "--output", folder,
               "--bnb_4bit_quant_type", args.bnb_4bit_quant_type,
               "--bnb_4bit_use_double_quant", "false" if args.single else "true"]
    subprocess.run(command, check=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    source = open_source(args.source)
    quantised = dense = 0
    worst = 0.0
    for name, p in model.named_parameters():
        if hasattr(p, "quant_state") and p.quant_state is not None:
            shape = p.quant_state.shape
            # in one row: its CPU version is wrong where blocks cross the ends of rows
            p.quant_state.shape = torch.Size([1, shape.numel()])
            theirs = F.dequantize_4bit(p.data, p.quant_state).float().reshape(shape)
            p.quant_state.shape = shape
            ours = decode_by_hand(folder, name)
            if theirs.shape != ours.shape:
                sys.exit(f"{name}: shape {list(theirs.shape)}, {list(ours.shape)} in the file")
            stored = p.quant_state.dtype
            if not torch.equal(theirs, ours.to(stored).float()):
                worst = max(worst, (theirs - ours.to(stored).float()).abs().max().item())
            quantised += 1
        elif name in source:
            if not torch.equal(p.data, read(source[name]).float()):
                sys.exit(f"{name}: differs from the source")
            dense += 1
        else:
            sys.exit(f"{name}: is not in the source")
    print(f"{quantised} 4-bit weights, largest difference {worst:.1e}; {dense} dense ones equal")
    return worst == 0.0 and quantised > 0


def compare_logits(folder, scratch):
    """nibble's on the folder against the source model's with the decoded weights put in: bitsandbytes' own evaluation on
    CPUs repacks and rounds them."""
    model = AutoModelForCausalLM.from_pretrained(args.source, dtype=torch.float32).eval()
    with torch.no_grad(), safe_open(folder + "/model.safetensors", "pt") as f:
        names = set(f.keys())
        for name, p in model.named_parameters():
            if name + ".quant_map" in names:
                p.copy_(decode_by_hand(folder, name))
    numbers = numpy.random.default_rng(1).integers(3, model.config.vocab_size, 48).tolist()
    rows = scratch + "/rows.jsonl"
    with open(rows, "w") as f:
        f.write(json.dumps({"input_ids": numbers, "labels": numbers}) + "\n")
    logits = scratch + "/logits.safetensors"
    subprocess.run([args.nibble, "eval", "--model", folder, "--data", rows, "--format", "tokenized",
                    "--compute_dtype", "f32", "--save_logits", logits, "--json"], check=True, stdout=subprocess.DEVNULL)
    with torch.no_grad():
        theirs = model(torch.tensor([numbers])).logits[0]
    worst = (theirs - load_file(logits)["logits"]).abs().max().item()
    print(f"48 tokens, largest difference of a logit {worst:.2e} (tolerance {args.tolerance:.0e})")
    return worst <= args.tolerance


with tempfile.TemporaryDirectory() as scratch:
    folder = args.keep or scratch + "/quantised"
    same = check(folder)
    near = compare_logits(folder, scratch)
sys.exit(0 if same and near else 1)
