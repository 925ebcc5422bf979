"""compare_files: what of any training file stands in any test files, and the training problems without it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from mstar.datasets.contamination import HeldOut, Kind
from mstar.datasets.files import Reading
from mstar.datasets.opening import open_problems
from mstar.errors import UserError
from mstar.presets.pictures import Pictures
from mstar.presets.preparing import MATCHES, TRAIN
from mstar.presets.reading import LeftOut, Usable, usable
from mstar.presets.screening import Screen
from mstar.presets.sources import Source, source_of
from mstar.presets.writing import open_output, place_of, writing, writing_problems
from mstar.storage import Storage
from mstar.wording import counted


class Compared(NamedTuple):
    """`repeated` says whether a training problem itself stands in a test set, not only its image."""

    lines: list[str]
    repeated: bool


def compare_files(
    train: str, tests: Sequence[str], reading: Reading, drop: Kind | None, output: str | None
) -> Compared:
    """Look at every problem of these files; with `drop`, those that stay are written to the output."""
    if drop and output is None:
        raise UserError("--drop needs --output FOLDER, where the training problems that stay are written")
    sources = {place: source_of(open_problems(place, reading)) for place in (train, *tests)}
    held_out, lines = HeldOut(), list[str]()
    for place in dict.fromkeys(tests):
        for batch in batches(sources[place], None, lines):
            for one in batch:
                held_out.add(place, one.problem, [image.picture for image in one.images])
    with ExitStack() as stack:
        storage = None if output is None else stack.enter_context(open_output(output))
        notes = None if storage is None else stack.enter_context(writing(storage, MATCHES))
        rest = storage if drop else None
        file = None if rest is None else stack.enter_context(writing_problems(rest, f"{TRAIN}.jsonl"))
        screen = Screen(held_out, drop, notes)
        for batch in batches(sources[train], rest, lines):
            for one in screen.passed(batch):
                if file is not None:
                    file.add(one.problem, one.images)
    lines += screen.said()
    if output is not None and file is not None:
        lines.append(f"{place_of(output, TRAIN)}.jsonl: {counted(file.problems, 'problems')}")
    repeated = any(kinds["exact"] or kinds["near"] for kinds in screen.found.values())
    return Compared(lines or ["no training problem stands in a test set"], repeated)


def batches(source: Source, output: Storage | None, lines: list[str]) -> Iterator[list[Usable]]:
    """All problems that can be used, with their images in the output if one is given; lines say which
    cannot.
    """
    left_out = LeftOut()
    with Pictures(output, source.images) as pictures:
        yield from usable(source, range(len(source)), None, pictures, left_out)
    lines += [f"{source.address}: left out, {reason}" for reason in left_out.because]
    if left_out.rows > len(left_out.because):
        lines.append(f"{source.address}: {left_out.rows} rows are left out")
