"""The next token of each row, from the logits of the model."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mstar.engines import Sampling

BROKEN = -1
"""In place of a token where the logits are not finite."""


@dataclass(frozen=True, slots=True)
class Choice:
    """(rows,) each."""

    tokens: Tensor
    logprobs: Tensor | None
    """At temperature 1, banned tokens removed; None where they were not asked for."""


def choose(logits: Tensor, banned: Tensor, sampling: Sampling, uniform: Tensor) -> Choice:
    """The likeliest token of each row of `logits` (rows, vocabulary); at a temperature above 0 the one where
    `uniform` (rows,) falls among the cumulated probabilities.
    """
    logits = logits.float().index_fill(-1, banned, -torch.inf)
    if sampling.temperature == 0:
        tokens = logits.argmax(-1)
        mass = logits.gather(-1, tokens[:, None])[:, 0]
    else:
        probabilities = torch.softmax(logits / sampling.temperature, dim=-1)
        if sampling.top_p < 1:
            probabilities = nucleus(probabilities, sampling.top_p)
        cumulated = probabilities.cumsum(-1)
        mass = cumulated[:, -1]
        tokens = _reached(cumulated, uniform)
    tokens = tokens.masked_fill(~torch.isfinite(mass), BROKEN)
    if not sampling.logprobs:
        return Choice(tokens, None)
    chosen = logits.gather(-1, tokens.clamp(min=0)[:, None])[:, 0]
    return Choice(tokens, chosen - logits.logsumexp(-1))


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Zero all but the smallest set of likeliest tokens whose probabilities reach `top_p`."""
    ranked, order = probabilities.sort(dim=-1, descending=True)
    outside = ranked.cumsum(-1) - ranked >= top_p
    return torch.zeros_like(probabilities).scatter(-1, order, ranked.masked_fill(outside, 0.0))


def _reached(cumulated: Tensor, uniform: Tensor) -> Tensor:
    """The first token at which more than the share `uniform` has been cumulated. It has some probability: the
    target stays below the whole, also where rounding would lift it there.
    """
    whole = cumulated[:, -1:]
    target = torch.minimum(uniform[:, None] * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    return torch.searchsorted(cumulated, target, right=True)[:, 0].clamp(max=cumulated.shape[-1] - 1)
