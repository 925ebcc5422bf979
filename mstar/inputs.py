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
from mstar.errors import UserError

ADAPTER_CONFIG = "adapter_config.json"
PROBE = "probe.json"
IGNORED = ("training_state", "README", ".", PROBE)
"""Beginnings of file names in a model's folder that change no response."""


def problem_files(config: Config) -> Iterator[tuple[str, str]]:
    """The problem files of a run: (setting, path)."""
    yield "data.train", config.data.train
    if config.data.validation is not None:
        yield "data.validation", config.data.validation
    for name, path in config.data.tests.items():
        yield f"data.tests.{name}", path


def model_identity(key: str, path: str, revision: str | None) -> str:
    """One hash over a model folder's files, or a hub id with its commit; `key` is the setting."""
    folder = Path(path)
    if not folder.is_dir():
        if revision is None:
            raise missing_model(key, path)
        return f"{path}@{revision}"
    names = sorted(
        file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith(IGNORED)
    )
    lines = "".join(f"{name} {remembered_sha256(folder / name)}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


def check_model_paths(config: Config) -> None:
    """UserError where the policy or the process reward model cannot be found."""
    _check_model(config.model.path, "model.path")
    if config.score.prm is not None:
        _check_model(config.score.prm, "score.prm")


def _check_model(path: str, key: str) -> None:
    """A path must be a checkpoint folder; what looks like `owner/name` is left to the hub."""
    folder = Path(path)
    if folder.is_dir():
        if (folder / ADAPTER_CONFIG).is_file():
            raise UserError(
                f"{key} is {path}, which holds an adapter; name a whole model, as mstar export without "
                "--adapter writes it"
            )
        if not (folder / "config.json").is_file():
            raise UserError(
                f"{key} is {path}, a folder without config.json; name one that save_pretrained has written"
            )
    elif folder.is_absolute() or path.startswith(".") or path.count("/") != 1 or key != "model.path":
        raise missing_model(key, path)


def missing_model(key: str, path: str) -> UserError:
    return UserError(
        f"{key} is {path}, which does not exist; name a checkpoint folder or the id of a model on a hub"
    )


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
