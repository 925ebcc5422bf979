"""`mstar export`: a policy of a run as a plain Hugging Face folder, for transformers and whatever reads that.

Weights, configurations, tokenizer, image processor and chat template are copied as they are; what training
needs to go on stays behind. What a whole processor asks for besides, and training does not write, comes from
the model that the run started from. README.md is the model card (model_card.py). Loads no weights.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mstar.checkpoints import best_iteration
from mstar.config import Model
from mstar.errors import UserError
from mstar.model_card import write_card
from mstar.rundir import FIRST_POLICY, RunDir
from mstar.stagedir import read_manifest
from mstar.starting import finished_iterations
from mstar.storage import describe
from mstar.storage.folder import SCRATCH, FolderStorage

MODEL_FILES = ("*.json", "*.safetensors", "*.bin", "*.jinja", "*.model", "*.txt")
LEFT_BEHIND = (
    "training_state",
    "prm",
    "trainer_state",
    "optimizer",
    "scheduler",
    "rng_state",
    "training_args",
)
"""Beginnings of names that match these patterns and are no part of a model."""
PROCESSOR_FILES = ("processor_config.json", "video_preprocessor_config.json")
"""Settings of a whole processor; training writes its image processor and its tokenizer alone."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export left."""

    folder: Path
    iteration: int
    """Whose policy it is: the one after this iteration."""
    bytes: int


def export(run: RunDir, folder: Path, iteration: int | None, best: bool) -> Exported:
    """Copy the policy after an iteration (None: the last finished one; `best`: the most accurate on the first
    test set) into a new folder, which appears whole or not at all.
    """
    _refuse_contents(folder)
    chosen = _choose(run, iteration, best)
    policy = run.policy_after(chosen)
    with _appearing(folder) as scratch:
        with run.policy_folder(policy) as source:
            _copy(source, run.config.model, MODEL_FILES, scratch)
        if policy != FIRST_POLICY:
            _refuse_damage(run, policy, scratch)
        _copy(Path(run.config.model.path), run.config.model, PROCESSOR_FILES, scratch)
        write_card(scratch / "README.md", run, chosen)
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


def _choose(run: RunDir, iteration: int | None, best: bool) -> int:
    if best and iteration is not None:
        raise UserError(f"--best and --iteration {iteration} name two policies; give one of them")
    if iteration is not None:
        return iteration
    done = finished_iterations(run)
    if not done:
        raise UserError(
            f"{run.config.output} has no finished iteration yet, so its policy is still "
            f"{run.config.model.path}; start mstar run to go on with it"
        )
    return best_iteration(run, done - 1) if best else done - 1


def _refuse_damage(run: RunDir, policy: str, copied: Path) -> None:
    """UserError where a file is not the one that training left."""
    prefix, _, checkpoint = policy.rpartition("/")
    manifest = read_manifest(run.storage, prefix)
    for stored, entry in manifest.files.items() if manifest else ():
        folder, _, name = stored.partition("/")
        if folder == checkpoint and (copied / name).is_file() and describe(copied / name) != entry:
            raise UserError(f"{policy}/{name} is damaged; start mstar run, which trains that policy again")


def _copy(source: Path, first: Model, patterns: Sequence[str], target: Path) -> None:
    """The files of a model that match and are not there yet; `first` says which commit on a hub is meant."""
    folder = source if source.is_dir() else _download(first, patterns)
    for pattern in patterns:
        for file in sorted(folder.glob(pattern)):
            if not file.name.startswith(LEFT_BEHIND) and not (target / file.name).exists():
                shutil.copyfile(file, target / file.name)


def _download(first: Model, patterns: Sequence[str]) -> Path:
    """The folder of a hub's cache with these files, which are fetched where they are not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(first.path, revision=first.revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        reason = next(iter(str(error).split("\n")), type(error).__name__)
        raise UserError(
            f"model.path is {first.path}, which is no folder here, and the hub does not give its files "
            f"({reason[:160]}); check the network, or set HF_TOKEN if it needs a login"
        ) from None
