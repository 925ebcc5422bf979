"""Sampling with the model classes of transformers, at several times the speed of their `generate`.

Each prompt goes through the model once, whatever the number of samples; its keys and values are then copied
for every sample into a cache that has room for the tokens to come, and rows that have ended leave the batch.
A row draws one uniform number per token from a stream of its own, so its text does not depend on when the
other rows end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from mstar.config import Config
from mstar.engines import Generated, Sampling
from mstar.models import Encoded, Encoder, collate, load_model, set_threads
from mstar.records import Problem

ROOM = 64
"""Tokens by which the cache grows when it is full."""
WORTH_DROPPING = 0.8
"""Ended rows leave the batch when no more than this share is still alive: dropping copies the cache."""


class TransformersEngine:
    """See engines.Engine."""

    def __init__(self, policy: Path, config: Config) -> None:
        set_threads(config.model)
        self.encoder = Encoder(policy, config.images, config.prompt)
        self.model = load_model(policy, config.model)
        self.rows_in_flight = config.generate.rows_in_flight
        self.end_ids = torch.tensor(_end_ids(self.encoder, self.model), device=self.model.device)
        self.banned_ids = torch.tensor(_banned_ids(self.encoder, self.model), device=self.model.device)

    def generate(self, problems: Sequence[Problem], sampling: Sampling, seed: int) -> list[list[Generated]]:
        encoded = self.encoder.encode_prompts(problems)
        by_length = sorted(range(len(problems)), key=lambda index: len(encoded[index].ids))
        at_once = max(1, self.rows_in_flight // sampling.samples_per_problem)
        results: list[list[Generated]] = [[] for _ in problems]
        for start in range(0, len(problems), at_once):
            indices = by_length[start : start + at_once]
            random = torch.Generator().manual_seed(seed + start)
            texts = self._sample([encoded[index] for index in indices], sampling, random)
            for place, index in enumerate(indices):
                own = texts[place * sampling.samples_per_problem : (place + 1) * sampling.samples_per_problem]
                results[index] = own
        return results

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self.model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _sample(self, prompts: list[Encoded], sampling: Sampling, random: torch.Generator) -> list[Generated]:
        """Texts of `samples_per_problem` rows for each prompt, prompt by prompt."""
        rows, logits = self._prefill(prompts, sampling.samples_per_problem)
        total = len(prompts) * sampling.samples_per_problem
        tokens = torch.zeros((total, sampling.max_tokens), dtype=torch.long)
        lengths = torch.full((total,), sampling.max_tokens)
        ended = torch.zeros(total, dtype=torch.bool)
        for step in range(sampling.max_tokens):
            uniform = torch.rand(total, generator=random)[rows.owners]
            chosen = self._choose(logits, sampling, uniform.to(logits.device))
            tokens[rows.owners, step] = chosen.cpu()
            alive = ~torch.isin(chosen, self.end_ids)
            just_ended = rows.owners[~alive.cpu()]
            newly = just_ended[~ended[just_ended]]
            lengths[newly], ended[newly] = step + 1, True
            living = ~ended[rows.owners]
            if not living.any():
                break
            if living.float().mean() <= WORTH_DROPPING:
                rows.keep(living)
                chosen = chosen[living.to(chosen.device)]
            if step + 1 < sampling.max_tokens:
                logits = self._advance(rows, chosen)
        return [self._finish(tokens[row], int(lengths[row]), bool(ended[row])) for row in range(total)]

    def _prefill(self, prompts: list[Encoded], samples: int) -> tuple["_Rows", Tensor]:
        """Read every prompt once; `samples` rows of each, and their logits (rows, vocabulary)."""
        batch = collate(prompts, self.encoder, "left", self.model.device)
        layers = self.encoder.config.get_text_config().num_hidden_layers
        cache = Cache(layers=[_RoomyLayer() for _ in range(layers)])
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
        output = self.model(
            input_ids=chosen[:, None],
            attention_mask=rows.mask,
            position_ids=rows.next_positions.expand(3, -1, -1),
            past_key_values=rows.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        rows.next_positions = rows.next_positions + 1
        logits: Tensor = output.logits[:, -1]
        return logits

    def _choose(self, logits: Tensor, sampling: Sampling, uniform: Tensor) -> Tensor:
        """The next token of each row: the likeliest, or where `uniform` falls among the cumulated
        probabilities.
        """
        logits = logits.float().index_fill(-1, self.banned_ids, -torch.inf)
        if sampling.temperature == 0:
            return logits.argmax(-1)
        probabilities = torch.softmax(logits / sampling.temperature, dim=-1)
        if sampling.top_p < 1:
            probabilities = _nucleus(probabilities, sampling.top_p)
        cumulated = probabilities.cumsum(-1)
        target = uniform[:, None] * cumulated[:, -1:]
        chosen = torch.searchsorted(cumulated, target, right=True)[:, 0]
        return chosen.clamp(max=logits.shape[-1] - 1)

    def _finish(self, tokens: Tensor, length: int, ended: bool) -> Generated:
        ids = tokens[: length - 1 if ended else length].tolist()
        return Generated(self.encoder.decode(ids), length, truncated=not ended)


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


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """A cache layer with room at its end, so that a new token is written in place and nothing is copied.

    `keys` and `values` are views of the filled part, (rows, heads, tokens, head size).
    """

    keys: Tensor
    values: Tensor

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        length = self.get_seq_length()
        end = length + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.key_room, self.value_room = key_states, value_states
        elif end > self.key_room.shape[-2]:
            self.key_room = _with_room(self.keys, end + ROOM)
            self.value_room = _with_room(self.values, end + ROOM)
        if length:
            self.key_room[..., length:end, :] = key_states
            self.value_room[..., length:end, :] = value_states
        self.keys, self.values = self.key_room[..., :end, :], self.value_room[..., :end, :]
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._rearrange(torch.arange(len(self.keys), device=self.keys.device).repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        self._rearrange(indices)

    def _rearrange(self, indices: Tensor) -> None:
        length = self.keys.shape[-2]
        self.key_room, self.value_room = self.key_room[indices], self.value_room[indices]
        self.keys, self.values = self.key_room[..., :length, :], self.value_room[..., :length, :]


def _with_room(states: Tensor, capacity: int) -> Tensor:
    room = states.new_empty((*states.shape[:-2], capacity, states.shape[-1]))
    room[..., : states.shape[-2], :] = states
    return room


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Zero all but the smallest set of likeliest tokens whose probabilities reach `top_p`."""
    ranked, order = probabilities.sort(dim=-1, descending=True)
    outside = ranked.cumsum(-1) - ranked >= top_p
    return torch.zeros_like(probabilities).scatter(-1, order, ranked.masked_fill(outside, 0.0))


def _end_ids(encoder: Encoder, model: Any) -> list[int]:
    """The tokens that end a response: the tokenizer's, and those that the checkpoint names."""
    named = model.generation_config.eos_token_id
    several = named if isinstance(named, list) else [named]
    return sorted({token for token in [encoder.tokenizer.eos_token_id, *several] if token is not None})


def _banned_ids(encoder: Encoder, model: Any) -> list[int]:
    """Tokens that a response must not hold: images and videos, padding, and numbers that no token has."""
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    visual = {getattr(encoder.config, name, None) for name in names}
    size = model.get_output_embeddings().weight.shape[0]
    nameless = set(range(size)) - set(encoder.tokenizer.get_vocab().values())
    banned = {
        token for token in visual | {encoder.tokenizer.pad_token_id} if token is not None and token < size
    }
    return sorted((banned | nameless) - set(_end_ids(encoder, model)))
