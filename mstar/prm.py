"""Steps, and the process reward model that gives each of them a score.

A process reward model is a policy-shaped model with a scalar head, read at the last token of every step. Its
folder is a policy checkpoint plus `prm_head.safetensors` (weight (1, hidden), bias (1,)) and `prm.json`,
which names the step separator that it was trained with. Here it is only used; training one is a phase of its
own.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mstar.config import Config
from mstar.errors import UserError
from mstar.models import Encoded, Encoder, collate, load_model, set_threads
from mstar.models.loading import refuse_nonfinite, refuse_quantized
from mstar.prompts import Request
from mstar.steps import step_ends

HEAD, FACTS = "prm_head.safetensors", "prm.json"


class ProcessRewardModel:
    """Scores the steps of responses, in batches of similar length."""

    def __init__(self, folder: Path, config: Config) -> None:
        set_threads(config.model)
        separator = _read_separator(folder)
        if separator != config.prompt.step_separator:
            raise UserError(
                f"score.prm {folder} was trained on steps that end with {separator!r}, "
                f"prompt.step_separator is {config.prompt.step_separator!r}; make them equal"
            )
        self.folder = folder
        self.separator = separator
        self.encoder = Encoder(folder, config.images, config.prompt)
        self.model = load_model(folder, config.model)
        self.tokens_per_batch = config.score.tokens_per_batch
        head = _read_head(folder, self.model)
        self.weight = head["weight"].float().to(self.model.device)
        self.bias = head["bias"].float().to(self.model.device)

    @torch.inference_mode()
    def score(
        self, requests: Sequence[Request], texts: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, ...]]]:
        """For each request and each of its texts the score of every step, in [0, 1]."""
        scores: list[list[tuple[float, ...]]] = []
        for group in self._groups(requests):
            own = texts[len(scores) : len(scores) + len(group)]
            scores += self._score_prompts(group, own)
        return scores

    def _groups(self, requests: Sequence[Request]) -> Iterator[list[tuple[Request, Encoded]]]:
        """Requests whose images are in memory together: as many prompt tokens as a batch may hold."""
        group: list[tuple[Request, Encoded]] = []
        tokens = 0
        for request in requests:
            [prompt] = self.encoder.encode([request])
            if group and tokens + len(prompt.ids) > self.tokens_per_batch:
                yield group
                group, tokens = [], 0
            group.append((request, prompt))
            tokens += len(prompt.ids)
        if group:
            yield group

    def _score_prompts(
        self, prompts: Sequence[tuple[Request, Encoded]], texts: Sequence[Sequence[str]]
    ) -> list[list[tuple[float, ...]]]:
        rows: list[Encoded] = []
        ends: list[list[int]] = []
        owners: list[str] = []
        for (request, prompt), own in zip(prompts, texts, strict=True):
            for text in own:
                ids, step_places = self._encode(text)
                rows.append(prompt.followed_by(ids))
                ends.append([len(prompt.ids) + place for place in step_places])
                owners.append(request.id)
        scores: list[tuple[float, ...]] = [()] * len(rows)
        for batch in self._batches(rows):
            found = self._forward([rows[index] for index in batch], [ends[index] for index in batch])
            for index, logits in zip(batch, found, strict=True):
                self._refuse_nonfinite(owners[index], logits)
                scores[index] = tuple(torch.sigmoid(logits).tolist())
        remaining = iter(scores)
        return [[next(remaining) for _ in own] for own in texts]

    def _encode(self, text: str) -> tuple[list[int], list[int]]:
        """A response's tokens, and the index of the token in which each step ends."""
        read = self.encoder.plain_text.read(text, return_offsets_mapping=True)
        token_ends = [end for _, end in read["offset_mapping"]]
        places: list[int] = []
        token = 0
        if not token_ends:
            return [], places
        for end in step_ends(text, self.separator):
            while token < len(token_ends) - 1 and token_ends[token] < end:
                token += 1
            places.append(token)
        return read["input_ids"], places

    def _batches(self, rows: Sequence[Encoded]) -> list[list[int]]:
        batches: list[list[int]] = []
        for index in sorted(range(len(rows)), key=lambda index: -len(rows[index].ids)):
            longest = len(rows[batches[-1][0]].ids) if batches else 0
            if batches and longest * (len(batches[-1]) + 1) <= self.tokens_per_batch:
                batches[-1].append(index)
            else:
                batches.append([index])
        return batches

    def _forward(self, rows: Sequence[Encoded], ends: Sequence[Sequence[int]]) -> list[Tensor]:
        batch = collate(rows, self.encoder, "right", self.model.device)
        hidden = self.model.model(**batch, use_cache=False).last_hidden_state.float()
        logits: Tensor = (hidden @ self.weight[0] + self.bias).cpu()
        return [logits[index, list(places)] for index, places in enumerate(ends)]

    def _refuse_nonfinite(self, id: str, logits: Tensor) -> None:
        if not torch.isfinite(logits).all():
            raise UserError(
                f"score.prm {self.folder} gives problem {id} a score that is not finite: its weights are "
                "damaged (or model.dtype is too narrow for it)"
            )


def _read_separator(folder: Path) -> str:
    try:
        return str(json.loads((folder / FACTS).read_text())["step_separator"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"score.prm is {folder}, which is no process reward model (no readable {FACTS}); name one or null"
        ) from None


def _read_head(folder: Path, model: Any) -> dict[str, Tensor]:
    """The scalar head: UserError where it is not the one of this model."""
    hidden = model.config.get_text_config().hidden_size
    try:
        head: dict[str, Tensor] = load_file(folder / HEAD)
    except (OSError, SafetensorError) as error:
        raise UserError(f"score.prm {folder}: {HEAD} does not load ({error})") from None
    shapes = {name: tuple(tensor.shape) for name, tensor in head.items()}
    if shapes != {"weight": (1, hidden), "bias": (1,)}:
        raise UserError(
            f"score.prm {folder}: {HEAD} holds {shapes}; it must hold weight (1, {hidden}) and bias (1,)"
        )
    refuse_quantized(folder, head.items())
    refuse_nonfinite(folder, head.items())
    return head
