"""Sampling with vLLM: the engine for GPUs.

Requests of several chunks are in flight together, so that the engine does not drain while a chunk comes to
its end. The samples of a request are asked for at once, and requests about the same image follow each other:
then vLLM's caches of images and of prompts are of use. Prompts are tokenised by our Encoder, images go
through the image processor of training, and vLLM must see as many embeddings in them (vllm_prompts).

A response depends on its request's seed alone, up to rounding: how vLLM's batches are composed depends on
time, and so does the rounding of their sums.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mstar.config import Config
from mstar.engines import Chunk, Generated, Sampling
from mstar.engines.probe import expect, other_weights
from mstar.engines.reading import RequestReader
from mstar.engines.vllm_adapter import served
from mstar.engines.vllm_process import VllmProcess
from mstar.engines.vllm_prompts import engine_input, why_refused
from mstar.errors import UnusableRequest, UserError
from mstar.models import Encoder
from mstar.models.loading import load_generation_config
from mstar.models.probe import Probe, probe_requests
from mstar.models.tokens import banned_ids, broken_logits, end_ids, text_after
from mstar.prompts import Request
from mstar.records import ImageSource
from mstar.seeds import derive_seed

INSTALL = "generate.engine is vllm, which is not installed: pip install 'mstar[vllm]', or take transformers"
AHEAD = 2
"""Times `generate.rows_in_flight`: responses that are asked for at once, so that some always wait."""


@dataclass
class _Part:
    """A chunk at work."""

    chunk: Chunk
    samples: list[list[Generated]]
    owed: int
    """Requests that are not finished."""


@dataclass
class _Flight:
    """What is asked for and not answered yet."""

    parts: deque[_Part] = field(default_factory=deque)
    """Oldest first; finished ones wait for those before them."""
    asked: dict[str, tuple[_Part, int]] = field(default_factory=dict)
    """By vLLM's name of a request: its part, and its place there."""
    responses: int = 0


class VllmEngine:
    """See engines.Engine."""

    def __init__(self, policy: Path, config: Config) -> None:
        if find_spec("vllm") is None:
            raise UserError(INSTALL)
        revision = config.model.revision
        self.policy, self.dtype = policy, config.model.dtype
        self.encoder = Encoder(policy, config.images, config.prompt, revision)
        if why := why_refused(self.encoder.family):
            raise UserError(
                f"model {policy} is of type {self.encoder.config.model_type}, {why}; take generate.engine "
                "transformers"
            )
        self.reader = RequestReader(self.encoder)
        text = self.encoder.config.get_text_config(decoder=True)
        self.ends = end_ids(self.encoder, load_generation_config(policy, revision, self.encoder.config))
        self.banned = banned_ids(self.encoder, text.vocab_size, self.ends)
        self.longest = min(
            config.prompt.max_tokens + 2 * config.generate.max_tokens,  # a response, and its continuation
            text.max_position_embeddings,
        )
        self.most_responses = AHEAD * config.generate.rows_in_flight
        self.names = map(str, count())
        probe = expect(policy, config, self.encoder, self.banned) if config.vllm.verify_weights else None
        self.holding = ExitStack()
        model = self.holding.enter_context(served(policy, config.model, self.encoder.family))
        try:
            self.process = VllmProcess(model, config, self.encoder, self.longest)
            self.holding.callback(self.process.close)
            self.process.engine.collective_rpc("ban_tokens", args=(self.banned,))
            if probe:
                self._verify(*probe)
        except BaseException:
            self.holding.close()
            raise

    def check(self, request: Request) -> None:
        self.reader.check(request)
        self._refuse_long(request)

    def generate(self, chunks: Iterable[Chunk]) -> Iterator[list[list[Generated]]]:
        flight = _Flight()
        waiting = self._requests(chunks, flight)
        try:
            while True:
                while flight.responses < self.most_responses and (one := next(waiting, None)):
                    self._ask(flight, *one)
                while flight.parts and not flight.parts[0].owed:
                    yield flight.parts.popleft().samples
                if not flight.asked:
                    return
                for output in self.process.step():
                    self._take(flight, output)
        finally:
            if flight.asked and self.process.llm is not None:
                self.process.engine.abort_request(list(flight.asked))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.holding.close()

    def _requests(self, chunks: Iterable[Chunk], flight: _Flight) -> Iterator[tuple[_Part, int]]:
        """The requests of one chunk after the other; a chunk is taken when all before it are asked."""
        for chunk in chunks:
            rows = self.reader.plan(chunk.requests)
            part = _Part(chunk, [[] for _ in rows], len(rows))
            flight.parts.append(part)
            for index in by_image(chunk.requests):
                self._refuse_long(chunk.requests[index])
                yield part, index

    def _ask(self, flight: _Flight, part: _Part, index: int) -> None:
        sampling = part.chunk.sampling
        request = part.chunk.requests[index]
        name = self._add(request, parameters(request, sampling, self.ends))
        flight.asked[name] = part, index
        flight.responses += sampling.samples_per_problem

    def _add(self, request: Request, params: Any) -> str:
        """Hand a request that is planned to vLLM; the name under which its output will come."""
        row, images, name = self.reader.row(request), self.reader.images(request), next(self.names)
        try:
            self.process.add(name, lambda engine: engine_input(engine, self.encoder, row, images), params)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"vLLM refuses problem {request.id}: {' '.join(str(error).split())}") from error
        return name

    def _take(self, flight: _Flight, output: Any) -> None:
        """Note the finished samples of a request."""
        part, index = flight.asked.pop(output.request_id)
        request, sampling = part.chunk.requests[index], part.chunk.sampling
        found = [self._finish(request, one) for one in output.outputs]
        part.samples[index] = found if len(found) > 1 else found * sampling.samples_per_problem
        part.owed -= 1
        flight.responses -= sampling.samples_per_problem

    def _finish(self, request: Request, output: Any) -> Generated:
        tokens = tuple(output.token_ids)
        if not set(tokens).isdisjoint(self.banned):
            raise broken_logits(self.policy, request)
        ended = tokens[-1] in self.ends
        text = text_after(self.encoder, request.prefix, tokens[:-1] if ended else tokens)
        if output.logprobs is None:
            return Generated(text, tokens, not ended)
        pairs = zip(output.logprobs, tokens, strict=True)
        return Generated(text, tokens, not ended, tuple(own[token].logprob for own, token in pairs))

    def _refuse_long(self, request: Request) -> None:
        length = len(self.reader.row(request).ids)
        if length >= self.longest:
            raise UnusableRequest(
                request.id, f"has a prompt of {length} tokens, and the model has {self.longest} positions"
            )

    def _verify(self, probe: Probe, is_noted: bool) -> None:
        """UserError where vLLM answers a probe otherwise than it must."""
        requests = {request.id: request for request in probe_requests()}
        for expected in probe.expected:
            self.reader.plan([requests[expected.id]])
            name = self._add(requests[expected.id], probing(expected.tokens))
            [output] = self._finished(name)
            [found] = output.outputs[0].logprobs
            difference = expected.difference([found[token].logprob for token in expected.tokens])
            if not difference <= probe.tolerance(self.dtype):
                raise other_weights(self.policy, difference, probe.tolerance(self.dtype), is_noted)

    def _finished(self, name: str) -> list[Any]:
        """The output of a request that is the only one in flight."""
        found: list[Any] = []
        while not found:
            found = [output for output in self.process.step() if output.request_id == name]
        return found


def by_image(requests: Sequence[Request]) -> list[int]:
    """Indices of the requests, those about the same images next to each other, in order of appearance."""
    places: dict[tuple[ImageSource, ...], int] = {}
    for request in requests:
        places.setdefault(request.images, len(places))
    return sorted(range(len(requests)), key=lambda index: places[requests[index].images])


def parameters(request: Request, sampling: Sampling, ends: Iterable[int]) -> Any:
    """vLLM's SamplingParams: everything said, nothing taken from the checkpoint."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    greedy = sampling.temperature == 0
    return SamplingParams(
        n=1 if greedy else sampling.samples_per_problem,
        temperature=sampling.temperature,
        top_p=1.0 if greedy else sampling.top_p,
        top_k=0,
        min_p=0.0,
        seed=derive_seed(request.seed, "vllm"),
        max_tokens=sampling.max_tokens,
        stop_token_ids=sorted(ends),
        logprobs=0 if sampling.logprobs else None,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def probing(tokens: Sequence[int]) -> Any:
    """The SamplingParams that ask for the log-probabilities of these tokens, next after a prompt."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=0.0,
        max_tokens=1,
        logprob_token_ids=list(tokens),
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
