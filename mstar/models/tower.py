"""What most families share: a vision tower, a projector and a text model, and positions that count tokens.

A member inherits from `TowerFamily` and states only how its images become tokens and pixels. Qwen-VL, whose
positions have three axes, does not.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor


class TowerFamily:
    """See families.Family."""

    axes = 1
    frame = ("", "")
    sees_ahead = False
    processor_settings: Mapping[str, Any] = MappingProxyType({})
    parts: Mapping[Literal["vision", "projector", "text"], tuple[str, ...]] = {
        "vision": ("model.vision_tower.",),
        "projector": ("model.multi_modal_projector.",),
        "text": ("model.language_model.", "lm_head."),
    }

    def positions(self, ids: Sequence[int], shapes: Sequence[tuple[int, ...]]) -> Tensor:
        return torch.arange(len(ids))[None]

    def position_ids(self, positions: Tensor) -> Tensor:
        return positions[0]
