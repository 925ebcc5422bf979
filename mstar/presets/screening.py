"""Training problems that stand in test sets: found as they stream by, counted, noted, dropped on demand."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from mstar.datasets.contamination import KINDS, HeldOut, Kind, Match
from mstar.presets.reading import Usable
from mstar.wording import counted


class Screen:
    """Compares training problems with held-out ones; `notes` gets a line of JSON for every match."""

    def __init__(self, held_out: HeldOut, drop: Kind | None, notes: BinaryIO | None = None) -> None:
        self._search = held_out.search()
        self._dropped = frozenset(KINDS[: KINDS.index(drop) + 1] if drop else ())
        self._notes = notes
        self.found: dict[str, Counter[Kind]] = {}
        """By test set, the training problems that repeat one of its problems, by kind."""
        self.dropped = 0

    def passed(self, batch: Sequence[Usable]) -> Iterator[Usable]:
        """The problems of a batch that are not dropped."""
        self._search.look_at(image.picture for one in batch for image in one.images)
        for one in batch:
            matches = self._search.matches(one.problem, [image.picture for image in one.images])
            self._note(one.problem.id, matches)
            if self._dropped.isdisjoint(match.kind for match in matches):
                yield one
            else:
                self.dropped += 1

    def said(self) -> Iterator[str]:
        """What was found, a line for each test set."""
        for test, kinds in self.found.items():
            counts = ", ".join(f"{WORDS[kind]} {kinds[kind]:,}" for kind in KINDS if kinds[kind])
            yield f"training problems that stand in {test}: {counts}"
        if self.dropped:
            yield f"dropped: {counted(self.dropped, 'training problems')}"

    def _note(self, id: str, matches: Sequence[Match]) -> None:
        for match in matches:
            self.found.setdefault(match.test, Counter())[match.kind] += 1
            if self._notes is not None:
                note = {"kind": match.kind, "problem": id, "test": match.test, "test_problem": match.test_id}
                self._notes.write(json.dumps(note, ensure_ascii=False).encode() + b"\n")


WORDS: dict[Kind, str] = {
    "exact": "exactly",
    "near": "nearly",
    "image": "by an image, with another question,",
}
