"""One sequence as a model reads it, and several of them as one padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from mstar.models.encoder import Encoder


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sequence: token ids with image tokens expanded, their positions, and the pixels of its images."""

    ids: list[int]
    positions: Tensor
    """(axes, tokens): one axis, or time, height and width, as the family counts."""
    shapes: tuple[tuple[int, ...], ...] = ()
    """Per image how its tokens are laid out, in the family's own terms."""
    pixels: tuple[Tensor, ...] = ()
    """Per image what the vision tower reads; empty where only the tokens were asked for."""

    @property
    def next_position(self) -> int:
        """Where the next token stands. An image may span fewer positions than tokens."""
        return int(self.positions.max()) + 1

    @property
    def is_whole(self) -> bool:
        """Whether the pixels are there."""
        return len(self.pixels) == len(self.shapes)

    def followed_by(self, ids: list[int]) -> Encoded:
        """This sequence and more text."""
        before = self.positions.numpy()
        positions = np.empty((len(before), len(self.ids) + len(ids)), dtype=np.int64)
        positions[:, : len(self.ids)] = before
        positions[:, len(self.ids) :] = np.arange(len(ids)) + before.max() + 1
        return replace(self, ids=self.ids + ids, positions=torch.from_numpy(positions))


def collate(
    rows: Sequence[Encoded], encoder: Encoder, side: Literal["left", "right"], device: torch.device
) -> dict[str, Tensor]:
    """One padded batch for the model: input_ids and attention_mask (rows, length), then position_ids and the
    images, in row order, as the family's `forward` takes them.
    """
    family, lengths = encoder.family, [len(row.ids) for row in rows]
    length = max(lengths)
    ids = np.full((len(rows), length), encoder.pad_id)
    filled = np.arange(length) < np.array(lengths)[:, None]
    mask = (filled if side == "right" else filled[:, ::-1]).astype(np.int64)
    positions = np.zeros((family.axes, len(rows), length), dtype=np.int64)
    for index, row in enumerate(rows):
        start = length - lengths[index] if side == "left" else 0
        own = slice(start, start + lengths[index])
        ids[index, own] = row.ids
        positions[:, index, own] = row.positions.numpy()
    batch = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        "position_ids": family.position_ids(torch.from_numpy(positions)),
    }
    if any(row.pixels for row in rows):
        batch.update(family.image_inputs(batch["input_ids"], rows))
    return {name: tensor.to(device) for name, tensor in batch.items()}
