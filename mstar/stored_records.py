"""The small files of a run as records.

A file that says nothing (cut, edited, spoilt) is `Unreadable`, and whoever reads it does without. A server
that does not give it is another matter, a UserError as everywhere: nothing is made again, or deleted, because
keys have expired.
"""

import logging
from typing import TypeVar

from mstar.errors import WrongBytes
from mstar.records import from_json
from mstar.storage import Storage

Record = TypeVar("Record")
log = logging.getLogger("mstar")


class Unreadable(Exception):
    """The message is the reason."""


def read_record(storage: Storage, key: str, kind: type[Record]) -> Record:
    """FileNotFoundError if there is none; Unreadable if it is no such record."""
    return parse_record(read_small(storage, key), kind)


def read_if_whole(
    storage: Storage, key: str, kind: type[Record], otherwise: str = "it will be made again"
) -> Record | None:
    """None if there is none, or if it says nothing; that is told, with what is done about it."""
    try:
        return read_record(storage, key, kind)
    except FileNotFoundError:
        return None
    except Unreadable:
        log.warning("%s is damaged; %s", key, otherwise)
        return None


def read_small(storage: Storage, key: str) -> bytes:
    """FileNotFoundError if there is none; Unreadable where other bytes are stored than were written."""
    try:
        return storage.read(key)
    except WrongBytes:
        raise Unreadable("its bytes are not those that were written") from None


def parse_record(data: bytes, kind: type[Record]) -> Record:
    """Unreadable if it is no such record."""
    try:
        return from_json(kind, data.decode())
    except ValueError:
        raise Unreadable("it cannot be read: cut or edited") from None
