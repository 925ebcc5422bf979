"""Where the files of a model are on this machine.

A folder is where it is. A model at `s3://bucket/prefix` is fetched into the cache of this machine (see
storage/cache.py), once for all processes, and stays in a folder of links as long as the process lives. A
model on a hub is fetched by the hub's own library, which also knows mirrors and works offline.
"""

import atexit
import hashlib
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mstar.addresses import BUCKET, scheme_of
from mstar.config import Config
from mstar.config_storage import StorageSettings
from mstar.errors import UserError
from mstar.stored_names import TRAINING_STATE

if TYPE_CHECKING:
    from mstar.storage.s3_inputs import InputBucket

PROBE = "probe.json"
"""What training notes of a policy's weights; see models.probe."""
PROCESSOR_FILES = ("processor_config.json", "video_preprocessor_config.json")
"""Settings of a whole processor, which we never build: its image processor and its tokenizer do."""
IGNORED = (TRAINING_STATE, "README", ".", PROBE)
"""Beginnings of file names in a model's folder that change no response."""
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx")


def local_policy(config: Config, weights: bool = True) -> Path:
    """The folder of the first policy, or its id on a hub, whose library fetches what is read of it. Without
    `weights`, those of an address are not fetched.
    """
    path = config.model.path
    return fetched(path, config.storage, weights) if scheme_of(path) == BUCKET else Path(path)


def local_prm(config: Config) -> Path:
    """The folder of the process reward model."""
    path, revision = str(config.score.prm), config.score.prm_revision
    if scheme_of(path) == BUCKET:
        return fetched(path, config.storage)
    folder = Path(path)
    return folder if folder.is_dir() else fetch_from_hub("score.prm", path, revision)


@cache
def fetched(address: str, storage: StorageSettings, weights: bool = True) -> Path:
    """A local folder with the files of a model at an address, as long as this process lives."""
    held = ExitStack()
    atexit.register(held.close)
    names = [name for name in names_of(address, storage) if weights or not name.endswith(WEIGHTS)]
    return held.enter_context(open_model(address, storage).reading_all(names))


def has_file(address: str, name: str, storage: StorageSettings) -> bool:
    """Whether a model at an address has a file of this name."""
    try:
        open_model(address, storage).look_at(name)
    except FileNotFoundError:
        return False
    return True


def stored_identity(address: str, storage: StorageSettings) -> str:
    """One hash over the files of a model at an address: that of a folder with the same files.

    mstar's own uploads say their hashes; others are fetched for theirs, once.
    """
    bucket = open_model(address, storage)
    lines = [f"{name} {bucket.sha256(name, bucket.look_at(name))}\n" for name in names_of(address, storage)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def names_of(address: str, storage: StorageSettings) -> list[str]:
    """The files of a model at an address that change its responses."""
    entries = open_model(address, storage).entries()
    return sorted(name for name, entry in entries.items() if entry and not name.startswith(IGNORED))


@cache
def open_model(address: str, storage: StorageSettings) -> "InputBucket":
    try:
        from mstar.storage.s3_inputs import InputBucket
    except ModuleNotFoundError:
        raise UserError(f"{address} needs a client: pip install 'mstar[s3]'") from None
    return InputBucket(address, storage)


def fetch_from_hub(key: str, model: str, revision: str | None, *patterns: str) -> Path:
    """The folder of the hub's cache with the files of a model, or with those that match; `key` is the
    setting.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns) or None))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        reason = next(iter(str(error).split("\n")), type(error).__name__)
        raise UserError(
            f"{key} is {model}, which is no folder here, and the hub does not give its files "
            f"({reason[:160]}); check the network, or set HF_TOKEN if it needs a login"
        ) from None
