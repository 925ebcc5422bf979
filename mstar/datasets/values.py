"""Single values of rows: as a person would write them, and as messages repeat them."""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal

from mstar.addresses import BUCKET, scheme_of

LONGEST_QUOTE = 60
"""Characters of a wrong value that a message repeats."""
LONGEST_PATH = 4096
"""Characters of a path; Linux has no longer ones."""


def written(value: object, name: str) -> str:
    """Text, a number or a truth value the way a person would write it; ValueError for anything else."""
    match value:
        case str():
            return whole(value, name)
        case bool():
            return "yes" if value else "no"
        case int():
            return str(value)
        case float() | Decimal() if math.isfinite(value):
            digits = format(Decimal(str(value)), "f")
            plain = digits.rstrip("0").rstrip(".") if "." in digits else digits
            return "0" if plain == "-0" else plain
    raise ValueError(f"{name} is {quote(value)}; it must be text or a finite number")


def written_each(values: Sequence[object], name: str) -> tuple[str, ...]:
    for position, value in enumerate(values, start=1):
        if value is None or (isinstance(value, str) and not value.strip()):
            raise ValueError(f"{name} {position} is {'null' if value is None else 'empty'}")
    return tuple(written(value, f"{name} {position}") for position, value in enumerate(values, start=1))


def listed(value: object) -> object:
    """The list in a cell of a CSV file, where it is written as JSON; everything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def whole(text: str, name: str) -> str:
    """The text itself; ValueError if it holds half a character (a lone surrogate), which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} holds a broken character at position {error.start + 1}: {quote(text)}"
        ) from error
    return text


def reachable(path: str, name: str) -> str:
    """The path or address of an image itself; ValueError if nothing can ever be read there."""
    if len(path) > LONGEST_PATH:
        raise ValueError(f"{name} is a text of {len(path):,} characters, no path; write Base64 as bytes")
    scheme = "data" if path.startswith("data:") else scheme_of(path)
    bucket, _, key = path.partition("://")[2].partition("/")
    if scheme == BUCKET and not (bucket and key.strip("/")):
        raise ValueError(f"{name} is {quote(path)}, which names no object; write s3://bucket/key")
    if scheme not in (None, BUCKET):
        rule = "only files, bytes and s3://bucket/key are read"
        raise ValueError(f"{name} is {quote(path)}; {rule}; download it beside the file")
    return path


def quote(value: object) -> str:
    """A value in a message: as JSON, on one line, cut to a length that can be read."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = json.dumps(value, ensure_ascii=False, default=str).encode(errors="backslashreplace").decode()
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 3] + "..."


def printable(text: str) -> str:
    """The text on one line, with control characters spelled out."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
