"""A few log-probabilities that tell whether another program has loaded the same weights.

Two short prompts, one with an image, go through the policy as transformers loads it; of the token that comes
next the likeliest few are kept. A weight that is missing, swapped or left random changes them by whole units;
rounding, by a little. A change as small as that of one training step is not seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

from mstar.config import Config
from mstar.models import Encoder, collate, load_model
from mstar.prompts import Request
from mstar.records import ImageSource

TOKENS = 16
TOLERANCE = {"float32": 0.02, "bfloat16": 0.5}
"""Largest mean difference of log-probabilities that is taken for rounding, by `model.dtype`."""
SIDE = 112


@dataclass(frozen=True, slots=True)
class Expected:
    """The likeliest next tokens of a request at temperature 1, banned ones removed."""

    request: Request
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]

    def difference(self, found: Sequence[float]) -> float:
        """The mean difference to what was found for the same tokens."""
        pairs = zip(self.logprobs, found, strict=True)
        return sum(abs(one - other) for one, other in pairs) / len(self.tokens)


def requests() -> list[Request]:
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


@torch.inference_mode()
def expect(policy: Path, config: Config, encoder: Encoder, banned: Sequence[int]) -> list[Expected]:
    """What transformers makes of the probes. Its loader also refuses weights that are missing, left over or
    not finite. Holds the whole policy in the memory of `model.device` meanwhile.
    """
    model = load_model(policy, config.model)
    found = []
    for request in requests():
        batch = collate(encoder.encode([request]), encoder, "right", model.device)
        logits = model(**batch, logits_to_keep=1).logits[0, -1].float()
        logits[list(banned)] = -torch.inf
        likeliest = torch.log_softmax(logits, -1).topk(min(TOKENS, int(torch.isfinite(logits).sum())))
        found.append(Expected(request, tuple(likeliest.indices.tolist()), tuple(likeliest.values.tolist())))
    del model
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return found
