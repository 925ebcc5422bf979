"""The files of a run: its configuration, its iterations, and what a stage may expect to find.

    run.yaml  inputs.json  start/evaluate/  iterations/003/{state.json, generate/, score/, ...}  report.html

Paths in it are relative to the run, so a run can be moved. What a stage folder holds is in stagedir.py.
"""

import hashlib
import json
import logging
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from mstar.addresses import is_address
from mstar.config import Config
from mstar.datasets import ProblemFile, Reading, open_problems
from mstar.datasets.index import have_changed
from mstar.errors import PolicyRemoved, UserError
from mstar.fingerprints import Fingerprint, settings_of
from mstar.inputs import Models, models, problem_files
from mstar.model_folders import local_policy
from mstar.records import State, to_json
from mstar.stage_notes import MANIFEST, TIMING, Manifest, read_removed, refuse_other_bytes
from mstar.stages import ADAPT, TRAIN, Stage, iteration_of, iteration_prefix, stage_prefix
from mstar.storage import Storage, write_text
from mstar.stored_names import CHECKPOINT, TRAINING_STATE, plain_name
from mstar.stored_records import Unreadable, parse_record, read_record, read_small

Result = TypeVar("Result")
log = logging.getLogger("mstar")
RUN, INPUTS, STATE = "run.yaml", "inputs.json", "state.json"
FIRST_POLICY = "first"
"""How a State names the policy that the user gave, wherever that lies."""
EARLIER_RESULTS = {"evaluate": "report.json", "adapt": "decision.json"}
"""Where version 0.1.0 kept what is now the result in the manifest."""


@dataclass(frozen=True)
class Finished:
    """A finished stage's files."""

    storage: Storage
    prefix: str
    manifest: Manifest

    @property
    def parts(self) -> list[str]:
        """Names of its Parquet files, in order."""
        return [name for name in sorted(self._stored) if name.endswith(".parquet")]

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """A local path of one of its files, as long as the block lasts."""
        stored, verb = self._stored[name], PurePosixPath(self.prefix).name
        key, sha256 = f"{self.prefix}/{stored}", self.manifest.files[stored].sha256
        with local_copy(self.storage, key, f"run mstar {verb} for it again", sha256) as path:
            yield path

    @cached_property
    def _stored(self) -> dict[str, str]:
        """Stored names by name."""
        return {plain_name(stored): stored for stored in self.manifest.files}


class RunDir:
    """One run: its configuration, and the places of its files."""

    def __init__(self, storage: Storage, config: Config) -> None:
        self.storage = storage
        self.config = config
        self._problems: dict[str, ProblemFile] = {}
        self._models = Models(config)
        self._noted: dict[str, str] = {}
        self._states: dict[int, State] = {}
        self._manifests: dict[str, tuple[Manifest, str]] = {}
        self._beside: dict[str, dict[str, bytes]] = {}
        self._absent: set[str] = set()
        self._last_finished = -1
        self._settings: dict[str, Fingerprint] = {}

    @cached_property
    def local_config(self) -> Config:
        """The configuration for whoever loads policies: where they are adapters, the base is fetched now, and
        its folder stands in place of its address.
        """
        if self.config.train.lora.rank is None or not is_address(self.config.model.path):
            return self.config
        model = self.config.model.model_copy(update={"path": str(local_policy(self.config))})
        return self.config.model_copy(update={"model": model})

    def settings(self, stage: Stage[Any]) -> Fingerprint:
        """Those that change a stage's files, by dotted key."""
        if stage.name not in self._settings:
            self._settings[stage.name] = settings_of(self.config, stage.name)
        return self._settings[stage.name]

    def problems(self, path: str) -> ProblemFile:
        """A problem file, opened once: its ids and its identity are the same for every stage."""
        if path not in self._problems:
            self._problems[path] = open_problems(path, Reading.of(self.config))
        return self._problems[path]

    def finished(self, stage: Stage[Any], iteration: int | None, folder_name: str = "") -> Finished:
        """A finished stage; UserError if it is not."""
        prefix = stage_prefix(folder_name or stage.name, iteration)
        manifest = self.manifest(prefix)
        if manifest is None:
            raise not_finished(prefix, stage)
        return Finished(self.storage, prefix, manifest)

    def is_finished(self, folder_name: str, iteration: int | None) -> bool:
        """Whether a stage folder has its manifest."""
        return self.manifest(stage_prefix(folder_name, iteration)) is not None

    def forget(self, prefix: str) -> None:
        """What is known of a stage's folder: somebody is about to look at it, or to write another one."""
        self._manifests.pop(prefix, None)
        self._beside.pop(prefix, None)
        self._absent.discard(prefix)

    def beside(self, prefix: str, name: str) -> bytes:
        """A small file in a finished stage's folder, read once (see `forget`); raises as `read_small`."""
        known = self._beside.setdefault(prefix, {})
        if name not in known:
            known[name] = read_small(self.storage, f"{prefix}/{name}")
        return known[name]

    def has_read(self, prefix: str, names: Collection[str]) -> bool:
        """Whether of these files in a stage's folder the manifest and what lies beside it were read."""
        read = {*self._beside.get(prefix, ()), *([MANIFEST] if prefix in self._manifests else [])}
        return read >= {MANIFEST, TIMING} & set(names)

    def result(self, stage: Stage[Result], iteration: int | None, folder_name: str = "") -> Result:
        """What a finished stage found; UserError if it is not finished."""
        return self.result_in(self.finished(stage, iteration, folder_name), stage)

    def result_in(self, finished: Finished, stage: Stage[Result]) -> Result:
        """The same of a stage whose manifest was read already."""
        plain = finished.manifest.result or finished.manifest.facts
        try:
            if not plain and stage.name in EARLIER_RESULTS:
                key = f"{finished.prefix}/{EARLIER_RESULTS[stage.name]}"
                plain = read_record(self.storage, key, dict)
            return parse_record(json.dumps(plain).encode(), stage.result)
        except (FileNotFoundError, Unreadable):
            raise UserError(
                f"{finished.prefix}/{MANIFEST} holds no result of {stage.name}; delete it and run "
                f"mstar {stage.name} for it again"
            ) from None

    def inputs(self, iteration: int | None, *stages: Stage[Any]) -> dict[str, str]:
        """Identities of finished stages, for a fingerprint; UserError if one of them is not finished."""
        return {f"inputs.{stage.name}": self.stage_identity(stage, iteration) for stage in stages}

    def stage_identity(self, stage: Stage[Any], iteration: int | None) -> str:
        """What tells a finished stage from the same one made otherwise; UserError if it is not finished."""
        prefix = stage_prefix(stage.name, iteration)
        found = self._manifest(prefix)
        if found is None:
            raise not_finished(prefix, stage)
        return found[1]

    def manifest(self, prefix: str) -> Manifest | None:
        """What a finished stage left, read once (see `forget`); None where it is not finished."""
        return found[0] if (found := self._manifest(prefix)) else None

    def _manifest(self, prefix: str) -> tuple[Manifest, str] | None:
        """A finished stage's manifest and the hash of its bytes, read once; None where there is none. What an
        iteration lacks when a later one is finished (test sets that are left out), it is not asked for again.
        """
        if prefix in self._absent:
            return None
        if prefix not in self._manifests:
            key, iteration = f"{prefix}/{MANIFEST}", iteration_of(prefix)
            try:
                data = read_small(self.storage, key)
                self._manifests[prefix] = parse_record(data, Manifest), hashlib.sha256(data).hexdigest()
            except FileNotFoundError:
                if iteration is not None and iteration < self._last_finished:
                    self._absent.add(prefix)
                return None
            except Unreadable:
                log.warning("%s is damaged; it will be made again", key)
                return None
            if iteration is not None and prefix == stage_prefix(ADAPT.name, iteration):
                self._last_finished = max(self._last_finished, iteration)
        return self._manifests[prefix]

    def state(self, iteration: int) -> State:
        """What an iteration starts from; iteration 0 starts from the configuration."""
        if iteration == 0:
            return State(0, FIRST_POLICY, self.config.generate.temperature, self.config.seed)
        state = self._stored_state(iteration)
        if state is None or state.iteration != iteration:
            raise UserError(
                f"iteration {iteration} needs the decision of iteration {iteration - 1}; run its adapt first"
            )
        return state

    def write_state(self, state: State) -> None:
        """Where it is there already, it stays."""
        if self._stored_state(state.iteration) != state:
            write_text(self.storage, f"{iteration_prefix(state.iteration)}/{STATE}", to_json(state))
            self._states[state.iteration] = state

    def _stored_state(self, iteration: int) -> State | None:
        """Read once: a decision stands."""
        if iteration not in self._states:
            try:
                found = read_record(self.storage, f"{iteration_prefix(iteration)}/{STATE}", State)
            except (FileNotFoundError, Unreadable):
                return None
            self._states[iteration] = found
        return self._states[iteration]

    @contextmanager
    def policy_folder(self, policy: str, goes_on: bool = False) -> Iterator[Path]:
        """The checkpoint that a State names, as a local folder; fit for training that `goes_on` if asked."""
        if policy == FIRST_POLICY:
            yield local_policy(self.config)
            return
        train, _, name = policy.rpartition("/")
        if name in read_removed(self.storage, train) and not self.storage.keys(f"{policy}/"):
            raise PolicyRemoved(int(PurePosixPath(train).parent.name), self.config.output)
        if manifest := self.manifest(train):
            refuse_other_bytes(self.storage, train, manifest, name, () if goes_on else (TRAINING_STATE,))
        remedy = "delete that train folder's manifest and start again"
        with local_copy(self.storage, policy, remedy) as path:
            yield path

    def policy_after(self, iteration: int) -> str:
        """The policy that an iteration ends with: its checkpoint, or the one it started from if nothing was
        selected.
        """
        finished = self.finished(TRAIN, iteration)
        files = [stored for stored in finished.manifest.files if plain_name(stored).startswith(CHECKPOINT)]
        return f"{finished.prefix}/{files[0].split('/')[0]}" if files else self.state(iteration).policy

    def policy_identity(self, policy: str) -> str:
        """What tells one policy from another, for a fingerprint: the training that made it, or its files."""
        if policy != FIRST_POLICY:
            train = str(PurePosixPath(policy).parent)
            found = self._manifest(train)
            return found[1] if found else self.storage.describe(f"{train}/{MANIFEST}").sha256
        return self.identity("model.path")

    def prm_identity(self) -> str | None:
        """The same for the process reward model; None where there is none."""
        return self.identity("score.prm") if self.config.score.prm else None

    def identity(self, key: str) -> str:
        """What lies at an input's address, by its setting; UserError where that is not what the run was
        started with.
        """
        present, noted = self.content_of(key), self.noted_identities().get(key)
        if noted not in (None, present):
            raise UserError(
                f"{self.config.output} was started with other contents of {key} ({str(noted)[:12]}, now "
                f"{present[:12]}); put them back or choose another output"
            )
        return present

    def content_of(self, key: str) -> str:
        """The same, whatever the run was started with; files here that have changed are looked at again."""
        if key in dict(models(self.config)):
            return self._models.identity(key)
        path = dict(problem_files(self.config))[key]
        known = None if is_address(path) else self._problems.get(path)
        if known and have_changed(known.files, known.stamps):
            del self._problems[path]
        return self.problems(path).identity

    def noted_identities(self) -> dict[str, str]:
        """What the inputs were like when the run was started, read once; empty before that."""
        if not self._noted:
            with suppress(FileNotFoundError, Unreadable):
                self._noted = read_record(self.storage, INPUTS, dict)
        return self._noted


def not_finished(prefix: str, stage: Stage[Any]) -> UserError:
    return UserError(f"{prefix} is not finished; run mstar {stage.name} for it first")


@contextmanager
def local_copy(storage: Storage, key: str, remedy: str, sha256: str | None = None) -> Iterator[Path]:
    """What the storage has at `key`, or UserError with the remedy where it is gone."""
    with ExitStack() as stack:
        try:
            path = stack.enter_context(storage.reading(key, sha256))
        except FileNotFoundError:
            raise UserError(f"{key} is gone from the run; {remedy}") from None
        yield path
