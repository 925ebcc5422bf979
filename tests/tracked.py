"""What trackers hold of a run, read back from where their own libraries have put it."""

import importlib.util
import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ALL = ("mlflow", "wandb", "tensorboard")
INSTALLED = [name for name in ALL if importlib.util.find_spec(name)]
BLOCK = 32 * 1024
"""Of a W&B file; no record's header crosses its border."""
Points = dict[tuple[str, int], list[float]]
"""By name and step, all values that were ever logged."""


def need(name: str) -> None:
    """Skip a test whose tracker is not here."""
    if name not in INSTALLED:
        pytest.skip(f"{name} is not installed; pip install 'mstar[{name}]'")


@dataclass
class Held:
    """One tracker's view of one run."""

    points: Points = field(default_factory=lambda: defaultdict(list))
    parameters: dict[str, Any] = field(default_factory=dict)
    pages: list[str] = field(default_factory=list)
    """Names of what was kept with the run."""
    names: set[str] = field(default_factory=set)
    """The run's own names; one, where a run is one run."""


def offline(folder: Path) -> dict[str, str]:
    """An environment in which all of them keep what they get below a folder."""
    return {
        "MLFLOW_TRACKING_URI": f"file:{folder / 'mlflow'}",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_DIR": str(folder),
    }


def read_held(name: str, folder: Path, output: Path) -> Held:
    """What a tracker holds, offline below `folder`, of the run in `output`."""
    match name:
        case "mlflow":
            return _read_mlflow(folder)
        case "wandb":
            return _read_wandb(folder)
        case _:
            return _read_tensorboard(output)


def expected_points(output: Path) -> Points:
    """The same from metrics.jsonl."""
    points: Points = {}
    for text in (output / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        iteration, stage = line.pop("iteration"), line.pop("stage")
        step = -1 if iteration is None else iteration
        for key, value in line.items():
            if isinstance(value, int | float):
                points[(f"{stage}/{key}", step)] = [pytest.approx(float(value))]
    return points


def _read_mlflow(folder: Path) -> Held:
    """The file store: a file per name, a line `time value step` per point."""
    held = Held()
    for values in folder.glob("mlflow/*/*/metrics/*/*"):
        for line in values.read_text().splitlines():
            _, value, step = line.split()
            held.points[(f"{values.parent.name}/{values.name}", int(step))].append(float(value))
    for parameter in folder.glob("mlflow/*/*/params/*"):
        held.parameters[parameter.name] = parameter.read_text()
    held.pages = [page.name for page in folder.glob("mlflow/*/*/artifacts/*")]
    held.names = {tag.read_text() for tag in folder.glob("mlflow/*/*/tags/mstar.run")}
    return held


def _read_wandb(folder: Path) -> Held:
    held = Held()
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for record in _wandb_records(file.read_bytes()):
            match record.WhichOneof("record_type"):
                case "run":
                    held.names.add(record.run.run_id)
                    for item in record.run.config.update:
                        held.parameters[item.key] = item.value_json
                case "history":
                    row = {
                        item.key or item.nested_key[0]: json.loads(item.value_json)
                        for item in record.history.item
                    }
                    for key, value in row.items():
                        if "/" in key:
                            held.points[(key, row["iteration"])].append(float(value))
                case "artifact":
                    held.pages += [entry.path for entry in record.artifact.manifest.contents]
    return held


def _wandb_records(data: bytes) -> Iterator[Any]:
    """A header of 7 bytes, then chunks: checksum, length, and whether a record begins or ends there."""
    from wandb.proto.wandb_internal_pb2 import Record

    place, whole = 7, b""
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole in one chunk, or its last one
            yield Record.FromString(whole)
            whole = b""


def _read_tensorboard(output: Path) -> Held:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(output / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    held = Held(names={"tensorboard"}, pages=["report.html"])
    for tag in events.Tags()["tensors"]:
        for event in events.Tensors(tag):
            held.points[(tag, event.step)].append(event.tensor_proto.float_val[0])
    return held
