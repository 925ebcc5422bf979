"""Judges responses: extraction, then comparison, then (for what needs algebra) a worker with a deadline.

A question of algebra is asked once: its verdict, or that it passed the deadline, is kept with the checker.
A check that raises ends no run: `AnswerChecker._failure` counts it, logs it once per kind, and it is wrong.
"""

import logging
import threading
import traceback
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Self

from mstar.answers.comparison import Question, compare
from mstar.answers.expected import Expected, Judgement
from mstar.answers.expressions import Expression
from mstar.answers.extraction import find_statement, tidy
from mstar.answers.golds import read_golds
from mstar.answers.workers import DeadlineExceeded, SymbolicWorkers, WorkerDied

logger = logging.getLogger(__name__)

MAX_VERDICTS = 100_000
Questions = tuple[Question, ...]
Judged = tuple[Judgement, Questions]


class AnswerChecker:
    """Decides whether responses are correct; holds the worker processes, so use it in a `with`.

    Nothing in a response raises, or takes more than `deadline_seconds` of processor time: a comparison that
    fails all the same gives `failed`. Safe to call from several threads; `workers` bounds the parallel
    comparisons.
    """

    def __init__(self, deadline_seconds: float = 5.0, workers: int = 1) -> None:
        if deadline_seconds <= 0 or workers < 1:
            raise ValueError(f"deadline_seconds is {deadline_seconds}, workers {workers}; both must be > 0")
        self.timed_out = 0
        """How many comparisons did not finish before the deadline so far."""
        self.failed = 0
        """How many comparisons raised, or lost their worker process, so far."""
        self._symbolic = SymbolicWorkers(deadline_seconds, workers)
        self._worker_count = workers
        self._failures: set[str] = set()
        self._verdicts: dict[Question, bool | DeadlineExceeded] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers. A later check that needs one starts it again."""
        self._symbolic.close()

    def check(self, expected: Expected, response: str, truncated: bool = False) -> Judgement:
        """Judges one response; a truncated one is always wrong.

        Raises ValueError for a gold that does not parse (see `check_gold`), never for anything in a response.
        """
        read_golds(expected)
        judgement, questions = self._judged(expected, response, truncated)
        return self._settled(judgement, self._verdict(questions)) if questions else judgement

    def check_many(self, pairs: Iterable[tuple[Expected, str]]) -> list[Judgement]:
        """Judges (expected, response) pairs in order; algebra runs on all workers at once.

        Nothing raises here: where a gold does not parse, the judgements of its responses have `failed`.
        """
        judged = [self._judged(expected, response) for expected, response in pairs]
        open_ = dict.fromkeys(questions for _, questions in judged if questions)
        with ThreadPoolExecutor(self._worker_count) as threads:
            verdicts = dict(zip(open_, threads.map(self._verdict, open_), strict=True))
        return [
            self._settled(judgement, verdicts[questions]) if questions else judgement
            for judgement, questions in judged
        ]

    def check_gold(self, expected: Expected) -> None:
        """Raises ValueError with one line (value, rule, remedy) for a gold that nothing could be compared
        with; an expression is tried in a worker.
        """
        for gold, written in zip(read_golds(expected), expected.answers, strict=True):
            if not isinstance(gold, Expression) or gold.quantity or gold.is_name:
                continue
            try:
                parses = self._symbolic.ask("parses", gold.formula)
            except (DeadlineExceeded, WorkerDied):
                parses = False
            if not parses:
                rule = "of type expression cannot be parsed by math-verify"
                raise ValueError(f"answer {written!r} {rule}; write LaTeX, or use answer_type text")

    def _judged(self, expected: Expected, response: str, truncated: bool = False) -> Judged:
        """The judgement; with questions, `correct` is still open."""
        try:
            read_golds(expected)
            found = None if truncated else find_statement(response, expected.answer_type, expected.choices)
            return (Judgement(None, False), ()) if found is None else _judge_statement(expected, found)
        except Exception as error:  # fault point: whatever is wrong with one check, the others go on
            return self._failure(error), ()

    def _settled(self, judgement: Judgement, verdict: bool | Exception) -> Judgement:
        """A judgement that was still open, with the verdict on its questions."""
        if isinstance(verdict, DeadlineExceeded):
            with self._lock:
                self.timed_out += 1
            return judgement._replace(timed_out=True)
        if isinstance(verdict, Exception):
            return self._failure(verdict, judgement.extracted)
        return judgement._replace(correct=verdict)

    def _verdict(self, questions: Questions) -> bool | Exception:
        """Whether a question is answered with yes; else the first error among the answers, or False."""
        verdicts = [self._ask(question) for question in questions]
        errors = (verdict for verdict in verdicts if isinstance(verdict, Exception))
        return True in verdicts or next(errors, False)

    def _ask(self, question: Question) -> bool | Exception:
        if question not in self._verdicts:
            if len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.clear()
            try:
                self._verdicts[question] = self._symbolic.ask("equal", *question)
            except DeadlineExceeded as error:
                self._verdicts[question] = error
            except Exception as error:  # fault point, as above
                return error
        return self._verdicts.get(question, False)

    def _failure(self, error: Exception, extracted: str | None = None) -> Judgement:
        """The judgement of a check that raised: it is counted, and the first of its kind is logged."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} in {place.name}, line {place.lineno}"
        with self._lock:
            self.failed += 1
            is_new = kind not in self._failures
            self._failures.add(kind)
        if is_new:
            logger.warning("an answer check failed and counts as wrong (%s: %s)", kind, error)
            logger.debug("the first of these failures", exc_info=error)
        return Judgement(extracted, False, failed=True)


@lru_cache(maxsize=16_384)
def _judge_statement(expected: Expected, statement: str) -> Judged:
    """The samples of one problem state the same few answers again and again, hence the cache."""
    verdict = compare(expected, statement)
    extracted = tidy(statement, expected.answer_type, expected.choices)
    return Judgement(extracted, verdict is True), () if isinstance(verdict, bool) else tuple(verdict)
