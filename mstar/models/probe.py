"""A few log-probabilities that tell whether another program has loaded the same weights.

Two short prompts, one with an image, go through a model; of the token that comes next the likeliest few are
kept. A weight that is missing, swapped or left random changes them by whole units; rounding, by a little. A
change as small as that of one training step is not seen. Training leaves them in `probe.json` beside the
weights, by its own forward and in the arithmetic of `model.dtype`.
"""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import torch
import transformers
from PIL import Image
from torch import Tensor

from mstar.errors import UnusableRequest
from mstar.model_folders import PROBE
from mstar.models.encoder import Encoder
from mstar.models.sequences import Encoded
from mstar.prompts import Request
from mstar.records import ImageSource

TOKENS = 16
TOLERANCE = {"float32": 0.02, "bfloat16": 0.5}
"""Largest mean difference of log-probabilities that is taken for rounding, by type of the arithmetic."""
DECIMALS = 4
SIDE = 112
Forward = Callable[[Encoded], Tensor]
"""A sequence -> the logits (vocabulary,) of the token that comes next."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The likeliest next tokens of a probe at temperature 1, banned ones removed."""

    id: str
    prompt: tuple[int, ...]
    """Its tokens, those of the image included."""
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]

    def difference(self, found: Sequence[float]) -> float:
        """The mean difference to what was found for the same tokens."""
        pairs = zip(self.logprobs, found, strict=True)
        return sum(abs(one - other) for one, other in pairs) / len(self.tokens)


@dataclass(frozen=True, slots=True)
class Probe:
    """What a policy's weights make of the prompts, and who says so."""

    expected: tuple[Expected, ...]
    dtype: str
    """Of the arithmetic."""
    maker: str
    """A program and its version."""

    def tolerance(self, dtype: str) -> float:
        """The largest difference that is rounding, where the others' arithmetic is in `dtype`."""
        return max(TOLERANCE[self.dtype], TOLERANCE[dtype])


def probe_requests() -> list[Request]:
    """A text alone, and a drawn image with a text."""
    text = {"type": "text", "text": "1 + 2 = ?"}
    pixels = [(3 * row * column) % 256 for row in range(SIDE) for column in range(SIDE)]
    image = Image.new("L", (SIDE, SIDE))
    image.putdata(pixels)
    file = BytesIO()
    image.save(file, "PNG")
    return [
        Request("probe-text", [{"role": "user", "content": [text]}]),
        Request(
            "probe-image",
            [{"role": "user", "content": [{"type": "image"}, text]}],
            (ImageSource(data=file.getvalue()),),
        ),
    ]


def encode_probes(encoder: Encoder) -> list[tuple[Request, Encoded]]:
    """Those of the prompts that fit within `prompt.max_tokens`, as the model reads them."""
    fitting = []
    for request in probe_requests():
        try:
            [row] = encoder.encode([request])
        except UnusableRequest:
            continue
        fitting.append((request, row))
    return fitting


@torch.no_grad()
def make_probe(forward: Forward, encoder: Encoder, banned: Sequence[int], dtype: str) -> Probe:
    """What a forward in arithmetic of this type makes of the prompts, without the banned tokens."""
    found = []
    for request, row in encode_probes(encoder):
        logits = forward(row).float().cpu()
        logits[list(banned)] = -torch.inf
        likeliest = torch.log_softmax(logits, -1).topk(min(TOKENS, int(torch.isfinite(logits).sum())))
        pairs = sorted(zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True))
        tokens = tuple(token for token, _ in pairs)
        logprobs = tuple(round(value, DECIMALS) for _, value in pairs)
        found.append(Expected(request.id, tuple(row.ids), tokens, logprobs))
    return Probe(tuple(found), dtype, f"transformers {transformers.__version__}")


def write_probe(folder: Path, probe: Probe) -> None:
    (folder / PROBE).write_text(json.dumps(asdict(probe)) + "\n", encoding="utf-8")


def read_probe(folder: Path, encoder: Encoder, banned: Collection[int]) -> Probe | None:
    """What training left beside a policy's weights. None where it left nothing that is of use: older
    checkpoints, other people's models, other settings of images and prompts, other tokens that are banned.
    """
    try:
        facts = json.loads((folder / PROBE).read_text(encoding="utf-8"))
        expected = tuple(
            Expected(one["id"], tuple(one["prompt"]), tuple(one["tokens"]), tuple(one["logprobs"]))
            for one in facts["expected"]
        )
        probe = Probe(expected, facts["dtype"], facts["maker"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    asked = [(request.id, tuple(row.ids)) for request, row in encode_probes(encoder)]
    is_of_use = (
        probe.dtype in TOLERANCE
        and asked == [(one.id, one.prompt) for one in expected]
        and all(one.tokens and set(one.tokens).isdisjoint(banned) for one in expected)
    )
    return probe if is_of_use else None
