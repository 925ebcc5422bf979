"""Where the text of a config comes from: a file of this machine, an object in a bucket, or the text itself.

Input paths in it are relative to the folder that it lies in; a text by itself lies nowhere, so it takes whole
paths and addresses only. A text has several lines, or is one mapping in braces, as a form takes it.
"""

import os
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mstar.addresses import BUCKET, is_address, joined, scheme_of
from mstar.errors import UserError
from mstar.yaml_text import parse_yaml

ORIGIN_OF_TEXT = "the config"


@dataclass(frozen=True, slots=True)
class Source:
    """A config's text, the name by which messages call it, and the folder that it lies in."""

    text: str
    origin: str
    folder: str | None

    def resolve(self, key: str, path: str) -> str:
        """A path in it as a whole path or address; UserError where it is relative to nothing."""
        if is_address(path) or os.path.isabs(path):
            return path if is_address(path) else os.path.normpath(path)
        if self.folder is None:
            raise UserError(
                f"{key} is {path}, and a config that is given as text lies in no folder; write a whole path "
                "or an address such as s3://bucket/key"
            )
        return (
            joined(self.folder, path)
            if is_address(self.folder)
            else os.path.normpath(f"{self.folder}/{path}")
        )

    def has(self, path: str) -> bool:
        """Whether there is something at a path beside it; in a bucket that is not looked for."""
        return self.folder is not None and not is_address(self.folder) and Path(self.folder, path).exists()


def read_source(source: str | Path) -> Source:
    """The text; UserError where it cannot be read."""
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
        return Source(source, ORIGIN_OF_TEXT, None)
    if is_address(source):
        return _read_object(str(source))
    return _read_file(Path(source))


def parse_mapping(source: Source) -> dict[str, Any]:
    """Its settings as a tree of plain values; UserError where they are no YAML mapping."""
    origin = source.origin
    try:
        tree = parse_yaml(source.text)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise UserError(
            f"{origin} is not YAML{line}: {getattr(error, 'problem', None) or 'unreadable'}; correct it there"
        ) from None
    if not isinstance(tree, dict):
        what = "empty" if tree is None else f"a {type(tree).__name__}"
        raise UserError(
            f"{origin} is {what}; a config is a mapping with at least name, output, model and data"
        )
    return tree


def _read_file(path: Path) -> Source:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; name a config file such as examples/quickstart/quickstart.yaml"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text; a config is a YAML file in UTF-8") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); a config is a YAML file") from None
    return Source(text, str(path), str(path.resolve().parent))


def _read_object(address: str) -> Source:
    """Where the server is, is said by the environment: the config that would say it lies there."""
    from mstar.config_storage import StorageSettings
    from mstar.storage.s3_inputs import InputBucket

    if scheme_of(address) != BUCKET:
        raise UserError(f"{address} is no place for a config; name a file, or an object at s3://bucket/key")
    folder, name = posixpath.split(address)
    bucket = InputBucket(folder, StorageSettings())
    try:
        with bucket.reading(name, bucket.look_at(name)) as path:
            text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{address} does not exist; name a config in a bucket that is there") from None
    except UnicodeDecodeError:
        raise UserError(f"{address} is not text; a config is a YAML file in UTF-8") from None
    return Source(text, address, folder)
