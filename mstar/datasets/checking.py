"""check_problems looks at every row and every image and names all that is wrong (check_lines.py prints it).

All rows are read and counted. Images are decoded, formulas among the golds parsed and, where there is one,
the model's own check is asked for all of them, or for a sample of a large file. A row that is bad is counted
nowhere else. Each image file is decoded once, however many problems share it.
"""

import difflib
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mstar.addresses import is_address
from mstar.answers import AnswerChecker, Expected
from mstar.datasets.files import Reading
from mstar.datasets.images import UnreadableImage, decode_image
from mstar.datasets.odd_golds import odd_golds
from mstar.datasets.opening import AS_IT_IS, open_problems
from mstar.datasets.own_columns import refuse_unseen
from mstar.datasets.problem_file import ProblemFile, row_name
from mstar.datasets.row_groups import advise_row_groups
from mstar.datasets.rows import BadRow, Row
from mstar.records import ImageSource, Problem

ModelCheck = Callable[[Problem], str | None]
"""What is wrong with a problem for a model, as the rest of a line about its row; None if nothing is."""

STORED_TOGETHER = 64
"""Neighbours that are looked into in a bucket: they are fetched together."""
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
    """Problems with 0, 1 and several images; of a sample in a bucket, only those looked into."""
    unlabelled: int
    """Problems without an answer."""
    looked_into: int
    """Rows whose images were decoded: all of them, or the sample."""
    with_model: bool
    """Whether the model's own check was asked about these."""
    unknown_keys: dict[str, int]
    """Rows with each key that means nothing here."""
    nearest_keys: dict[str, str]
    """For unknown keys that look misspelt: the known key that was probably meant."""
    bad: tuple[Flaw, ...]
    odd: tuple[Flaw, ...]
    """Good rows whose gold or choices are unusual, which harms nothing."""
    advice: str | None = None
    """What would make reading the file cheaper."""


def check_problems(
    path: str | Path,
    check_with: ModelCheck | None = None,
    sample: int | None = None,
    reading: Reading = AS_IT_IS,
) -> CheckResult:
    """Look at every row and decode every image at a path; UserError only where nothing can be read at all.

    `check_with` says what is wrong with a problem for a model, or None. With `sample`, no more rows are
    looked into so closely, always the same; all are counted (images in a bucket in these alone).
    """
    file = open_problems(path, reading)
    is_stored = is_address(path)
    chosen = chosen_rows(len(file), sample, at_once=STORED_TOGETHER if is_stored else 1)
    counts = Counts(file)
    with AnswerChecker() as checker:
        examiner = Examiner(file, checker, check_with)
        for number, (row, outcome) in enumerate(scan(file, chosen, reading), start=1):
            closely = number - 1 in chosen
            reasons = examiner.examine(number, outcome, closely)
            counts.add(number, row, outcome, reasons, with_images=closely or not is_stored)
    refuse_unseen(path, file.format.own_names, counts.keys)
    return CheckResult(
        path=str(path),
        rows=len(file),
        answer_types=dict(counts.answer_types.most_common()),
        sources=dict(counts.sources.most_common()),
        images=dict(counts.images),
        unlabelled=counts.unlabelled,
        looked_into=len(chosen),
        with_model=check_with is not None,
        unknown_keys=dict(counts.unknown_keys.most_common()),
        nearest_keys=nearest_keys(counts.unknown_keys, file.format.known),
        bad=tuple(counts.bad),
        odd=tuple(counts.odd),
        advice=advise_row_groups(file),
    )


def chosen_rows(total: int, sample: int | None, at_once: int) -> Collection[int]:
    """The rows that are looked into: all, or as many as `sample` says, the same ones every time; so many
    neighbours at once.
    """
    if sample is None or sample >= total:
        return range(total)
    groups = range(-(-total // at_once))
    starts = random.Random(total).sample(groups, min(len(groups), -(-sample // at_once)))
    rows = (row for start in starts for row in range(start * at_once, min((start + 1) * at_once, total)))
    return frozenset(islice(rows, sample))


def scan(
    file: ProblemFile, chosen: Collection[int], reading: Reading
) -> Iterator[tuple[Row, Problem | BadRow]]:
    """Every row; in a bucket with the images of the chosen ones only."""
    rows = range(len(file))
    if not is_address(file.path) or len(chosen) == len(file):
        yield from file.scan(rows)
        return
    closely = open_problems(file.path, reading).scan(sorted(chosen))  # a reader of its own keeps its place
    for row, found in zip(rows, file.scan(rows, images=False), strict=True):
        yield next(closely) if row in chosen else found


class Counts:
    """What the rows of a file are: keys of all of them, what is wrong with bad ones, kinds of good ones."""

    def __init__(self, file: ProblemFile) -> None:
        self._known = file.format.known
        self.keys = set[str]()
        self.unknown_keys = Counter(file.unknown_columns)
        self.bad: list[Flaw] = []
        self.odd: list[Flaw] = []
        self.answer_types = Counter[str]()
        self.sources = Counter[str]()
        self.images = Counter(dict.fromkeys(IMAGE_COUNTS, 0))
        self.unlabelled = 0

    def add(
        self, number: int, row: Row, outcome: Problem | BadRow, reasons: list[str], *, with_images: bool
    ) -> None:
        self.keys.update(row)
        if not row.keys() <= self._known:
            self.unknown_keys.update(key for key in row if key not in self._known)
        if reasons or not isinstance(outcome, Problem):
            self.bad.append(Flaw(number, outcome.id, "; ".join(reasons)))
            return
        self.answer_types[outcome.answer_type] += 1
        self.sources[outcome.source] += 1
        if with_images:
            self.images[IMAGE_COUNTS[min(len(outcome.images), 2)]] += 1
        self.unlabelled += outcome.answer is None
        self.odd += [Flaw(number, outcome.id, odd) for odd in odd_golds(outcome)]


class Examiner:
    """Finds what is wrong with rows one after the other; remembers ids, formulas and image files."""

    def __init__(self, file: ProblemFile, checker: AnswerChecker, check_with: ModelCheck | None) -> None:
        self._folder = Path(file.path).parent.absolute()
        self._checker = checker
        self._check_with = check_with
        self._rows: dict[str, int] = {}
        self._images: dict[str, str | None] = {}
        self._formulas: dict[Expected, str | None] = {}

    def examine(self, number: int, outcome: Problem | BadRow, closely: bool) -> list[str]:
        """All that is wrong with a row; images, formula and model's check only if it is looked at closely."""
        reasons = [str(outcome)] if isinstance(outcome, BadRow) else []
        if closely and isinstance(outcome, Problem):
            reasons = self._closer_reasons(outcome)
        if outcome.id is not None and self._rows.setdefault(outcome.id, number) != number:
            reasons.append(f"its id was used before, in row {self._rows[outcome.id]}")
        return reasons

    def _closer_reasons(self, problem: Problem) -> list[str]:
        reasons = self._formula_reasons(problem) + self._image_reasons(problem)
        if self._check_with is not None and not reasons:
            reason = self._check_with(problem)
            reasons = [reason] if reason else []
        return reasons

    def _formula_reasons(self, problem: Problem) -> list[str]:
        """What is wrong with an answer that is an expression; each is parsed once."""
        if problem.answer is None or problem.answer_type != "expression":
            return []
        expected = problem.expected
        if expected not in self._formulas:
            self._formulas[expected] = what_is_wrong_with_gold(expected, self._checker)
        reason = self._formulas[expected]
        return [reason] if reason else []

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
        return wrong and f"image {self._shown(image.path)} {wrong}"

    def _shown(self, path: str) -> str:
        """As seen from the problem file, if it is below its folder."""
        is_below = not is_address(path) and Path(path).is_relative_to(self._folder)
        return str(Path(path).relative_to(self._folder)) if is_below else path


def what_is_wrong_with_gold(expected: Expected, checker: AnswerChecker) -> str | None:
    try:
        checker.check_gold(expected)
    except ValueError as error:
        return str(error)
    return None


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
