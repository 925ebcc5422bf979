"""What samples responses from a policy: the Engine protocol and its one factory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from mstar.config import Config
from mstar.prompts import Request


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. All of it is explicit; a checkpoint's generation_config is never read for it."""

    samples_per_problem: int
    temperature: float
    """0 is greedy."""
    top_p: float
    max_tokens: int
    logprobs: bool = False
    """Whether the log-probability of each sampled token is wanted."""


@dataclass(frozen=True, slots=True)
class Generated:
    """One sampled text, without its end token and without the request's prefix."""

    text: str
    tokens: tuple[int, ...]
    """Tokens sampled, the end token included."""
    truncated: bool
    logprobs: tuple[float, ...] | None = None
    """Per token its logarithmic probability under the policy at temperature 1, whatever temperature and top_p
    it was sampled with; tokens that are never sampled have no share in it.
    """


@dataclass(frozen=True, slots=True)
class Chunk:
    """Requests that are sampled alike: one Parquet part's worth."""

    requests: Sequence[Request]
    sampling: Sampling


class Engine(Protocol):
    def check(self, request: Request) -> None:
        """Raise UnusableRequest for one that the model cannot read. What is learned of it may be kept for
        `generate`.
        """

    def generate(self, chunks: Iterable[Chunk]) -> Iterator[list[list[Generated]]]:
        """For each chunk, in order, its requests' samples.

        Chunks are taken lazily; an engine may hold several in flight. The same request and sampling give the
        same texts whatever else is in flight, up to rounding; with `transformers`, the same chunk gives
        exactly the same.
        """

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
        case "vllm":
            from mstar.engines.vllm import VllmEngine

            return VllmEngine(policy, config)
