"""What the finished stages of a run took, and the rates that follow from it.

Counts are those of the stages' results, bytes those of their manifests, seconds those of their `timing.json`:
of a stage that was interrupted, or shared by shards, that is the last process's time alone. So a rate is the
median over a stage's newest turns, which also follows a policy whose responses change.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import median
from typing import Any

from mstar.evaluation import REST
from mstar.looking_ahead import TOLD, in_turn
from mstar.plan.amounts import NOTHING, Amount, Need, exactly
from mstar.plan.needs import Place, Rates
from mstar.records import Report, Selected, Trained
from mstar.rundir import RunDir
from mstar.stages import EVALUATE, GENERATE, SCORE, SELECT, TRAIN, Stage, stage_prefix
from mstar.stored_names import CHECKPOINT
from mstar.timing import read_seconds

NEWEST = 3
"""Turns that a rate is taken from."""
TURN: tuple[tuple[Stage[Any], str], ...] = (
    (GENERATE, ""),
    (SCORE, ""),
    (SELECT, ""),
    (TRAIN, ""),
    (EVALUATE, ""),
    (EVALUATE, REST),
)
"""The folders of a turn that are planned."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished stage of one turn."""

    place: Place
    need: Need
    """What it took."""
    handled: float
    """Responses that its time went into: `select` looks through all, whatever it keeps."""
    seconds: float
    """0 where that is not known."""
    checkpoint_bytes: int = 0


def read_finished(run: RunDir) -> list[Finished]:
    """All that is finished, in the order of the run."""
    found = list(_read_turn(run, None))
    for iteration in in_turn(run, count(), TOLD):
        turn = list(_read_turn(run, iteration))
        if not turn:
            break
        found += turn
    return found


def measure_rates(finished: Sequence[Finished], origin: str) -> Rates:
    """What the newest turns of every stage say; `origin` is what they are, for people."""
    newest = {
        stage.name: [one for one in finished if one.place[1] == stage.name and one.handled][-NEWEST:]
        for stage, folder in TURN
        if not folder
    }
    seconds = {name: _median((one.seconds, one.handled) for one in own) for name, own in newest.items()}
    sizes = {
        name: _median((one.need.part_bytes.high, one.need.responses.high) for one in own)
        for name, own in newest.items()
    }
    sampled, selected, trained = (newest[stage.name] for stage in (GENERATE, SELECT, TRAIN))
    return Rates(
        origin=origin,
        seconds_per_response={name: rate for name, rate in seconds.items() if rate},
        bytes_per_response={name: size for name, size in sizes.items() if size},
        tokens_per_response=_median(
            (one.need.response_tokens.high, one.need.responses.high) for one in sampled
        ),
        tokens_per_learned=_median(
            (one.need.response_tokens.high, one.need.responses.high) for one in trained
        ),
        kept_per_response=_median((one.need.responses.high, one.handled) for one in selected),
    )


def checkpoint_size(finished: Sequence[Finished]) -> int | None:
    """Bytes of the newest checkpoint."""
    return next((one.checkpoint_bytes for one in reversed(finished) if one.checkpoint_bytes), None)


def _median(pairs: Iterable[tuple[float, float]]) -> float | None:
    """Of the ratios; None without any."""
    ratios = [number / of for number, of in pairs if of]
    return median(ratios) if ratios else None


def _read_turn(run: RunDir, iteration: int | None) -> Iterator[Finished]:
    sampled = 0.0
    for stage, folder in TURN:
        manifest = run.manifest(stage_prefix(folder or stage.name, iteration))
        if manifest is None:
            continue
        result: Any = run.result(stage, iteration, folder)
        sizes = {name: entry.size for name, entry in manifest.files.items()}
        checkpoint = sum(size for name, size in sizes.items() if name.startswith(CHECKPOINT))
        seconds = read_seconds(run, folder or stage.name, iteration)
        need = _need(run, stage, result, exactly(sum(sizes.values()) - checkpoint), exactly(seconds))
        sampled = need.responses.high if stage is GENERATE else sampled
        handled = sampled if stage is SELECT else need.responses.high
        yield Finished((iteration, folder or stage.name), need, handled, seconds, checkpoint)


def _need(run: RunDir, stage: Stage[Any], result: Any, part_bytes: Amount, seconds: Amount) -> Need:
    tokens, steps = NOTHING, NOTHING
    match result:
        case Report():
            responses, tokens = _examined(result, run.config.generate.max_tokens)
        case Selected():
            responses = exactly(result.kept)
        case Trained():
            responses = exactly(result.examples * run.config.train.epochs)
            tokens, steps = exactly(result.response_tokens), exactly(result.train_steps)
        case _:
            responses = exactly(result.responses)
            tokens = exactly(result.response_tokens) if stage is GENERATE else NOTHING
    return Need(responses, tokens, steps, part_bytes, seconds)


def _examined(report: Report, max_tokens: int) -> tuple[Amount, Amount]:
    """Responses of an evaluation and their tokens; those of a sweep are in no result, only bounded."""
    greedy = sum(test.accuracy.problems for test in report.tests.values())
    tokens = sum(test.accuracy.problems * test.mean_response_tokens for test in report.tests.values())
    swept = sum(row.samples_per_problem * row.balance.problems for row in report.temperatures)
    expected = None if swept else tokens
    return exactly(greedy + swept), Amount(tokens + swept, tokens + swept * max_tokens, expected)
