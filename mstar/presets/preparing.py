"""prepare: a preset from end to end.

Test sets and validation problems are written first and kept in mind; then the training problems stream by,
are compared with them, and go to train.jsonl. `provenance.json` is written last: with it the folder counts.
Which problems are drawn depends on the number of rows only, so the same source gives the same files.
"""

import json
import random
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import NamedTuple

from mstar.datasets.contamination import HeldOut, Kind
from mstar.datasets.files import DataFile
from mstar.errors import UserError
from mstar.presets.catalogue import Preset, PublishedSet, Split
from mstar.presets.pictures import Pictures
from mstar.presets.provenance import Provenance, Written, hashes_of
from mstar.presets.reading import Usable, usable
from mstar.presets.screening import Screen
from mstar.presets.sources import Source, find_archives, open_split, pinned
from mstar.presets.writing import open_output, place_of, writing, writing_problems
from mstar.progress import Progress
from mstar.storage import Storage
from mstar.stored_records import Unreadable, read_record
from mstar.wording import counted

PROVENANCE, MATCHES = "provenance.json", "contamination.jsonl"
TRAIN, REST, VALIDATION, HELDOUT = "train", "rest", "validation", "heldout"
SMALLEST_SHARE = 10
"""At most one row in so many is drawn for validation, and as many to be held out."""

Pass = Callable[[Sequence[Usable]], Iterable[Usable]]


class Opened(NamedTuple):
    """A split of a set, and which of its rows are meant."""

    published: PublishedSet
    split: Split
    source: Source
    find_archives: Callable[[], Sequence[DataFile]]
    rows: Sequence[int]


class Drawn(NamedTuple):
    """Which rows of a training split go where, each rising."""

    validation: Sequence[int]
    heldout: Sequence[int]
    train: Sequence[int]
    rest: Sequence[int]


def prepare(
    preset: Preset, addresses: Mapping[str, str], output: str, drop: Kind | None, progress: Progress
) -> Provenance:
    """Write a preset's files to a folder or a bucket; `addresses` are those of sets that are not read where
    they are published.
    """
    with open_output(output) as storage:
        found = {one.name: pinned(addresses.get(one.name, one.address)) for one in preset.sets}
        done = Provenance(preset.name, drop=drop)
        if PROVENANCE in storage.keys(PROVENANCE):
            before = prepared_before(storage, output, done, made_from(preset, found))
            progress.note(f"{output} holds just this already; it stays as it is")
            return before
        writer = PresetWriter(output, storage, done, progress)
        for published in preset.tests:
            for split in published.splits:
                if split.role == "test":
                    opened = open_all(published, split, found[published.name])
                    writer.write_held_out(published.name + split.suffix, opened)
        if preset.train:
            writer.write_training(preset.train, found[preset.train.name], preset.most_train)
        if name := first_changed(storage, done):
            raise UserError(
                f"{place_of(output, name)} was written by somebody else meanwhile; name another folder with "
                "--output, or start again when the other one has ended"
            )
        with writing(storage, PROVENANCE) as file:
            file.write(json.dumps(asdict(done), indent=2, ensure_ascii=False).encode() + b"\n")
    return done


def open_all(published: PublishedSet, split: Split, address: str) -> Opened:
    source = open_split(published, split, address)
    return Opened(published, split, source, partial(find_archives, published, address), range(len(source)))


def made_from(preset: Preset, addresses: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The hashes of all files that a preset is made from, by the address of the split."""
    wanted = [(one, split) for one in preset.tests for split in one.splits if split.role == "test"]
    if preset.train:
        wanted += [(preset.train, split) for split in preset.train.splits if split.role != "test"]
    sources = [open_split(one, split, addresses[one.name]) for one, split in wanted]
    return {source.address: hashes_of(source) for source in sources}


def prepared_before(
    storage: Storage, output: str, asked: Provenance, sources: Mapping[str, Mapping[str, str]]
) -> Provenance:
    """What was prepared where the same is asked for once more; UserError where it is something else."""
    try:
        found = read_record(storage, PROVENANCE, Provenance)
        differences = {
            "another preset": found.preset != asked.preset,
            "another --drop": found.drop != asked.drop,
            "another version of mstar": found.mstar != asked.mstar,
            "other sources": {one.address: one.made_from for one in found.files.values()} != sources,
            "files that were changed since": first_changed(storage, found) is not None,
        }
    except Unreadable:
        differences = {"a damaged note": True}
    if because := [why for why, differs in differences.items() if differs]:
        raise UserError(
            f"{output} holds a prepared preset ({PROVENANCE}), with {because[0]}; delete it, or name another "
            "with --output"
        )
    return found


def first_changed(storage: Storage, done: Provenance) -> str | None:
    """The first file that is not what was written."""
    for name, file in done.files.items():
        try:
            is_same = storage.describe(name).sha256 == file.sha256
        except FileNotFoundError:
            is_same = False
        if not is_same:
            return name
    return None


class PresetWriter:
    """Writes the files of one preset, and notes what they are."""

    def __init__(self, output: str, storage: Storage, done: Provenance, progress: Progress) -> None:
        self._output = output
        self._storage = storage
        self._done = done
        self._progress = progress
        self._held_out = HeldOut()

    def write_held_out(self, name: str, opened: Opened) -> None:
        """A test set or validation problems, which training problems are compared with."""

        def remember(batch: Sequence[Usable]) -> Iterator[Usable]:
            for one in batch:
                self._held_out.add(name, one.problem, [image.picture for image in one.images])
                yield one

        self._write(name, opened, remember)

    def write_training(self, published: PublishedSet, address: str, most_train: int | None) -> None:
        """Training problems, what is drawn from them, and what is left over."""
        splits = {split.role: split for split in published.splits}
        opened = open_all(published, splits["train"], address)
        drawn = draw(published, len(opened.source), most_train)
        if "validation" in splits:
            self.write_held_out(VALIDATION, open_all(published, splits["validation"], address))
        for name, rows in ((VALIDATION, drawn.validation), (HELDOUT, drawn.heldout)):
            if rows:
                self.write_held_out(name, opened._replace(rows=rows))
        with writing(self._storage, MATCHES) as notes:
            screen = Screen(self._held_out, self._done.drop, notes)
            for name, rows in ((TRAIN, drawn.train), (REST, drawn.rest)):
                if rows:
                    self._write(name, opened._replace(rows=rows), screen.passed)
        self._done.matches = {test: dict(kinds) for test, kinds in screen.found.items()}
        self._done.dropped = screen.dropped
        for line in screen.said():
            self._progress.note(line)

    def _write(self, name: str, opened: Opened, passed: Pass) -> None:
        published, source = opened.published, opened.source
        written = Written(
            published.title, published.licence, published.paper, source.address, hashes_of(source)
        )
        with (
            Pictures(self._storage, source.images, opened.find_archives) as pictures,
            writing_problems(self._storage, f"{name}.jsonl") as file,
            self._progress.task(name, len(opened.rows), "rows") as advance,
        ):
            for batch in usable(source, opened.rows, opened.split, pictures, written.left_out):
                for one in passed(batch):
                    file.add(one.problem, one.images)
                advance(len(batch))
            if not file.problems:
                why = next(iter(written.left_out.because), "none is for it")
                raise UserError(
                    f"{source.address} has no row for {name}.jsonl ({why}); name another source with --from"
                )
        written.problems, written.sha256 = file.problems, file.sha256
        written.renamed_ids, written.placed_images = file.renamed, file.placed
        self._done.files[f"{name}.jsonl"] = written
        left_out = f", {counted(written.left_out.rows, 'rows')} left out" if written.left_out.rows else ""
        place = place_of(self._output, f"{name}.jsonl")
        self._progress.note(f"{place}: {counted(written.problems, 'problems')}{left_out}")


def draw(published: PublishedSet, rows: int, most_train: int | None) -> Drawn:
    """Rows that are drawn at random, always the same of as many."""
    most = rows // SMALLEST_SHARE
    validation, heldout = (min(n, most) for n in (published.drawn_validation, published.drawn_heldout))
    shuffled = iter(random.Random(published.name).sample(range(rows), rows))
    sizes = (validation, heldout, rows if most_train is None else most_train, rows)
    return Drawn(*(array("I", sorted(islice(shuffled, size))) for size in sizes))
