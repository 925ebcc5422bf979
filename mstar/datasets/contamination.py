"""Which training problems stand in a test set too, exactly or nearly.

Three kinds, the strictest first: `exact`, the same question about the same images byte for byte; `near`, the
same question in plain words about images that look the same; `image`, another question about an image that
looks the same. In questions case, spacing, punctuation and Unicode's spellings make no difference. Where
there are no images the choices count as part of the question: "Which of these is a solid?" is many problems.

The test sets are in memory, 1 KiB a problem; training problems are compared as they come.
"""

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from mstar.datasets.perceptual import NearImages
from mstar.records import Problem

Kind = Literal["exact", "near", "image"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NO_WORDS = re.compile(r"(?<!\d)\.|\.(?!\d)|[^\w+\-*/=<>^%√π.]+")
"""What makes no difference between questions: all but words, numbers and signs of arithmetic."""


class Picture(NamedTuple):
    """An image by its contents and by its look."""

    sha256: bytes
    look: bytes
    """See perceptual.py."""


class Match(NamedTuple):
    """A training problem and the test problem that it repeats."""

    kind: Kind
    test: str
    """The name of the test set."""
    test_id: str


@dataclass(slots=True)
class HeldOutProblem:
    test: str
    id: str
    question: bytes
    pictures: tuple[int, ...]


@dataclass
class HeldOut:
    """The problems of all test sets, to be searched."""

    problems: list[HeldOutProblem] = field(default_factory=list)
    _pictures: dict[Picture, int] = field(default_factory=dict)

    def add(self, test: str, problem: Problem, pictures: Sequence[Picture]) -> None:
        """Before the first search."""
        numbers = tuple(self._pictures.setdefault(one, len(self._pictures)) for one in pictures)
        self.problems.append(HeldOutProblem(test, problem.id, question_key(problem), numbers))

    def search(self) -> "Search":
        return Search(self.problems, list(self._pictures))


class Search:
    """Finds what training problems repeat."""

    def __init__(self, problems: Sequence[HeldOutProblem], pictures: Sequence[Picture]) -> None:
        self._problems = problems
        self._pictures = pictures
        self._near = NearImages([picture.look for picture in pictures])
        self._looks: dict[Picture, frozenset[int]] = {}
        self._by_question: dict[bytes, list[int]] = defaultdict(list)
        self._by_picture: dict[int, list[int]] = defaultdict(list)
        for place, problem in enumerate(problems):
            self._by_question[problem.question].append(place)
            for number in dict.fromkeys(problem.pictures):
                self._by_picture[number].append(place)

    def look_at(self, pictures: Iterable[Picture]) -> None:
        """Find the test images that are near to these, all at once."""
        new = [picture for picture in dict.fromkeys(pictures) if picture not in self._looks]
        found = self._near.search([picture.look for picture in new]) if self._pictures and new else []
        self._looks |= {picture: frozenset() for picture in new}
        self._looks |= {one: frozenset(places) for one, places in zip(new, found, strict=False)}

    def matches(self, problem: Problem, pictures: Sequence[Picture]) -> list[Match]:
        """What a training problem repeats: the strictest match in each test set."""
        self.look_at(pictures)
        strictest: dict[str, Match] = {}
        for match in self._all_matches(question_key(problem), pictures):
            known = strictest.get(match.test)
            if known is None or KINDS.index(match.kind) < KINDS.index(known.kind):
                strictest[match.test] = match
        return list(strictest.values())

    def _all_matches(self, question: bytes, pictures: Sequence[Picture]) -> Iterator[Match]:
        near = [self._looks[picture] for picture in pictures]
        for place in self._by_question.get(question, ()):
            problem = self._problems[place]
            if len(problem.pictures) != len(near):
                continue
            if all(number in looks for number, looks in zip(problem.pictures, near, strict=True)):
                same = [self._pictures[number].sha256 for number in problem.pictures]
                is_exact = same == [picture.sha256 for picture in pictures]
                yield Match("exact" if is_exact else "near", problem.test, problem.id)
        for place in sorted({place for number in set().union(*near) for place in self._by_picture[number]}):
            yield Match("image", self._problems[place].test, self._problems[place].id)


def question_key(problem: Problem) -> bytes:
    """The same for questions in the same plain words."""
    parts = [problem.question] if problem.images else [problem.question, *sorted(problem.choices)]
    return hashlib.blake2b("\n".join(map(plain, parts)).encode(), digest_size=16).digest()


def plain(question: str) -> str:
    """The words, numbers and signs of a question, divided by single spaces."""
    spelled = question if question.isascii() else unicodedata.normalize("NFKC", question)
    return " ".join(NO_WORDS.sub(" ", spelled.casefold()).split())
