"""The evaluate stage: greedy accuracy on the test sets, and the temperature sweep on the validation problems.

The sweep (arXiv 2412.17451, section 4) samples K responses to each validation problem at every temperature of
the grid, with the same random numbers for all of them, so that temperatures are compared and not luck. Every
response is kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mstar import estimates
from mstar.config import Config
from mstar.datasets import ProblemFile
from mstar.engines import Sampling, build_engine
from mstar.generation import sample, sampled_with
from mstar.progress import QUIET, Progress
from mstar.records import (
    Estimate,
    Report,
    Response,
    TemperatureReport,
    TestReport,
    read_responses,
    to_json,
    write_responses,
)
from mstar.rundir import FIRST_POLICY, RunDir, part_names
from mstar.scoring import Scorer, by_problem, judged_with
from mstar.seeds import derive_seed
from mstar.stagedir import WHOLE, Shard, StageDir
from mstar.steps import aggregate_steps
from mstar.timing import StageClock, stage_clock

REPORT = "report.json"
ASKED_WITH = {"engine", "top_p", "max_tokens", "rows_in_flight"}
"""The settings of `generate` that an examination shares."""


@dataclass(frozen=True)
class Examination:
    """Problems answered in one way: a test set greedily, or the validation set at one temperature."""

    folder: str
    problems: ProblemFile
    sampling: Sampling

    def parts(self, rows_in_flight: int) -> dict[str, list[int]]:
        """The rows of each part: as many problems as the engine answers at once."""
        rows, size = range(len(self.problems)), max(1, rows_in_flight // self.sampling.samples_per_problem)
        chunks = [list(rows[start : start + size]) for start in range(0, len(rows), size)]
        return {
            f"{self.folder}/{name}": chunk
            for name, chunk in zip(part_names(len(chunks)), chunks, strict=True)
        }

    @property
    def is_sweep(self) -> bool:
        return self.sampling.temperature > 0


def evaluate(run: RunDir, iteration: int | None, shard: Shard = WHOLE, progress: Progress = QUIET) -> None:
    """Examine the policy that an iteration ended with; None examines the one that the run starts from."""
    config = run.config
    policy = FIRST_POLICY if iteration is None else run.policy_after(iteration)
    due = examinations(run, iteration)
    made_from = {
        **sampled_with(config),
        **judged_with(config),
        "evaluate": config.evaluate.model_dump(mode="json"),
        "generate": config.generate.model_dump(mode="json", include=ASKED_WITH),
        "seed": config.seed,
        "policy": run.policy_identity(policy),
        "data": data_identities(run),
    }
    stage = run.stage("evaluate", iteration, made_from, shard)
    if stage.done:
        return
    with stage_clock(run, "evaluate", iteration) as clock:
        _answer(run, iteration, stage, (policy, due), (clock, progress))
        names = [name for one in due for name in one.parts(config.generate.rows_in_flight)]
        if not stage.unfinished(names):
            with stage.write(REPORT) as path:
                path.write_text(to_json(build_report(config, iteration, due, stage)), encoding="utf-8")
            stage.commit(dict, [*names, REPORT])


def examinations(run: RunDir, iteration: int | None) -> list[Examination]:
    """What is due after an iteration."""
    config = run.config
    greedy = Sampling(1, 0.0, 1.0, config.generate.max_tokens)
    names = list(config.data.tests)
    is_last = iteration == config.iterations.count - 1
    if not (iteration is None or is_last or iteration in config.evaluate.out_of_distribution_at):
        names = names[:1]
    due = [Examination(f"test-{name}", run.problems(config.data.tests[name]), greedy) for name in names]
    if config.data.validation is not None and sweep_is_due(config, iteration):
        validation = run.problems(config.data.validation)
        for temperature in config.evaluate.temperatures:
            section = config.generate
            sampling = Sampling(
                config.evaluate.samples_per_problem, temperature, section.top_p, section.max_tokens
            )
            due.append(Examination(f"sweep-{temperature:g}", validation, sampling))
    return due


def data_identities(run: RunDir) -> dict[str, str]:
    """Which problems a report can speak of."""
    data = run.config.data
    sets = {f"tests.{name}": path for name, path in data.tests.items()}
    if data.validation is not None:
        sets["validation"] = data.validation
    return {name: run.problems(path).sha256 for name, path in sets.items()}


def sweep_is_due(config: Config, iteration: int | None) -> bool:
    """Before the first iteration, and after every `evaluate.every`-th."""
    return iteration is None or (iteration + 1) % config.evaluate.every == 0


def _answer(
    run: RunDir,
    iteration: int | None,
    stage: StageDir,
    examined: tuple[str, Sequence[Examination]],
    watch: tuple[StageClock, Progress],
) -> None:
    """Write the parts that are missing; a sweep's temperatures share their problems, which are read once."""
    (policy, due), (clock, progress), config = examined, watch, run.config
    work = list(_missing(due, stage, config))
    if not work:
        return
    read = lru_cache(maxsize=1)(ProblemFile.read)
    with clock.inside():
        engine = build_engine(config, run.policy_folder(policy))
    with (
        engine,
        Scorer(config, clock) as scorer,
        progress.stage("evaluate", iteration, sum(len(rows) for _, _, rows in work), "problems") as advance,
    ):
        for name, one, rows in work:
            problems = read(one.problems, tuple(rows))
            with clock.inside():
                responses = sample(engine, problems, one.sampling, _seed(config, iteration, rows[0]))
            judged = scorer.check(problems, responses)
            if one.is_sweep:
                judged = scorer.score(problems, judged, everything=True)
            with stage.write_part(name) as path:
                write_responses(path, judged)
            advance(len(rows))


def _seed(config: Config, iteration: int | None, first_row: int) -> int:
    """The same at every temperature."""
    return derive_seed(config.seed, "start" if iteration is None else iteration, "evaluate", first_row)


def _missing(
    due: Sequence[Examination], stage: StageDir, config: Config
) -> Iterator[tuple[str, Examination, list[int]]]:
    parts = [
        (name, one, rows) for one in due for name, rows in one.parts(config.generate.rows_in_flight).items()
    ]
    missing = set(stage.missing([name for name, _, _ in parts]))
    return (part for part in parts if part[0] in missing)


def build_report(
    config: Config, iteration: int | None, due: Sequence[Examination], stage: StageDir
) -> Report:
    """Everything measured, from the parts."""
    tests, temperatures = {}, []
    for one in due:
        names = one.parts(config.generate.rows_in_flight)
        responses = [response for name in names for response in read_responses(stage.path(name))]
        if one.is_sweep:
            temperatures.append(measure_temperature(by_problem(responses), config, one.sampling))
        else:
            tests[one.folder.removeprefix("test-")] = measure_test(responses, one.problems.sources)
    return Report(iteration, tests, tuple(temperatures))


def measure_test(responses: Sequence[Response], sources: Sequence[str]) -> TestReport:
    """Greedy accuracy; `sources` are those of the responses' problems, in the same order."""
    outcomes = [bool(one.correct) for one in responses]
    by_source: dict[str, list[bool]] = {}
    for source, outcome in zip(sources, outcomes, strict=True):
        by_source.setdefault(source, []).append(outcome)
    return TestReport(
        accuracy=estimates.share(outcomes),
        by_source={source: estimates.share(by_source[source]) for source in sorted(by_source)},
        mean_response_tokens=sum(one.response_tokens for one in responses) / len(responses),
        truncated=sum(one.truncated for one in responses),
    )


def measure_temperature(
    groups: Sequence[Sequence[Response]], config: Config, sampling: Sampling
) -> TemperatureReport:
    """Pass@K, Reward-Pass@k and balance of the validation problems at one temperature."""
    correct = [[bool(one.correct) for one in own] for own in groups]
    powers = estimates.powers_up_to(sampling.samples_per_problem)
    return TemperatureReport(
        temperature=sampling.temperature,
        samples_per_problem=sampling.samples_per_problem,
        pass_at_k={k: estimates.pass_at_k(correct, k) for k in powers},
        unbiased_pass_at_k={k: estimates.unbiased_pass_at_k(correct, k) for k in powers},
        reward_pass_at_k=_reward_pass(groups, correct, config),
        balance=_balance(groups, config),
    )


def _reward_pass(
    groups: Sequence[Sequence[Response]], correct: list[list[bool]], config: Config
) -> Estimate | None:
    if config.score.prm is None:
        return None
    scores = [[_quality(one, config) for one in own] for own in groups]
    return estimates.reward_pass_at_k(correct, scores, config.adapt.k)


def _balance(groups: Sequence[Sequence[Response]], config: Config) -> Estimate:
    """Selected are the responses whose PRM score passes `select.threshold`; all of them without a PRM."""
    selected = [
        [one for one in own if config.score.prm is None or _quality(one, config) > config.select.threshold]
        for own in groups
    ]
    texts = [[one.text for one in own] for own in selected]
    return estimates.balance(
        texts, [[bool(one.correct) for one in own] for own in selected], config.adapt.balance_target
    )


def _quality(response: Response, config: Config) -> float:
    return aggregate_steps(response.step_scores or (), config.score.aggregate)
