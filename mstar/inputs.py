"""Identities of what a run reads from outside: models and problem files, by content.

A folder is known by the hashes of its files, so it may move; a model on a hub by its id and commit. A run
notes the identities at its first start in `inputs.json`; a later start with other contents is refused before
anything is written.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from mstar.addresses import BUCKET, HUB, is_address, scheme_of
from mstar.config import Config, Data
from mstar.config_storage import StorageSettings
from mstar.content_hashes import Stamp, remembered_sha256, stamp_of
from mstar.errors import UserError
from mstar.model_folders import IGNORED, has_file, stored_identity

ADAPTER_CONFIG = "adapter_config.json"


def problem_files(config: Config) -> Iterator[tuple[str, str]]:
    """The problem files of a run: (setting, path)."""
    yield "data.train", config.data.train
    if config.data.validation is not None:
        yield "data.validation", config.data.validation
    for name, path in config.data.tests.items():
        yield f"data.tests.{name}", path


class Models:
    """The models of a run, looked at once and again when their files here have changed."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._known: dict[str, tuple[list[tuple[str, Stamp]], str]] = {}

    def identity(self, key: str) -> str:
        """That of a setting's model."""
        stamps = model_stamps(dict(models(self.config))[key])
        if key not in self._known or self._known[key][0] != stamps:
            self._known[key] = stamps, identity_of_model(self.config, key)
        return self._known[key][1]


def identity_of_model(config: Config, key: str) -> str:
    """By what the model of a setting is known, wherever it lies."""
    path, revision = {
        "model.path": (config.model.path, config.model.revision),
        "score.prm": (str(config.score.prm), config.score.prm_revision),
    }[key]
    return stored_identity(path, config.storage) if is_address(path) else model_identity(key, path, revision)


def model_identity(key: str, path: str, revision: str | None) -> str:
    """One hash over a model folder's files, or a hub id with its commit; `key` is the setting."""
    folder = Path(path)
    if not folder.is_dir():
        if revision is None:
            raise missing_model(key, path)
        return f"{path}@{revision}"
    lines = "".join(f"{file.name} {remembered_sha256(file)}\n" for file in _model_files(folder))
    return hashlib.sha256(lines.encode()).hexdigest()


def model_stamps(path: str) -> list[tuple[str, Stamp]]:
    """By which a change of a model folder on this machine shows; empty for one elsewhere."""
    folder = Path(path)
    return [(file.name, stamp_of(file)) for file in _model_files(folder)] if folder.is_dir() else []


def _model_files(folder: Path) -> list[Path]:
    files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(IGNORED)]
    return sorted(files, key=lambda file: file.name)


def check_model_paths(config: Config) -> None:
    """UserError where the policy or the process reward model cannot be found."""
    for key, path in models(config):
        _check_model(key, path, config.storage)


def models(config: Config) -> Iterator[tuple[str, str]]:
    """The models of a run: (setting, path, address or id)."""
    yield "model.path", config.model.path
    if config.score.prm is not None:
        yield "score.prm", config.score.prm


def _check_model(key: str, path: str, storage: StorageSettings) -> None:
    """There must be a checkpoint in a folder or at an address; what looks like `owner/name` is left to the
    hub.
    """
    folder = Path(path)
    if is_address(path) and scheme_of(path) != BUCKET:
        raise missing_model(key, path)
    if is_address(path) or folder.is_dir():
        names = [name for name in (ADAPTER_CONFIG, "config.json") if _has_file(path, name, storage)]
        if ADAPTER_CONFIG in names:
            raise UserError(
                f"{key} is {path}, which holds an adapter; name a whole model, as mstar export without "
                "--adapter writes it"
            )
        if not names:
            raise UserError(
                f"{key} is {path}, a folder without config.json; name one that save_pretrained has written"
            )
    elif not looks_like_hub_id(path):
        raise missing_model(key, path)


def _has_file(path: str, name: str, storage: StorageSettings) -> bool:
    return has_file(path, name, storage) if is_address(path) else (Path(path) / name).is_file()


def looks_like_hub_id(path: str) -> bool:
    """Whether it is `owner/name`, and no path for another reason."""
    is_path = is_address(path) or Path(path).is_absolute() or path.startswith(".")
    return not is_path and path.count("/") == 1


def missing_model(key: str, path: str) -> UserError:
    return UserError(
        f"{key} is {path}, which does not exist; name a checkpoint folder, one at s3://bucket/prefix, or the "
        "id of a model on a hub"
    )


def pin_revisions(config: Config) -> Config:
    """The configuration with the commits of models on a hub, which branches or tags name today."""
    model, score = config.model, config.score
    model = model.model_copy(update={"revision": _commit("model.path", model.path, model.revision)})
    if score.prm is not None:
        commit = _commit("score.prm", score.prm, score.prm_revision)
        score = score.model_copy(update={"prm_revision": commit})
    return config.model_copy(update={"model": model, "score": score, "data": _pin_data(config.data)})


def _pin_data(data: Data) -> Data:
    """With the commits of data sets on a hub in their addresses."""
    tests = {name: _pin_problems(path) for name, path in data.tests.items()}
    validation = data.validation and _pin_problems(data.validation)
    return data.model_copy(
        update={"train": _pin_problems(data.train), "validation": validation, "tests": tests}
    )


def _pin_problems(path: str) -> str:
    if scheme_of(path) != HUB:
        return path
    from mstar.datasets.hub_files import pin

    return pin(path)


def _commit(key: str, path: str, revision: str | None) -> str | None:
    """The commit of a model on a hub; the revision as it is for any other."""
    if is_address(path) or Path(path).is_dir():
        return revision
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = Path(hf_hub_download(path, "config.json", revision=revision))
    except LocalEntryNotFoundError:
        raise UserError(
            f"{key} is {path}, which is no folder here, and the hub cannot be reached and has not "
            "been used for it before; name a checkpoint folder, or check the network"
        ) from None
    except (HfHubHTTPError, HFValidationError) as error:
        reason = next(iter(str(error).split("\n")), type(error).__name__)
        raise UserError(
            f"{key} is {path}, which is no folder here, and the hub does not give its "
            f"config.json ({reason[:160]}); correct the id, or set HF_TOKEN if it needs a login"
        ) from None
    return found.parent.name
