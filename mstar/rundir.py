"""The files of a run: its configuration, its iterations, and what a stage may expect to find.

    run.yaml  timing.json  start/evaluate/  iterations/003/{state.json, generate/, score/, ...}  report.html

Paths in it are relative to the run, so a run can be moved. What a stage folder holds is in stagedir.py.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from mstar.config import Config
from mstar.config_file import dump_config, parse_config
from mstar.datasets import ProblemFile, open_problems
from mstar.errors import UserError
from mstar.records import State, from_json, to_json
from mstar.stagedir import WHOLE, Manifest, Shard, StageDir, describe, differences, read_manifest
from mstar.storage import Storage, build_storage, write_text

STAGES = ("generate", "score", "select", "train", "evaluate", "adapt")
CHECKPOINT = "checkpoint"
FIRST_POLICY = "first"
"""How a State names the policy that the user gave, wherever that lies."""
MAY_CHANGE = (
    "output",
    "iterations.count",
    "model.path",
    "model.threads",
    "data.",
    "score.prm",
    "score.tokens_per_batch",
    "score.workers",
    "train.tokens_per_micro_batch",
    "train.checkpoint_every",
    "tracking.",
)
"""What does not change results, and paths: problems and models are known by their contents."""


class RunDir:
    """One run: its configuration, and the places of its files."""

    def __init__(self, storage: Storage, config: Config) -> None:
        self.storage = storage
        self.config = config
        self._problems: dict[str, ProblemFile] = {}

    @classmethod
    def create(cls, config: Config) -> "RunDir":
        """Start a run, or take up one that was started with the same configuration."""
        storage = build_storage(config.output)
        run = cls(storage, config)
        try:
            started = read_config(storage, config.output)
        except FileNotFoundError:
            run._write_config()
            return run
        old, new = started.model_dump(mode="json"), config.model_dump(mode="json")
        for key, before, after in differences(old, new):
            if run._has_begun() and not key.startswith(MAY_CHANGE):
                raise UserError(
                    f"{config.output} was started with {key} = {before}, now it is {after}; "
                    "put it back or choose another output"
                )
        if old != new:
            run._write_config()
        return run

    @classmethod
    def open(cls, output: str) -> "RunDir":
        """A run that was started before."""
        storage = build_storage(output)
        try:
            return cls(storage, read_config(storage, output))
        except FileNotFoundError:
            raise UserError(
                f"{output} is not a run (it has no run.yaml); start one with mstar run CONFIG"
            ) from None

    def stage(
        self, name: str, iteration: int | None, made_from: dict[str, Any], shard: Shard = WHOLE
    ) -> StageDir:
        """A stage's folder; `iteration` None is the evaluation of the policy that the run starts from."""
        return StageDir(self.storage, stage_prefix(name, iteration), made_from, shard)

    def timing(self, name: str, iteration: int | None) -> dict[str, Any]:
        """How long a stage took: see timing.py. Empty where that is not known."""
        try:
            text = self.storage.read(f"{stage_prefix(name, iteration)}/timing.json").read_text()
            return dict(json.loads(text))
        except (FileNotFoundError, ValueError):
            return {}

    def problems(self, path: str) -> ProblemFile:
        """A problem file, opened once: its ids and its hash are the same for every stage."""
        if path not in self._problems:
            self._problems[path] = open_problems(path)
        return self._problems[path]

    def manifest(self, name: str, iteration: int | None) -> Manifest | None:
        """What a finished stage left, or None."""
        return read_manifest(self.storage, stage_prefix(name, iteration))

    def state(self, iteration: int) -> State:
        """What an iteration starts from; iteration 0 starts from the configuration."""
        if iteration == 0:
            config = self.config
            return State(0, FIRST_POLICY, config.generate.temperature, config.seed)
        try:
            return from_json(
                State,
                self.storage.read(f"{iteration_prefix(iteration)}/state.json").read_text(encoding="utf-8"),
            )
        except (FileNotFoundError, ValueError):
            raise UserError(
                f"iteration {iteration} needs the decision of iteration {iteration - 1}; run its adapt first"
            ) from None

    def write_state(self, state: State) -> None:
        write_text(self.storage, f"{iteration_prefix(state.iteration)}/state.json", to_json(state))

    def policy_folder(self, policy: str) -> Path:
        """A local folder of the checkpoint that a State names."""
        try:
            return Path(self.config.model.path) if policy == FIRST_POLICY else self.storage.read(policy)
        except FileNotFoundError:
            raise UserError(
                f"the policy {policy} is gone; delete that train folder's manifest and start the run again"
            ) from None

    def policy_after(self, iteration: int) -> str:
        """The policy that an iteration ends with: its checkpoint, or the one it started from if nothing was
        selected.
        """
        prefix = stage_prefix("train", iteration)
        manifest = read_manifest(self.storage, prefix)
        if manifest is None:
            raise UserError(f"{prefix} is not finished; run mstar train for it first")
        return f"{prefix}/{CHECKPOINT}" if manifest.files else self.state(iteration).policy

    def policy_identity(self, policy: str) -> dict[str, Any]:
        """What tells one policy from another, for a fingerprint: the training that made it, or its files and
        sizes.
        """
        if policy == FIRST_POLICY:
            return model_identity(self.config.model.path)
        manifest = self.storage.read(f"{policy.removesuffix(CHECKPOINT)}manifest.json")
        return {"sha256": describe(manifest).sha256}

    def stage_file(self, name: str, iteration: int | None, file: str) -> Path:
        """A local path of a finished stage's file."""
        prefix = stage_prefix(name, iteration)
        try:
            return self.storage.read(f"{prefix}/{file}")
        except FileNotFoundError:
            raise UserError(f"{prefix}/{file} is missing; run mstar {name} for it first") from None

    def parts(self, name: str, iteration: int | None) -> list[Path]:
        """Local paths of a finished stage's Parquet parts, in order."""
        manifest = read_manifest(self.storage, stage_prefix(name, iteration))
        names = [file for file in manifest.files if file.endswith(".parquet")] if manifest else []
        return [self.stage_file(name, iteration, file) for file in names]

    def inputs(self, iteration: int | None, *names: str) -> dict[str, str]:
        """Identities of finished stages, for a fingerprint; UserError if one of them is not finished."""
        found = {}
        for name in names:
            prefix = stage_prefix(name, iteration)
            try:
                found[name] = describe(self.storage.read(f"{prefix}/manifest.json")).sha256
            except FileNotFoundError:
                raise UserError(f"{prefix} is not finished; run mstar {name} for it first") from None
        return found

    def _has_begun(self) -> bool:
        """True once a stage has left something."""
        return bool(self.storage.keys("start/") or self.storage.keys("iterations/"))

    def _write_config(self) -> None:
        write_text(self.storage, "run.yaml", dump_config(self.config))


def stage_prefix(name: str, iteration: int | None) -> str:
    return f"start/{name}" if iteration is None else f"{iteration_prefix(iteration)}/{name}"


def iteration_prefix(iteration: int) -> str:
    return f"iterations/{iteration:03d}"


def model_identity(path: str) -> dict[str, Any]:
    """A model's files and sizes, or its id on a hub."""
    files = sorted(file for file in Path(path).glob("*") if file.is_file())
    return {file.name: file.stat().st_size for file in files} or {"id": path}


def part_names(count: int) -> list[str]:
    """The names of a stage's Parquet parts."""
    return [f"part-{number:05d}.parquet" for number in range(count)]


def read_config(storage: Storage, output: str) -> Config:
    path = storage.read("run.yaml")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        tree = None
    if not isinstance(tree, dict):
        raise UserError(f"{output}/run.yaml is damaged; delete it and start the run again with its config")
    return parse_config(tree, f"{output}/run.yaml")


@contextmanager
def exclusive(output: Path) -> Iterator[None]:
    """Hold the run against a second process; the kernel lets go even after kill -9."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"another mstar is at work in {output}; wait for it or choose another output"
            ) from None
        yield
