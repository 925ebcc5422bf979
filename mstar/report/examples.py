"""Problems that show what changed: their images, and the greedy responses of the first and the last policy.

Which ones is decided by a hash of the problem's id, so nobody picks the flattering ones and the same run
always shows the same. Sizes are bounded here, so that the report stays a file that can be sent around.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from mstar.datasets import ProblemFile, Reading, load_image, open_problems
from mstar.errors import UserError
from mstar.records import ImageSource, Problem
from mstar.report.comparison import Comparison, Pair
from mstar.rundir import RunDir

MOST_IMAGES = 3
LARGEST_IMAGE_BYTES = 30_000
SIDES = (480, 360, 240, 160, 96)
"""Longest sides that are tried, in pixels, until an image is small enough."""
SMALL_SIDE = 200
"""Images up to this are kept pixel by pixel and shown enlarged."""
LONGEST_TEXT = 12_000
"""Characters of a response, a question or a choice that are shown; what is left out is said."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image inside the page; `address` None where it could not be read, with the reason."""

    address: str | None
    width: int = 0
    height: int = 0
    reason: str = ""

    @property
    def small(self) -> bool:
        return max(self.width, self.height) <= SMALL_SIDE

    @property
    def shown_width(self) -> int:
        """CSS pixels: small images are enlarged by a whole factor."""
        factor = max(1, min(4, 320 // max(1, self.width, self.height))) if self.small else 1
        return self.width * factor


@dataclass(frozen=True, slots=True)
class Example:
    problem: Problem
    pair: Pair
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Examples:
    gained: tuple[Example, ...] = ()
    lost: tuple[Example, ...] = ()
    trouble: str = ""
    """Why there are none although there should be."""


def pick_examples(run: RunDir, comparison: Comparison) -> Examples:
    """A few problems that the run has learned, and a few that it has unlearned."""
    gained, lost = comparison.gained, comparison.lost
    if not (gained or lost):
        return Examples()
    first = next(iter(run.config.data.tests.values()))
    try:
        file = open_problems(first, Reading.of(run.config))
        problems = _read_problems(file, [*gained, *lost])
    except (UserError, OSError) as error:
        return Examples(trouble=str(error))
    return Examples(_build(problems, gained), _build(problems, lost))


def embed_image(source: ImageSource) -> Picture:
    """The image, scaled down until it is small enough to be part of a page."""
    try:
        image = load_image(source)
    except (UserError, OSError) as error:
        return Picture(None, reason=str(error))
    if max(image.size) <= SMALL_SIDE:
        data = _encode(image, "PNG")
        if len(data) <= LARGEST_IMAGE_BYTES:
            return _picture(image, data, "png")
    for side in SIDES:
        image.thumbnail((side, side), reducing_gap=2.0)
        data = _encode(image, "JPEG")
        if len(data) <= LARGEST_IMAGE_BYTES:
            break
    return _picture(image, data, "jpeg")


def _read_problems(file: ProblemFile, pairs: Sequence[Pair]) -> dict[str, Problem]:
    """The problems of the pairs, by id; those that are no longer in the file are left out."""
    wanted = {pair.first.problem_id for pair in pairs}
    rows = [row for row, problem_id in enumerate(file.ids) if problem_id in wanted]
    return {problem.id: problem for problem in file.read(rows)}


def _build(problems: dict[str, Problem], pairs: Sequence[Pair]) -> tuple[Example, ...]:
    known = ((problems[pair.first.problem_id], pair) for pair in pairs if pair.first.problem_id in problems)
    return tuple(
        Example(problem, pair, tuple(embed_image(source) for source in problem.images[:MOST_IMAGES]))
        for problem, pair in known
    )


def _encode(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, quality=80)
    return buffer.getvalue()


def _picture(image: Image.Image, data: bytes, form: str) -> Picture:
    encoded = base64.b64encode(data).decode("ascii")
    return Picture(f"data:image/{form};base64,{encoded}", image.width, image.height)
