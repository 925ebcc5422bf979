"""Identities of what a run reads from outside: models and problem files, by content.

A folder is known by the hashes of its files, so it may move; a model on a hub by its id and commit. A run
notes the identities at its first start in `inputs.json`; a later start with other contents is refused before
anything is written.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from mstar.config import Config
from mstar.content_hashes import remembered_sha256
from mstar.datasets import ProblemFile
from mstar.errors import UserError

IGNORED = ("training_state", "README", ".")
"""Beginnings of file names in a model's folder that change no response."""


def problem_files(config: Config) -> Iterator[tuple[str, str]]:
    """The problem files of a run: (setting, path)."""
    yield "data.train", config.data.train
    if config.data.validation is not None:
        yield "data.validation", config.data.validation
    for name, path in config.data.tests.items():
        yield f"data.tests.{name}", path


def identities(config: Config, problems: dict[str, ProblemFile]) -> dict[str, str]:
    """The identity of every input by its setting; `problems` are the opened files by path."""
    found = {"model.path": model_identity(config.model.path, config.model.revision)}
    if config.score.prm is not None:
        found["score.prm"] = model_identity(config.score.prm)
    return found | {key: problems[path].identity for key, path in problem_files(config)}


def model_identity(path: str, revision: str | None = None) -> str:
    """One hash over a model folder's files, or a hub id with its commit."""
    folder = Path(path)
    if not folder.is_dir():
        return f"{path}@{revision}"
    names = sorted(
        file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith(IGNORED)
    )
    lines = "".join(f"{name} {remembered_sha256(folder / name)}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


def pin_revision(config: Config) -> Config:
    """The configuration with the commit of a model on a hub, which a branch or a tag names today."""
    model = config.model
    if Path(model.path).is_dir():
        return config
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = Path(hf_hub_download(model.path, "config.json", revision=model.revision))
    except LocalEntryNotFoundError:
        raise UserError(
            f"model.path is {model.path}, which is no folder here, and the hub cannot be reached and has not "
            "been used for it before; name a checkpoint folder, or check the network"
        ) from None
    except (HfHubHTTPError, HFValidationError) as error:
        reason = next(iter(str(error).split("\n")), type(error).__name__)
        raise UserError(
            f"model.path is {model.path}, which is no folder here, and the hub does not give its "
            f"config.json ({reason[:160]}); correct the id, or set HF_TOKEN if it needs a login"
        ) from None
    return config.model_copy(update={"model": model.model_copy(update={"revision": found.parent.name})})
