"""What samples responses from a policy: the Engine protocol and its one factory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from mstar.config import Config
from mstar.records import Problem


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. All of it is explicit; a checkpoint's generation_config is never read for it."""

    samples_per_problem: int
    temperature: float
    """0 is greedy."""
    top_p: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Generated:
    """One sampled text, without its end token."""

    text: str
    tokens: int
    """Tokens sampled, the end token included."""
    truncated: bool


class Engine(Protocol):
    def generate(self, problems: Sequence[Problem], sampling: Sampling, seed: int) -> list[list[Generated]]:
        """For each problem its samples. The same problems, sampling and seed give the same texts."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back the device's memory."""


def build_engine(config: Config, policy: Path) -> Engine:
    """The engine of `generate.engine` with the weights in `policy`."""
    match config.generate.engine:
        case "transformers":
            from mstar.engines.transformers import TransformersEngine

            return TransformersEngine(policy, config)
