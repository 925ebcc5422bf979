"""Test sets of MathVista by MathVista's own scoring, of the first and the last policy that was measured.

Computed from the responses when the report is built, and kept nowhere else: no stage's files depend on it, so
it is there for runs of every version. Without the problem file, or where responses are gone, it is left out.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from mstar import estimates
from mstar.answers import Expected
from mstar.datasets.formats.mathvista import MATHVISTA
from mstar.errors import UserError
from mstar.evaluation import REST
from mstar.records import Response
from mstar.report.history import WITHOUT, History
from mstar.report.mathvista import is_officially_right
from mstar.response_parts import read_responses
from mstar.rundir import RunDir
from mstar.stages import EVALUATE

log = logging.getLogger("mstar")


@dataclass(frozen=True, slots=True)
class OfficialScore:
    """The share of right answers by the rules of a test set's authors, with its 95 % interval."""

    accuracy: float
    low: float
    high: float
    problems: int
    iteration: int | None
    """The policy after this iteration; None is the one that the run started from."""


@dataclass(frozen=True, slots=True)
class OfficialScores:
    first: OfficialScore
    last: OfficialScore


def official_scores(run: RunDir, history: History) -> dict[str, OfficialScores]:
    """By test set; those of MathVista only."""
    found: dict[str, OfficialScores] = {}
    for test, path in run.config.data.tests.items():
        measured = [turn.iteration for turn in history.turns if turn.report and test in turn.report.tests]
        try:
            expected = mathvista_golds(run, test, path) if measured else {}
        except (UserError, OSError) as error:
            log.warning("%s cannot be scored as MathVista does (%s); %s", test, error, WITHOUT)
            continue
        if expected:
            first, last = (score(run, test, iteration, expected) for iteration in (measured[0], measured[-1]))
            found |= {test: OfficialScores(first, last)} if first and last else {}
    return found


def mathvista_golds(run: RunDir, test: str, path: str) -> Mapping[str, Expected]:
    """The golds by id, where a test set is MathVista: by its name, or by the form of its file."""
    if "mathvista" not in test.lower() and not is_mathvista(run, path):
        return {}
    problems = run.problems(path)
    return problems.golds(range(len(problems)))


def is_mathvista(run: RunDir, path: str) -> bool:
    """Whether a file has MathVista's form; not, where it cannot be read any more."""
    with suppress(UserError, OSError):
        return run.problems(path).format is MATHVISTA
    return False


def score(
    run: RunDir, test: str, iteration: int | None, expected: Mapping[str, Expected]
) -> OfficialScore | None:
    """One policy; None where its responses are gone."""
    answered = [one for one in responses_to(run, test, iteration) if one.problem_id in expected]
    if not answered:
        return None
    share = estimates.share(
        [is_officially_right(expected[one.problem_id], one.text, one.extracted) for one in answered]
    )
    return OfficialScore(share.value, share.low, share.high, share.problems, iteration)


def responses_to(run: RunDir, test: str, iteration: int | None) -> Iterator[Response]:
    """Without those that have been cleared away."""
    for folder in (EVALUATE.name, REST):
        if not run.is_finished(folder, iteration):
            continue
        finished = run.finished(EVALUATE, iteration, folder)
        for part in (name for name in finished.parts if name.startswith(f"test-{test}/")):
            with suppress(UserError), finished.reading(part) as path:
                yield from read_responses(path)
