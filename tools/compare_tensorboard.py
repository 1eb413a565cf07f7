#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Opens a run's event files with the real TensorBoard and its log with pandas, and compares them.

usage: compare_tensorboard.py OUTPUT_DIR   (needs the packages tensorboard and pandas; not part of the tests)
"""
import sys
from pathlib import Path

import pandas
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main():
    out = Path(sys.argv[1])
    folders = sorted((out / "runs").iterdir())
    events = EventAccumulator(str(folders[-1]), size_guidance={"scalars": 0}).Reload()
    log = pandas.read_json(out / "train_log.jsonl", lines=True)
    bad = 0
    for tag in events.Tags()["scalars"]:
        group, name = tag.split("/", 1)
        column = name if group == "train" else f"{group}_{name}"
        if name == "epoch" or column not in log:
            continue
        want = log[["step", column]].dropna()
        got = events.Scalars(tag)
        same = len(got) == len(want) and all(
            g.step == s and abs(g.value - v) <= 1e-6 * max(1, abs(v))
            for g, (s, v) in zip(got, want.itertuples(index=False)))
        bad += not same
        print(f"{tag:32} {len(got):6} points  {'equal' if same else 'DIFFERENT'}")
    print(f"texts: {', '.join(events.Tags()['tensors'])}")
    return bad


if __name__ == "__main__":
    sys.exit(min(main(), 1))
