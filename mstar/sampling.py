"""Responses of a policy to problems, part by part: what generate and evaluate have in common.

A part is a Parquet file of a stage. Every problem has a seed of its own, so its responses do not depend on
what else is sampled with it. Problems that the model cannot read are left out, and named in the part.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from mstar.datasets import ProblemFile
from mstar.engines import Chunk, Engine, Generated, Sampling, build_engine
from mstar.errors import UnusableRequest, UserError
from mstar.prompts import Request, build_request
from mstar.records import Response
from mstar.response_parts import write_responses
from mstar.seeds import derive_seed
from mstar.stages import part_names
from mstar.work import Work


@dataclass(frozen=True)
class Part:
    """Problems to be answered in one way: the rows of one Parquet file of a stage."""

    name: str
    problems: ProblemFile
    rows: Sequence[int]
    sampling: Sampling


def cut_parts(
    folder: str, problems: ProblemFile, rows: Sequence[int], size: int, sampling: Sampling
) -> list[Part]:
    """Parts of `size` problems each; `folder` ends with a slash or is empty."""
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
    names = part_names(len(chunks))
    return [Part(folder + name, problems, chunk, sampling) for name, chunk in zip(names, chunks, strict=True)]


def sample_parts(work: Work, policy: str, parts: Sequence[Part], labels: Sequence[int | str]) -> None:
    """Write the responses, not yet judged, of each part; `labels` and its row make a problem's seed.

    The engine has the parts one after the other, or several in flight.
    """
    total = sum(len(part.rows) for part in parts)
    with (
        work.progress.stage(work.stage.name, work.iteration, total, "problems") as advance,
        ExitStack() as stack,
    ):
        with work.clock.inside():
            folder = stack.enter_context(work.run.policy_folder(policy))
            engine = stack.enter_context(build_engine(work.run.local_config, folder))
        reader = Reader(work, engine, labels)
        results = engine.generate(reader.chunks(parts))
        for part in parts:
            with work.clock.inside():
                found = next(results)
            requests, unusable = reader.read.pop(part.name)
            with work.folder.write(part.name) as path:
                write_responses(path, to_responses(requests, found, part.sampling), unusable)
            advance(len(part.rows))


class Reader:
    """Reads the problems of parts when the engine asks for them, and remembers what it was given for each."""

    def __init__(self, work: Work, engine: Engine, labels: Sequence[int | str]) -> None:
        self.work = work
        self.engine = engine
        self.labels = labels
        self.read: dict[str, tuple[list[Request], dict[str, str]]] = {}

    def chunks(self, parts: Sequence[Part]) -> Iterator[Chunk]:
        """Parts in a row that have the same rows (a sweep's temperatures) read their problems once."""
        previous: tuple[ProblemFile, Sequence[int]] | None = None
        requests: list[Request] = []
        unusable: dict[str, str] = {}
        for part in parts:
            if previous is None or previous[0] is not part.problems or previous[1] != part.rows:
                requests, unusable = self._requests(part)
            previous = (part.problems, part.rows)
            self.read[part.name] = (requests, unusable)
            yield Chunk(requests, part.sampling)

    def _requests(self, part: Part) -> tuple[list[Request], dict[str, str]]:
        """What the engine is asked; it looks at each request itself, which is part of its own work."""
        with self.work.clock.outside():
            problems = part.problems.read(part.rows)
        seed, *labels = self.labels
        requests: list[Request] = []
        unusable: dict[str, str] = {}
        for row, problem in zip(part.rows, problems, strict=True):
            request = build_request(problem, self.work.config.prompt, derive_seed(int(seed), *labels, row))
            try:
                self.engine.check(request)
            except UnusableRequest as error:
                if self.work.config.data.unusable == "stop":
                    raise UserError(f"{error}; correct it, or set data.unusable to skip") from None
                unusable[problem.id] = error.reason
            else:
                requests.append(request)
        return requests, unusable


def to_responses(
    requests: Sequence[Request], found: Sequence[Sequence[Generated]], sampling: Sampling
) -> Iterator[Response]:
    """What an engine has found, as rows that are not yet judged."""
    for request, own in zip(requests, found, strict=True):
        for index, one in enumerate(own):
            tokens, temperature = len(one.tokens), sampling.temperature
            yield Response(request.id, index, one.text, tokens, one.truncated, temperature)
