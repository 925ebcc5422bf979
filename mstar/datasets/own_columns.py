"""Rows whose columns have names of the user's own (`data.columns`) become rows in mstar's keys.

What such files mostly lack is made up: an id from the place of the row, an answer type from the look of the
answer. `<image>` in a question marks the place of an image; how it is put to the model is in prompts.py.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from mstar.datasets.formats.mathv360k import answer_type
from mstar.datasets.placeholders import places_of
from mstar.datasets.rows import (
    OWN_ROWS,
    ROW,
    BadRow,
    Format,
    Row,
    read_answers,
    read_label,
    row_id,
)
from mstar.errors import UserError

NEEDED = ("question", "answer", "answers")
"""A row must have these columns under one name or the other: without golds nothing is learned."""
MADE_UP = ("id", "answer_type")


def own_columns(columns: Mapping[str, str]) -> Format:
    """The format of files in which mstar's keys have these names; a file may have mstar's own ones all the
    same.
    """
    if not columns:
        return OWN_ROWS
    convert = partial(to_our_row, columns)
    required = [group for group in OWN_ROWS.required if not set(group) & set(MADE_UP)]
    return Format(
        name=f"{OWN_ROWS.name} {dict(sorted(columns.items()))}",
        known=OWN_ROWS.known | set(columns.values()),
        label=lambda row, source: read_label(convert(row), source),
        convert=convert,
        label_columns=tuple(name for key in ("id", "source") for name in names_of(key, columns)),
        required=(
            *(tuple(name for key in group for name in names_of(key, columns)) for group in required),
            *(names_of(key, columns) for key in columns),
        ),
        image_columns=frozenset(name for key in OWN_ROWS.image_columns for name in names_of(key, columns)),
        own_names=columns,
        numbered=True,
    )


def parse_columns(given: Sequence[str]) -> dict[str, str]:
    """From `question=problem`; UserError for anything else."""
    pairs = [text.partition("=") for text in given]
    for key, equals, name in pairs:
        if key not in OWN_ROWS.known or not equals or not name:
            known = ", ".join(sorted(OWN_ROWS.known))
            raise UserError(
                f"--column is {key}{equals}{name}; write KEY=NAME, such as question=problem; keys are {known}"
            )
    found = {key: name for key, _, name in pairs}
    if len(found) < len(pairs):
        raise UserError(f"--column is {', '.join(given)}; name each key once")
    return found


def names_of(key: str, columns: Mapping[str, str]) -> tuple[str, ...]:
    """Under which names a key may be found, the user's first."""
    return (columns[key], key) if key in columns else (key,)


def to_our_row(columns: Mapping[str, str], row: Row) -> Row:
    """A row in mstar's own keys; BadRow where it lacks what it needs."""
    taken = set(columns.values()) - columns.keys()
    ours = {key: value for key, value in row.items() if key in OWN_ROWS.known and key not in taken}
    ours |= {key: row[name] for key, name in columns.items() if name in row}
    if ours.get("id") is None:
        ours["id"] = row_id(row)
    for key in NEEDED:
        if key in columns and key not in ours:
            there = ", ".join(name for name in row if name != ROW)
            raise BadRow([f"{key} is missing: data.columns names {columns[key]}, the row has {there}"])
    if ours.get("answer_type") is None and not ours.get("choices"):
        ours["answer_type"] = guessed_type(ours)
    return ours | places_of(ours.get("question"))


def refuse_unseen(path: str | Path, columns: Mapping[str, str], seen: Collection[str]) -> None:
    """UserError where no row has a column that the user has named; `seen` are the keys of all."""
    for key, name in columns.items():
        if seen and key not in seen and name not in seen:
            raise UserError(
                f"{path} has no column {name}, which data.columns.{key} names; it has "
                f"{', '.join(sorted(seen))}; correct the name"
            )


def guessed_type(row: Row) -> str:
    """By the first gold answer: yes or no, a number, else text."""
    try:
        golds = read_answers(row)
    except ValueError:
        return "text"  # read_answer says what is wrong
    return answer_type(golds[0]) if golds else "text"
