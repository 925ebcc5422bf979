"""A file of tensors in the safetensors format that is written one tensor after the other: nobody has to hold
all of them. (safetensors' own `save_file` takes them at once, and copies them.)

The format: the length of the header in 8 bytes, the header (JSON: type, shape and place of each tensor), the
numbers. See https://github.com/huggingface/safetensors.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

ALIGNMENT = 8


def write_tensors(path: Path, shapes: Mapping[str, Sequence[int]], tensors: Iterable[Tensor]) -> None:
    """Write tensors in float32, in the order of their `shapes`. ValueError where one has another."""
    with path.open("wb") as file:
        header = json.dumps(_places(shapes)).encode()
        header += b" " * (-len(header) % ALIGNMENT)
        file.write(struct.pack("<Q", len(header)) + header)
        for (name, shape), tensor in zip(shapes.items(), tensors, strict=True):
            if tuple(tensor.shape) != tuple(shape) or tensor.dtype != torch.float32:
                raise ValueError(
                    f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}, not {tuple(shape)}"
                )
            file.write(tensor.detach().cpu().contiguous().numpy().data)


def _places(shapes: Mapping[str, Sequence[int]]) -> dict[str, object]:
    places: dict[str, object] = {}
    start = 0
    for name, shape in shapes.items():
        end = start + 4 * math.prod(shape)
        places[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
        start = end
    return places
