"""How messages show a value that somebody wrote."""

import json

LONGEST_QUOTE = 60
"""Characters of a wrong value that a message repeats."""


def quote(value: object) -> str:
    """A value in a message: as JSON, on one line, cut to a length that can be read."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = json.dumps(value, ensure_ascii=False, default=str).encode(errors="backslashreplace").decode()
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 3] + "..."


def printable(text: str) -> str:
    """The text on one line, with control characters spelled out."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
