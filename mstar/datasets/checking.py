"""check_problems looks at every row and every image and names all that is wrong; print_check prints it.

A row that is bad is counted nowhere else. Each image file is decoded once, however many problems share it.
"""

import difflib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mstar.datasets.images import UnreadableImage, decode_image
from mstar.datasets.opening import open_problems
from mstar.datasets.problem_file import ProblemFile, row_name
from mstar.datasets.rows import BadRow, printable
from mstar.records import ImageSource, Problem

if TYPE_CHECKING:
    from rich.console import Console

IMAGE_COUNTS = ("0", "1", "several")


@dataclass(frozen=True, slots=True)
class Flaw:
    """One bad row: its number from 1, its id where it has one, and all that is wrong with it on one line."""

    row: int
    id: str | None
    reason: str

    def __str__(self) -> str:
        return f"{row_name(self.row, self.id)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a file of problems holds. The counts are of good rows, `unknown_keys` of all rows."""

    path: str
    rows: int
    answer_types: dict[str, int]
    sources: dict[str, int]
    images: dict[str, int]
    """Problems with 0, 1 and several images."""
    unknown_keys: dict[str, int]
    """Rows with each key that means nothing here."""
    nearest_keys: dict[str, str]
    """For unknown keys that look misspelt: the known key that was probably meant."""
    bad: tuple[Flaw, ...]


def check_problems(path: str | Path) -> CheckResult:
    """Look at every row and decode every image at a path; UserError only where nothing can be read at all."""
    file = open_problems(path)
    answer_types, sources, images = (
        Counter[str](),
        Counter[str](),
        Counter[str](dict.fromkeys(IMAGE_COUNTS, 0)),
    )
    unknown_keys = Counter(file.unknown_columns)
    examiner = Examiner(file)
    flaws = []
    for number, (row, outcome) in enumerate(file.scan(range(len(file))), start=1):
        unknown_keys.update(key for key in row if key not in file.format.known)
        id, reasons = examiner.examine(number, outcome)
        if reasons or not isinstance(outcome, Problem):
            flaws.append(Flaw(number, id, "; ".join(reasons)))
            continue
        answer_types[outcome.answer_type] += 1
        sources[outcome.source] += 1
        images[IMAGE_COUNTS[min(len(outcome.images), 2)]] += 1
    return CheckResult(
        path=str(path),
        rows=len(file),
        answer_types=dict(answer_types.most_common()),
        sources=dict(sources.most_common()),
        images=dict(images),
        unknown_keys=dict(unknown_keys.most_common()),
        nearest_keys=nearest_keys(unknown_keys, file.format.known),
        bad=tuple(flaws),
    )


class Examiner:
    """Finds what is wrong with rows one after the other; remembers ids and image files that it has seen."""

    def __init__(self, file: ProblemFile) -> None:
        self._folder = file.path.parent.absolute()
        self._rows: dict[str, int] = {}
        self._images: dict[str, str | None] = {}

    def examine(self, number: int, outcome: Problem | BadRow) -> tuple[str | None, list[str]]:
        """The id of a row, if it has one, and all that is wrong with it."""
        id = outcome.id
        reasons = [str(outcome)] if isinstance(outcome, BadRow) else self._image_reasons(outcome)
        if id is not None and self._rows.setdefault(id, number) != number:
            reasons.append(f"its id was used before, in row {self._rows[id]}")
        return id, reasons

    def _image_reasons(self, problem: Problem) -> list[str]:
        found = [
            self._image_reason(image, position) for position, image in enumerate(problem.images, start=1)
        ]
        return [reason for reason in found if reason is not None]

    def _image_reason(self, image: ImageSource, position: int) -> str | None:
        if image.path is None:
            wrong = what_is_wrong(image)
            return wrong and f"image {position} {wrong}"
        if image.path not in self._images:
            self._images[image.path] = what_is_wrong(image)
        wrong = self._images[image.path]
        shown = Path(image.path)
        name = shown.relative_to(self._folder) if shown.is_relative_to(self._folder) else shown
        return wrong and f"image {name} {wrong}"


def what_is_wrong(image: ImageSource) -> str | None:
    try:
        decode_image(image)
    except UnreadableImage as error:
        return str(error)
    return None


def nearest_keys(unknown: Mapping[str, int], known: frozenset[str]) -> dict[str, str]:
    """Unknown keys that look like a known one misspelt."""
    near = {key: difflib.get_close_matches(key.lower(), sorted(known), 1, 0.75) for key in unknown}
    return {key: matches[0] for key, matches in near.items() if matches}


def print_check(result: CheckResult, console: "Console") -> None:
    """The counts as tables (plain lines when not on a terminal), then every bad row on a line of its own."""
    counts = {
        "answer type": result.answer_types,
        "source": result.sources,
        "images per problem": result.images,
    }
    for title, table in counts.items():
        print_counts(title, table, console)
    for key, rows in result.unknown_keys.items():
        meant = f"; did you mean {result.nearest_keys[key]}?" if key in result.nearest_keys else ""
        print_line(f"ignored key {key}: {rows} rows{meant}", console)
    for flaw in result.bad:
        print_line(str(flaw), console)
    good = result.rows - len(result.bad)
    print_line(f"{result.path}: {result.rows} rows, {good} good, {len(result.bad)} bad", console)


def print_counts(title: str, counts: Mapping[str, int], console: "Console") -> None:
    from rich.table import Table
    from rich.text import Text

    if not console.is_terminal:
        for name, problems in counts.items():
            print_line(f"{title} {name}: {problems} problems", console)
        return
    table = Table(title, "problems")
    table.columns[1].justify = "right"
    for name, problems in counts.items():
        table.add_row(Text(name), str(problems))
    console.print(table)


def print_line(text: str, console: "Console") -> None:
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
