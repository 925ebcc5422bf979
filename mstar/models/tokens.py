"""Which tokens end a response, which it must not hold, and what those that were sampled say."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mstar.errors import UserError
from mstar.models import Encoder
from mstar.prompts import Request


def end_ids(encoder: Encoder, generation_config: Any) -> frozenset[int]:
    """The tokens that end a response: the one that ends a turn, and those that the checkpoint names."""
    named = generation_config.eos_token_id
    several = named if isinstance(named, list) else [named]
    return frozenset(token for token in [encoder.end_id, *several] if token is not None)


def banned_ids(encoder: Encoder, vocabulary_size: int, ends: Collection[int]) -> list[int]:
    """Tokens that a response must not hold: images and videos, padding, and numbers that no token has."""
    nameless = set(range(vocabulary_size)) - set(encoder.tokenizer.get_vocab().values())
    banned = {token for token in {*encoder.family.never_sampled, encoder.pad_id} if token < vocabulary_size}
    return sorted((banned | nameless) - set(ends))


def text_after(encoder: Encoder, prefix: str, tokens: Sequence[int]) -> str:
    """What tokens say that were sampled after `prefix`; the end token is not among them."""
    if not prefix:
        return encoder.decode(tokens)
    before = encoder.plain_text.ids(prefix)
    return encoder.decode([*before, *tokens])[len(encoder.decode(before)) :]


def broken_logits(policy: Path, request: Request) -> UserError:
    """What is said where a model's logits are not finite."""
    return UserError(
        f"model {policy} answers problem {request.id} with logits that are not finite: its weights are "
        "damaged or its training diverged (or model.dtype is too narrow for it); take an earlier checkpoint"
    )
