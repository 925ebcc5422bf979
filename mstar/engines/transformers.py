"""Sampling with the model classes of transformers, at several times the speed of their `generate`.

Each prompt goes through the model once, whatever the number of samples; its keys and values are then copied
for every sample into a cache that has room for the tokens to come, and rows that have ended leave the batch.
A row draws its random numbers from a stream of its own (see randomness.py), so its text does not depend on
the other rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from mstar.config import Config
from mstar.engines import Chunk, Generated, Sampling
from mstar.engines.cache import build_cache, refuse_unknown_layers
from mstar.engines.choosing import BROKEN, choose
from mstar.engines.randomness import row_streams, uniforms
from mstar.engines.reading import RequestReader, cut_batches
from mstar.models import Encoded, Encoder, collate, load_model, set_threads
from mstar.models.tokens import banned_ids, broken_logits, end_ids, text_after
from mstar.prompts import Request

WORTH_DROPPING = 0.8
"""Ended rows leave the batch when no more than this share is still alive: dropping copies the cache."""


class TransformersEngine:
    """See engines.Engine."""

    def __init__(self, policy: Path, config: Config) -> None:
        set_threads(config.model)
        self.policy = policy
        self.encoder = Encoder(policy, config.images, config.prompt, config.model.revision)
        refuse_unknown_layers(self.encoder.config)
        self.model = load_model(policy, config.model)
        self.rows_in_flight = config.generate.rows_in_flight
        self.tokens_per_prefill = config.generate.tokens_per_prefill
        self.reader = RequestReader(self.encoder)
        ends = end_ids(self.encoder, self.model.generation_config)
        size = self.model.get_output_embeddings().weight.shape[0]
        self.end_ids = torch.tensor(sorted(ends))
        self.banned_ids = torch.tensor(banned_ids(self.encoder, size, ends), device=self.model.device)

    def check(self, request: Request) -> None:
        self.reader.check(request)

    def generate(self, chunks: Iterable[Chunk]) -> Iterator[list[list[Generated]]]:
        for chunk in chunks:
            yield self._generate(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self.model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _generate(self, chunk: Chunk) -> list[list[Generated]]:
        """A chunk in batches that fit; more samples than rows may be in flight are taken in turns."""
        total = chunk.sampling.samples_per_problem
        at_once = min(total, self.rows_in_flight)
        planned = self.reader.plan(chunk.requests)
        results: list[list[Generated]] = [[] for _ in chunk.requests]
        for indices in cut_batches(planned, self.rows_in_flight // at_once, self.tokens_per_prefill):
            requests = [chunk.requests[index] for index in indices]
            rows = self.reader.read(requests)
            for start in range(0, total, at_once):
                samples = range(start, min(total, start + at_once))
                found = self._sample(requests, rows, chunk.sampling, samples)
                for place, index in enumerate(indices):
                    results[index] += found[place * len(samples) : (place + 1) * len(samples)]
        return results

    @torch.inference_mode()
    def _sample(
        self, requests: Sequence[Request], prompts: Sequence[Encoded], sampling: Sampling, samples: range
    ) -> list[Generated]:
        """Texts of these `samples` of each request, request by request."""
        streams = row_streams([request.seed for request in requests], samples)
        rows, logits = self._prefill(prompts, len(samples))
        written = _Written(len(streams), sampling)
        for step in range(sampling.max_tokens):
            uniform = uniforms(streams[rows.owners], step).to(logits.device)
            choice = choose(logits, self.banned_ids, sampling, uniform)
            chosen = choice.tokens.cpu()
            if (chosen == BROKEN).any():
                owner = int(rows.owners[chosen == BROKEN][0]) // len(samples)
                raise broken_logits(self.policy, requests[owner])
            written.write(step, rows.owners, chosen, choice.logprobs)
            written.end(step, rows.owners[torch.isin(chosen, self.end_ids)])
            living = ~written.ended[rows.owners]
            if step + 1 == sampling.max_tokens or not living.any():
                break
            tokens = choice.tokens
            if living.float().mean() <= WORTH_DROPPING:
                rows.keep(living)
                tokens = tokens[living.to(tokens.device)]
            logits = self._advance(rows, tokens)
        return [
            self._finish(written, row, requests[row // len(samples)].prefix) for row in range(len(streams))
        ]

    def _prefill(self, prompts: Sequence[Encoded], samples: int) -> tuple["_Rows", Tensor]:
        """Read every prompt once; `samples` rows of each, and their logits (rows, vocabulary)."""
        batch = collate(prompts, self.encoder, "left", self.model.device)
        cache = build_cache(self.encoder.config)
        output = self.model(**batch, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(samples)
        next_positions = torch.tensor(
            [[prompt.next_position] for prompt in prompts], device=self.model.device
        )
        rows = _Rows(
            cache,
            batch["attention_mask"].repeat_interleave(samples, dim=0),
            next_positions.repeat_interleave(samples, dim=0),
            torch.arange(len(prompts) * samples),
        )
        return rows, output.logits[:, -1].repeat_interleave(samples, dim=0)

    def _advance(self, rows: "_Rows", chosen: Tensor) -> Tensor:
        """Feed one token per row; logits (rows, vocabulary) of the next."""
        rows.mask = torch.cat([rows.mask, rows.mask.new_ones(len(chosen), 1)], dim=-1)
        family = self.encoder.family
        output = self.model(
            input_ids=chosen[:, None],
            attention_mask=rows.mask,
            position_ids=family.position_ids(rows.next_positions.expand(family.axes, -1, -1)),
            past_key_values=rows.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        rows.next_positions = rows.next_positions + 1
        logits: Tensor = output.logits[:, -1]
        return logits

    def _finish(self, written: "_Written", row: int, prefix: str) -> Generated:
        length, ended = int(written.lengths[row]), bool(written.ended[row])
        tokens = written.tokens[row, :length].tolist()
        text = text_after(self.encoder, prefix, tokens[: length - 1 if ended else length])
        logprobs = None if written.logprobs is None else tuple(written.logprobs[row, :length].tolist())
        return Generated(text, tuple(tokens), not ended, logprobs)


class _Written:
    """What the rows of a batch hold so far."""

    def __init__(self, rows: int, sampling: Sampling) -> None:
        self.tokens = torch.zeros((rows, sampling.max_tokens), dtype=torch.long)
        self.logprobs = torch.zeros((rows, sampling.max_tokens)) if sampling.logprobs else None
        self.lengths = torch.full((rows,), sampling.max_tokens)
        self.ended = torch.zeros(rows, dtype=torch.bool)

    def write(self, step: int, owners: Tensor, chosen: Tensor, logprobs: Tensor | None) -> None:
        """One token of each row in flight; what comes after a row's end is never read."""
        self.tokens[owners, step] = chosen
        if self.logprobs is not None and logprobs is not None:
            self.logprobs[owners, step] = logprobs.cpu()

    def end(self, step: int, owners: Tensor) -> None:
        """Note rows that have sampled an end token; one that had ended before stays as it was."""
        newly = owners[~self.ended[owners]]
        self.lengths[newly], self.ended[newly] = step + 1, True


@dataclass
class _Rows:
    """The rows still being decoded; `owners` is each one's place in the result."""

    cache: Cache
    mask: Tensor
    next_positions: Tensor
    owners: Tensor

    def keep(self, living: Tensor) -> None:
        index = living.nonzero()[:, 0].to(self.mask.device)
        self.cache.batch_select_indices(index)
        self.mask = self.mask[index]
        self.next_positions = self.next_positions[index]
        self.owners = self.owners[living]
