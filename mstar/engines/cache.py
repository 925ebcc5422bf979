"""The keys and values of the rows in flight, in room that grows in steps.

Layers that attend to everything are written in place; layers with a sliding window are transformers' own,
which keep no more than the window. Layers of other kinds (recurrent states, chunks) keep what this engine
does not know how to repeat and pad, so such a model is refused by name.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from mstar.errors import UserError

ROOM = 64
"""Tokens by which the cache grows when it is full."""


def refuse_unknown_layers(config: Any) -> None:
    """UserError for a model with layers that the cache cannot hold."""
    text = config.get_text_config(decoder=True)
    layers = DynamicCache(config=config).layers
    names = getattr(text, "layer_types", None) or [type(layer).__name__ for layer in layers]
    kinds = (DynamicLayer, DynamicSlidingWindowLayer)
    other = {
        name
        for name, layer in zip(names, layers, strict=False)
        if type(layer) not in kinds or name == "chunked_attention"
    }
    if other or len(layers) != text.num_hidden_layers:
        raise UserError(
            f"the text model {text.model_type} has layers of kind {', '.join(sorted(other)) or 'shared'}; "
            "the transformers engine holds full and sliding attention only: take another model"
        )


def build_cache(config: Any) -> Cache:
    """An empty cache for the model of this configuration."""
    layers = DynamicCache(config=config).layers
    return Cache(layers=[RoomyLayer() if type(layer) is DynamicLayer else layer for layer in layers])


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
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
