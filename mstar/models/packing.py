"""Several sequences end to end as one row, none of which sees another: no padding.

A packed row has no attention mask. Its positions begin anew with every sequence, and from that transformers
makes what its attention wants: a causal mask with a block for each sequence (sdpa, eager), or the lengths of
the sequences (flash attention). Where positions have several axes, an image's tokens do not count up, so
such models take the tokens' plain count as one more axis in front.

sdpa would multiply every token with every other and throw away what the mask hides, so `prepare_for_packs`
has it attend to one sequence after the other. Some text models carry more from token to token than attention
does (convolutions, recurrent layers): it tries that out, and refuses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from mstar.errors import UserError
from mstar.models.families import Family
from mstar.models.sequences import Encoded

if TYPE_CHECKING:
    from mstar.models.encoder import Encoder

CAUSAL, MASKED = "mstar_causal_packs", "mstar_masked_packs"
"""Our attention under two names: the second asks for a mask, of which it takes the blocks."""
TRIED = ("Answer: 12, because 5 and 7 make 12", "Answer: no, there are more of them")
"""Two sequences of which the second must not see the first."""
LEAK = 0.03
"""Share of the hidden states that rounding does not explain; a convolution over three tokens moves 0.14."""
_lengths: Any = WeakTensorKeyDictionary()
"""Of positions that are in use: every layer asks, and reading them waits for a GPU."""


def pack(rows: Sequence[Encoded], encoder: Encoder, device: torch.device) -> dict[str, Tensor]:
    """One packed row for the model: input_ids (1, tokens), position_ids and the images, in the rows' order,
    as the family's `forward` takes them.
    """
    family = encoder.family
    ids = torch.tensor([[token for row in rows for token in row.ids]])
    positions = torch.cat([row.positions for row in rows], dim=1)
    if family.axes > 1:
        counts = torch.cat([torch.arange(len(row.ids)) for row in rows])
        positions = torch.cat([counts[None], positions])
    packed = {"input_ids": ids, "position_ids": family.position_ids(positions[:, None])}
    if any(row.pixels for row in rows):
        packed.update(family.image_inputs(ids, rows))
    return {name: tensor.to(device) for name, tensor in packed.items()}


def prepare_for_packs(model: Any, encoder: Encoder) -> None:
    """Have the model attend within sequences. UserError where one sees another all the same."""
    text = model.config.get_text_config()
    if text._attn_implementation == "sdpa":
        model.set_attn_implementation({"text_config": CAUSAL if _is_causal(text, encoder.family) else MASKED})
    before, tried = (_text(text, encoder) for text in TRIED)
    alone, packed = _hidden(model, [tried], encoder), _hidden(model, [before, tried], encoder)
    difference = float((packed[-len(alone) :] - alone).norm() / alone.norm())
    if not difference < LEAK:
        raise UserError(
            "train.packing is true, but in a pack responses of this model see one another: its text model "
            f"({text.model_type}) carries more than attention from token to token; set train.packing to false"
        )


def attend_within_sequences(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    position_ids: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers, for one packed row: query, key and value are (1, heads, tokens,
    head size), a mask (1, 1, tokens, tokens); returns (1, tokens, heads, head size).
    """
    if position_ids is None:
        raise UserError(
            f"train.packing is true, but attention in {type(module).__name__} is not told where sequences "
            "begin; set train.packing to false"
        )
    lengths = sequence_lengths(position_ids)
    parts = zip(*(torch.split(one, lengths, dim=2) for one in (query, key, value)), strict=True)
    found, start = [], 0
    for length, part in zip(lengths, parts, strict=True):
        own = slice(start, start + length)
        mask = None if attention_mask is None else attention_mask[:, :, own, own]
        found.append(sdpa_attention_forward(module, *part, mask, **options)[0])
        start += length
    return torch.cat(found, dim=1), None


AttentionInterface.register(CAUSAL, attend_within_sequences)
AttentionInterface.register(MASKED, attend_within_sequences)
AttentionMaskInterface.register(MASKED, sdpa_mask)


def sequence_lengths(position_ids: Tensor) -> list[int]:
    """Tokens of each sequence in a packed row; positions (1, tokens) are 0 where one begins."""
    if position_ids not in _lengths:
        (row,) = position_ids
        starts = (row == 0).nonzero()[:, 0].tolist()
        ends = [*starts[1:], len(row)]
        _lengths[position_ids] = [end - start for start, end in zip(starts, ends, strict=True)]
    lengths: list[int] = _lengths[position_ids]
    return lengths


def _is_causal(text: Any, family: Family) -> bool:
    """Whether every token sees all tokens before it, and no other."""
    kinds = set(getattr(text, "layer_types", None) or ())
    window = getattr(text, "sliding_window", None)
    return kinds <= {"full_attention"} and window is None and not family.sees_ahead


def _text(text: str, encoder: Encoder) -> Encoded:
    ids = encoder.encode_responses([text])[0]
    return Encoded(ids, encoder.family.positions(ids, ()))


def _hidden(model: Any, rows: Sequence[Encoded], encoder: Encoder) -> Tensor:
    """(tokens, size) of a pack's last layer."""
    with torch.no_grad():
        hidden: Tensor = model.model(**pack(rows, encoder, model.device), use_cache=False).last_hidden_state
    return hidden[0]
