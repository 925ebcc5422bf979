"""Single values of rows as a person would write them."""

import math
from collections.abc import Sequence
from decimal import Decimal

from mstar.datasets.quoting import quote


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


def whole(text: str, name: str) -> str:
    """The text itself; ValueError if it holds half a character (a lone surrogate), which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} holds a broken character at position {error.start + 1}: {quote(text)}"
        ) from error
    return text
