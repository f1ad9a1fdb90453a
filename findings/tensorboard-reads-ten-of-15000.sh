#!/usr/bin/env bash
# Guess: EventAccumulator gives back what was logged; at most, very long runs are thinned.
# What happens (tensorboard 2.21.0): scalars written by tensorboard's own Writer are not under
# `scalars` at all but under `tensors`, of which 10 points of any number are kept, drawn at
# random. Scalars of the older form (as torch's SummaryWriter writes them) are kept up to 10,000:
# of 15,000 losses a random third is missing, so that a spike of one step is seen or not by
# chance.
# Cause: tensorboard/backend/event_processing/event_accumulator.py, DEFAULT_SIZE_GUIDANCE, and
# reservoir.py (reservoir sampling that keeps the last).
# Why it matters: loss curves, their minimum and counts of spikes made from event files are of a
# sample. size_guidance={"scalars": 0, "tensors": 0} reads all.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  tensorboard==2.21.0 numpy==2.4.6 setuptools==80.9.0
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary import Writer
from tensorboard.summary.writer.event_file_writer import EventFileWriter

steps = 15_000
new = Writer("new")
old = EventFileWriter("old")
for step in range(steps):
    new.add_scalar("loss", 1.0, step)
    value = Summary.Value(tag="loss", simple_value=1.0)
    old.add_event(Event(step=step, summary=Summary(value=[value])))
new.close()
old.close()


def read(folder, **options):
    events = EventAccumulator(folder, **options)
    events.Reload()
    tags = events.Tags()
    return [len(events.Scalars(t)) for t in tags["scalars"]], [
        len(events.Tensors(t)) for t in tags["tensors"]
    ]


written_new, written_old = read("new"), read("old")
everything = read("old", size_guidance={"scalars": 0}), read("new", size_guidance={"tensors": 0})
print("tensorboard", version("tensorboard"), "points logged:", steps)
print("scalars, tensors read from Writer's file:", written_new)
print("scalars, tensors read from the older form:", written_old, "all:", everything)
if not (written_new == ([], [10]) and written_old == ([10_000], [])):
    sys.exit("changed: EventAccumulator's defaults read more points")
PYTHON
