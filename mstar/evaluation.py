"""The evaluate stage: greedy accuracy on the test sets, and the temperature sweep on the validation problems.

Reads the policy that an iteration ended with, the test and validation problems and the process reward model,
if there is one; writes every judged response, and its result is the report. All is sampled first; then the
engine leaves, and the process reward model comes: the two never share a device.

The sweep (arXiv 2412.17451, section 4) samples K responses to each validation problem at every temperature of
the grid, with the same random numbers for all of them, so that temperatures are compared and not luck.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

from mstar.config import Config
from mstar.engines import Sampling
from mstar.measures import measure_temperature, measure_test
from mstar.progress import QUIET, Progress
from mstar.reads import evaluate_reads
from mstar.records import Report, Response
from mstar.response_parts import read_responses, read_unusable, write_responses
from mstar.rundir import FIRST_POLICY, RunDir
from mstar.sampling import Part, cut_parts, sample_parts
from mstar.scoring import Scorer, by_problem, tell_troubles
from mstar.stages import EVALUATE, WHOLE, Shard
from mstar.work import Turn, Work, perform

REST = "evaluate-rest"
"""Folder of the test sets that an iteration left out and the end of the run asks for."""
UNJUDGED = "unjudged-"
"""Responses that wait for their judgement have this before the name of their part."""


def evaluate(
    run: RunDir,
    iteration: int | None,
    shard: Shard = WHOLE,
    progress: Progress = QUIET,
    rest: bool = False,
) -> Report | None:
    """Examine the policy that an iteration ended with; None examines the one that the run starts from.

    `rest` examines it on the test sets that the iteration left out; at the end of a run nothing is left out.
    """
    due = due_tests(run.config, iteration, rest)
    with_sweep = sweep_is_due(run.config, iteration) and not rest
    if rest and not due:
        return Report(iteration)
    policy = FIRST_POLICY if iteration is None else run.policy_after(iteration)

    def work_on(work: Work) -> Report | None:
        parts = _parts(run, due, with_sweep)
        _examine(work, policy, parts)
        names = [part.name for part in parts]
        return work.commit(names, lambda: build_report(work, parts))

    turn, folder_name = Turn(run, iteration, shard, progress), REST if rest else ""
    return perform(EVALUATE, turn, evaluate_reads(run, iteration), work_on, folder_name)


def due_tests(config: Config, iteration: int | None, rest: bool = False) -> list[str]:
    """The test sets of an iteration: all of them, or the first; with `rest` those that it leaves out."""
    names = list(config.data.tests)
    is_whole = iteration is None or iteration in config.evaluate.out_of_distribution_at
    return (names[len(names) :] if rest else names) if is_whole else (names[1:] if rest else names[:1])


def sweep_is_due(config: Config, iteration: int | None) -> bool:
    """Before the first iteration, and after every `evaluate.every`-th."""
    if config.data.validation is None:
        return False
    return iteration is None or (iteration + 1) % config.evaluate.every == 0


def read_report(run: RunDir, iteration: int | None) -> Report:
    """What `evaluate` measured of that iteration's policy, with the rest that the end of a run asked for."""
    report = run.result(EVALUATE, iteration)
    if run.is_finished(REST, iteration):
        rest = run.result(EVALUATE, iteration, REST)
        return replace(report, tests=report.tests | rest.tests, unusable=report.unusable | rest.unusable)
    return report


def _parts(run: RunDir, tests: Sequence[str], with_sweep: bool) -> list[Part]:
    """Test sets one after the other, then the sweep: all temperatures of some problems, then the next."""
    config, size = run.config, run.config.evaluate.problems_per_part
    greedy = Sampling(1, 0.0, 1.0, config.generate.max_tokens)
    parts: list[Part] = []
    for name in tests:
        problems = run.problems(config.data.tests[name])
        parts += cut_parts(f"test-{name}/", problems, range(len(problems)), size, greedy)
    if with_sweep and config.data.validation is not None:
        validation = run.problems(config.data.validation)
        grid = [
            cut_parts(f"sweep-{temperature:.7g}/", validation, range(len(validation)), size, sampling)
            for temperature in config.evaluate.temperatures
            for sampling in [
                Sampling(
                    config.evaluate.samples_per_problem,
                    temperature,
                    config.generate.top_p,
                    config.generate.max_tokens,
                )
            ]
        ]
        parts += [part for same_rows in zip_longest(*grid) for part in same_rows]
    return parts


def _examine(work: Work, policy: str, parts: Sequence[Part]) -> None:
    """Write the parts that are missing: sample all of them, then judge all of them."""
    missing = set(work.missing([part.name for part in parts]))
    own = [part for part in parts if part.name in missing]
    waiting = [replace(part, name=unjudged(part.name)) for part in own]
    unsampled = set(work.folder.missing([part.name for part in waiting]))
    if unsampled:
        label = "start" if work.iteration is None else work.iteration
        unanswered = [part for part in waiting if part.name in unsampled]
        labels = (work.config.seed, label, EVALUATE.name)
        sample_parts(work, policy, unanswered, labels)
    if own:
        with Scorer(work.config, work.clock) as scorer:
            for part in own:
                _judge(work, scorer, part)
            tell_troubles(scorer, work.progress)


def _judge(work: Work, scorer: Scorer, part: Part) -> None:
    problems, expected = scorer.read(part, scores=_is_sweep(part))
    with work.folder.reading(unjudged(part.name)) as path:
        judged = scorer.check(expected, read_responses(path))
        unusable = read_unusable(path)
    if _is_sweep(part):
        judged = scorer.score(problems, judged, everything=True)
    with work.folder.write(part.name) as path:
        write_responses(path, judged, unusable)


def unjudged(name: str) -> str:
    """Under which name the responses of a part wait for their judgement."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{UNJUDGED}{file}"


def _is_sweep(part: Part) -> bool:
    return part.sampling.temperature > 0


def build_report(work: Work, parts: Sequence[Part]) -> Report:
    """Everything measured, from the judged parts, of which one is in memory at a time."""
    report = Report(work.iteration)
    for folder, own in _by_folder(parts).items():
        unusable: dict[str, str] = {}
        if _is_sweep(own[0]):
            groups = (group for part in own for group in by_problem(_read(work, part, unusable)))
            row = measure_temperature(groups, work.config, own[0].sampling)
            report = replace(report, temperatures=(*report.temperatures, row))
            name = "validation"
        else:
            name = folder.removeprefix("test-")
            found = measure_test(answer for part in own for answer in _with_sources(work, part, unusable))
            report = replace(report, tests={**report.tests, name: found})
        if unusable:
            report = replace(report, unusable={**report.unusable, name: unusable})
    return report


def _by_folder(parts: Sequence[Part]) -> dict[str, list[Part]]:
    """The parts of each test set and of each temperature, in order."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part.name.partition("/")[0], []).append(part)
    return found


def _read(work: Work, part: Part, unusable: dict[str, str]) -> Iterator[Response]:
    """The responses of a part; the problems that it leaves out are added to `unusable`."""
    with work.folder.reading(part.name) as path:
        unusable |= read_unusable(path)
        yield from read_responses(path)


def _with_sources(work: Work, part: Part, unusable: dict[str, str]) -> Iterator[tuple[str, Response]]:
    ids, sources = part.problems.ids, part.problems.sources
    source_of = {ids[row]: sources[row] for row in part.rows}
    return ((source_of[one.problem_id], one) for one in _read(work, part, unusable))
