"""compare_files: what of any training file stands in any test files, and the training problems without it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mstar.datasets.contamination import HeldOut, Kind
from mstar.datasets.files import Reading
from mstar.datasets.opening import open_problems
from mstar.errors import UserError
from mstar.presets.pictures import Pictures
from mstar.presets.preparing import MATCHES, TRAIN
from mstar.presets.reading import LeftOut, Usable, usable
from mstar.presets.screening import Screen
from mstar.presets.sources import Source, source_of
from mstar.presets.writing import IMAGES, ProblemWriter, writing, writing_problems
from mstar.wording import counted


class Compared(NamedTuple):
    """`repeated` says whether a training problem itself stands in a test set, not only its image."""

    lines: list[str]
    repeated: bool


def compare_files(
    train: str, tests: Sequence[str], reading: Reading, drop: Kind | None, output: Path | None
) -> Compared:
    """Look at every problem of these files; with `drop`, those that stay are written to the folder."""
    if drop and output is None:
        raise UserError("--drop needs --output FOLDER, where the training problems that stay are written")
    sources = {place: source_of(open_problems(place, reading)) for place in (train, *tests)}
    held_out, lines = HeldOut(), list[str]()
    for place in dict.fromkeys(tests):
        for batch in batches(sources[place], None, lines):
            for one in batch:
                held_out.add(place, one.problem, [image.picture for image in one.images])
    with ExitStack() as stack:
        notes, file = open_output(output, drop is not None, stack)
        screen = Screen(held_out, drop, notes)
        for batch in batches(sources[train], output if drop else None, lines):
            for one in screen.passed(batch):
                if file is not None:
                    file.add(one.problem, one.images)
    lines += screen.said()
    if file is not None:
        lines.append(f"{output}/{TRAIN}.jsonl: {counted(file.problems, 'problems')}")
    repeated = any(kinds["exact"] or kinds["near"] for kinds in screen.found.values())
    return Compared(lines or ["no training problem stands in a test set"], repeated)


def open_output(
    output: Path | None, with_problems: bool, stack: ExitStack
) -> tuple[BinaryIO | None, ProblemWriter | None]:
    """Where matches and problems go."""
    if output is None:
        return None, None
    output.mkdir(parents=True, exist_ok=True)
    notes = stack.enter_context(writing(output / MATCHES))
    if not with_problems:
        return notes, None
    return notes, stack.enter_context(writing_problems(output / f"{TRAIN}.jsonl"))


def batches(source: Source, output: Path | None, lines: list[str]) -> Iterator[list[Usable]]:
    """All problems that can be used, with their images in the folder if one is given; lines say which
    cannot.
    """
    left_out = LeftOut()
    with Pictures(output and output / IMAGES, source.images) as pictures:
        yield from usable(source, range(len(source)), None, pictures, left_out)
    lines += [f"{source.address}: left out, {reason}" for reason in left_out.because]
    if left_out.rows > len(left_out.because):
        lines.append(f"{source.address}: {left_out.rows} rows are left out")
