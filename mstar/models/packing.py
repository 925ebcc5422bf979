"""Several sequences end to end as one row, none of which sees another: no padding.

A packed row has no attention mask. Its positions begin anew with every sequence, and from that transformers
makes what its attention wants: a causal mask with a block for each sequence (sdpa, eager), or the lengths of
the sequences (flash attention). Where positions have several axes, an image's tokens do not count up, so
such models take the tokens' plain count as one more axis in front. Some text models carry more from token to
token than attention does (convolutions, recurrent layers): `refuse_leaks` tries it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mstar.errors import UserError
from mstar.models.sequences import Encoded

if TYPE_CHECKING:
    from mstar.models.encoder import Encoder

TRIED = ("Answer: 12, because 5 and 7 make 12", "Answer: no, there are more of them")
"""Two sequences of which the second must not see the first."""
LEAK = 1e-2
"""Share of the hidden states that rounding does not explain."""


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


def refuse_leaks(model: Any, encoder: Encoder) -> None:
    """UserError where a sequence in a pack sees the one before it."""
    before, tried = (_text(text, encoder) for text in TRIED)
    alone, packed = _hidden(model, [tried], encoder), _hidden(model, [before, tried], encoder)
    difference = float((packed[-len(alone) :] - alone).norm() / alone.norm())
    if not difference < LEAK:
        kind = model.config.get_text_config().model_type
        raise UserError(
            f"train.packing is true, but in a pack responses of this model see one another: its text model "
            f"({kind}) carries more than attention from token to token; set train.packing to false"
        )


def _text(text: str, encoder: Encoder) -> Encoded:
    ids = encoder.encode_responses([text])[0]
    return Encoded(ids, encoder.family.positions(ids, ()))


def _hidden(model: Any, rows: Sequence[Encoded], encoder: Encoder) -> Tensor:
    """(tokens, size) of a pack's last layer."""
    with torch.no_grad():
        hidden: Tensor = model.model(**pack(rows, encoder, model.device), use_cache=False).last_hidden_state
    return hidden[0]
