"""`mstar export`: a policy of a run as a plain Hugging Face folder, for transformers and whatever reads that.

Weights, configurations, tokenizer, image processor and chat template are copied as they are; what training
needs to go on stays behind. What a whole processor asks for besides, and training does not write, comes from
the model that the run started from. README.md is the model card (model_card.py). Weights are loaded only to
add an adapter to its base, on the CPU and in float32.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mstar.checkpoints import best_iteration
from mstar.config import Model
from mstar.errors import UserError
from mstar.inputs import ADAPTER_CONFIG
from mstar.model_card import write_card
from mstar.model_folders import PROCESSOR_FILES, fetch_from_hub, local_policy
from mstar.rundir import FIRST_POLICY, RunDir
from mstar.stage_notes import read_manifest
from mstar.starting import finished_iterations
from mstar.storage import describe
from mstar.storage.folder import SCRATCH, FolderStorage
from mstar.stored_names import TRAINING_STATE

MODEL_FILES = ("*.json", "*.safetensors", "*.bin", "*.jinja", "*.model", "*.txt")
LEFT_BEHIND = (
    TRAINING_STATE,
    "prm",
    "trainer_state",
    "optimizer",
    "scheduler",
    "rng_state",
    "training_args",
)
"""Beginnings of names that match these patterns and are no part of a model."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which policy is meant: the one after an iteration, the most accurate one, or the last."""

    iteration: int | None = None
    best: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export left."""

    folder: Path
    iteration: int
    """Whose policy it is: the one after this iteration."""
    bytes: int


def export(run: RunDir, folder: Path, choice: Choice, adapter: bool = False) -> Exported:
    """Copy a policy into a new folder, which appears whole or not at all.

    One that was trained as an adapter is merged with its base, unless the `adapter` alone is wanted.
    """
    _refuse_contents(folder)
    chosen = _choose(run, choice)
    policy, first = run.policy_after(chosen), run.local_config.model
    with _appearing(folder) as scratch:
        with run.policy_folder(policy) as source:
            _copy(source, first, MODEL_FILES, scratch)
        if policy != FIRST_POLICY:
            _refuse_damage(run, policy, scratch)
        _finish_weights(scratch, first, adapter)
        _copy(local_policy(run.config, weights=False), first, PROCESSOR_FILES, scratch)
        write_card(scratch / "README.md", run, chosen, adapter)
    return Exported(folder, chosen, sum(file.stat().st_size for file in folder.iterdir()))


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder to write into, which has the name `folder` once the block has ended well; else it is gone."""
    storage = FolderStorage(folder.absolute().parent)
    try:
        with storage.scratch() as scratch:
            scratch.mkdir()
            yield scratch
            if not storage.publish(scratch, folder.name):
                _refuse_contents(folder)
    finally:
        with suppress(OSError):  # others may be writing there
            (storage.root / SCRATCH).rmdir()


def _refuse_contents(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder; name another one, or move it away")


def _choose(run: RunDir, choice: Choice) -> int:
    """The iteration after which the policy was that."""
    if choice.best and choice.iteration is not None:
        raise UserError(f"--best and --iteration {choice.iteration} name two policies; give one of them")
    if choice.iteration is not None:
        return choice.iteration
    done = finished_iterations(run)
    if not done:
        raise UserError(
            f"{run.config.output} has no finished iteration yet, so its policy is still "
            f"{run.config.model.path}; start mstar run to go on with it"
        )
    return best_iteration(run, done - 1) if choice.best else done - 1


def _refuse_damage(run: RunDir, policy: str, copied: Path) -> None:
    """UserError where a file is not the one that training left."""
    prefix, _, checkpoint = policy.rpartition("/")
    manifest = read_manifest(run.storage, prefix)
    for stored, entry in manifest.files.items() if manifest else ():
        folder, _, name = stored.partition("/")
        if folder == checkpoint and (copied / name).is_file() and describe(copied / name) != entry:
            raise UserError(f"{policy}/{name} is damaged; start mstar run, which trains that policy again")


def _finish_weights(folder: Path, base: Model, adapter: bool) -> None:
    """An adapter is merged with its base, or told where that is; whole weights stay as they are."""
    if not (folder / ADAPTER_CONFIG).is_file():
        if adapter:
            raise UserError(
                "--adapter is given, and this policy is a whole model: train.lora.rank was null, or nothing "
                "has been learned yet; leave --adapter out"
            )
        return
    if adapter:
        settings = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        path = Path(base.path)
        settings["base_model_name_or_path"] = str(path.absolute()) if path.is_dir() else base.path
        (folder / ADAPTER_CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        (folder / "config.json").unlink()  # beside one, transformers looks for a whole model's weights
        return
    from mstar.models.adapters import ADAPTER_FILES
    from mstar.models.loading import write_merged

    write_merged(folder, base, folder)
    for pattern in ADAPTER_FILES:
        for file in folder.glob(pattern):
            file.unlink()


def _copy(source: Path, first: Model, patterns: Sequence[str], target: Path) -> None:
    """The files of a model that match and are not there yet; `first` says which commit on a hub is meant."""
    folder = source
    if not source.is_dir():
        folder = fetch_from_hub("model.path", first.path, first.revision, *patterns)
    for pattern in patterns:
        for file in sorted(folder.glob(pattern)):
            if not file.name.startswith(LEFT_BEHIND) and not (target / file.name).exists():
                shutil.copyfile(file, target / file.name)
