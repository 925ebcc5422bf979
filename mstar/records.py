"""The records that pass between stages, and how they are written to JSON.

Problem and Response are one row each. A Response is filled in by two stages: `generate` writes the text and
what is known of its making, `score` adds the judgement; the fields say which (response_parts.py writes them).
State is what an iteration starts from. Sampled, Scored, Selected, Trained, Report and Decision are the
results of the six stages. Nothing here reads images or knows where files live.
"""

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter

from mstar.answers import AnswerType, Expected

Record = TypeVar("Record")
ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A file with one image, or the bytes of one (PNG, JPEG, ...) with its address if they were fetched."""

    path: str | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with its images and its gold answer. `answer` None means unlabelled."""

    id: str
    question: str
    images: tuple[ImageSource, ...]
    answer: str | None
    answer_type: AnswerType
    choices: tuple[str, ...] = ()
    precision: int | None = None
    unit: str | None = None
    source: str = ""
    other_answers: tuple[str, ...] = ()
    """Golds that are accepted as well as `answer`."""
    image_places: tuple[int, ...] = ()
    """Characters of the question before each image; empty where all images come first."""

    @property
    def expected(self) -> Expected:
        """What an answer to this problem is compared with."""
        if self.answer is None:
            raise ValueError(f"problem {self.id} has no answer to compare with")
        return Expected(
            self.answer, self.answer_type, self.choices, self.precision, self.unit, self.other_answers
        )


class Response(NamedTuple):
    """One generated answer to one problem; a named tuple, because there are many and they are copied."""

    problem_id: str
    sample: int
    """Index among the samples of the problem, from 0."""
    text: str
    """Without the end token."""
    response_tokens: int
    """Tokens generated, the end token included."""
    truncated: bool
    """True when `max_tokens` came before the end token."""
    temperature: float
    """0 means greedy."""

    extracted: str | None = None
    """The final answer that was read from the text; filled by `score`, like all that follows."""
    correct: bool | None = None
    step_scores: tuple[float, ...] | None = None
    """The process reward model's score of every step, each in [0, 1]; None where no PRM has looked."""
    reward: float | None = None
    """1[correct] times the aggregate of step_scores (1[correct] where there are none)."""
    timed_out: bool = False
    """True when checking the answer took longer than `score.deadline_seconds`; it then counts as wrong."""
    failed: bool = False
    """True when checking the answer raised an error, which is a defect of ours; it then counts as wrong."""


@dataclass(frozen=True, slots=True)
class State:
    """What an iteration starts from. `policy` is a checkpoint folder in the run, or `first`: the user's."""

    iteration: int
    policy: str
    temperature: float
    seed: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share of problems with its 95 % interval, all in [0, 1]."""

    value: float
    low: float
    high: float
    problems: int


@dataclass(frozen=True, slots=True)
class TestReport:
    """Greedy accuracy on one test set, whole and per source."""

    accuracy: Estimate
    by_source: dict[str, Estimate]
    mean_response_tokens: float
    truncated: int


@dataclass(frozen=True, slots=True)
class TemperatureReport:
    """Exploration and exploitation on the validation problems at one temperature."""

    temperature: float
    samples_per_problem: int
    pass_at_k: dict[int, Estimate]
    """Share of problems with a correct response among the first k samples."""
    unbiased_pass_at_k: dict[int, Estimate]
    """The estimator 1 - C(n-c, k) / C(n, k), averaged over problems."""
    reward_pass_at_k: Estimate | None
    """Share with a correct response among the `adapt.k` samples of highest PRM score; None without a PRM."""
    balance: Estimate
    """B-STaR's balance score (arXiv 2412.17256)."""


@dataclass(frozen=True, slots=True)
class Report:
    """What `evaluate` measured of one policy. `iteration` None is the policy that the run started from."""

    iteration: int | None
    tests: dict[str, TestReport] = field(default_factory=dict)
    temperatures: tuple[TemperatureReport, ...] = ()
    unusable: dict[str, dict[str, str]] = field(default_factory=dict)
    """By test set, or `validation`: problems that were left out by id, and why the model cannot read them."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """What `generate` did."""

    problems: int
    responses: int
    response_tokens: int
    truncated: int
    unusable: dict[str, str] = field(default_factory=dict)
    """Problems that were left out by id, and why the model cannot read them."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What `score` found."""

    responses: int
    correct: int
    timed_out: int
    mean_reward: float
    """Of the correct responses."""
    unlabelled: int = 0
    """Responses to problems without an answer, which are not judged."""
    failed: int = 0
    """Checks that raised an error."""
    unusable: dict[str, str] = field(default_factory=dict)
    """Problems whose correct responses have no reward by id, and why the process reward model cannot read
    them.
    """


@dataclass(frozen=True, slots=True)
class Selected:
    """What `select` did; every correct response is in exactly one of the last four."""

    correct: int = 0
    problems_with_kept: int = 0
    duplicates: int = 0
    below_threshold: int = 0
    not_chosen: int = 0
    kept: int = 0

    def __add__(self, other: "Selected") -> "Selected":
        """Of both together."""
        return Selected(
            self.correct + other.correct,
            self.problems_with_kept + other.problems_with_kept,
            self.duplicates + other.duplicates,
            self.below_threshold + other.below_threshold,
            self.not_chosen + other.not_chosen,
            self.kept + other.kept,
        )


@dataclass(frozen=True, slots=True)
class Trained:
    """What `train` amounted to; the same whether it was killed on the way or not."""

    examples: int
    train_steps: int
    train_step: int
    response_tokens: int
    padding_ratio: float
    first_loss: float | None
    loss: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What `adapt` decided after an iteration, and why in one sentence."""

    iteration: int
    temperature: float
    reason: str
    stop: bool = False


def to_json(record: Any) -> str:
    """A record (or a dict of them) as indented JSON with stable key order."""
    plain = _adapter(type(record)).dump_python(record, mode="json")
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(kind: type[Record], text: str) -> Record:
    """The record that `to_json` wrote."""
    found: Record = _adapter(kind).validate_json(text)
    return found


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Building one takes milliseconds, so each is built once."""
    if kind not in ADAPTERS:
        ADAPTERS[kind] = TypeAdapter(kind)
    return ADAPTERS[kind]
