"""What differs between families of vision-language models: the protocol `Family` and its one factory.

A member says how images become tokens and pixels, how positions are counted, what may not be sampled, and
which modules are which part. To add one, write a module like internvl.py and a case in `build_family`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from PIL import Image
from torch import Tensor

from mstar.config import Images
from mstar.errors import UserError
from mstar.models.gemma3 import Gemma3
from mstar.models.idefics3 import Idefics3
from mstar.models.internvl import InternVL
from mstar.models.llava_onevision import LlavaOneVision
from mstar.models.mistral3 import Mistral3
from mstar.models.qwen_vl import QwenVL
from mstar.models.sequences import Encoded

QWEN_VL = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
FAMILIES = (*QWEN_VL, "internvl", "llava_onevision", "idefics3", "smolvlm", "gemma3", "mistral3")
"""The `model_type`s that run."""
Part = Literal["vision", "projector", "text"]


class Family(Protocol):
    """A shape is how the tokens of one image are laid out, in the family's own terms."""

    axes: int
    """Numbers that make one position."""
    placeholder_id: int
    """Stands for an image in a rendered prompt."""
    image_id: int
    """Stands for each place of an image in an expanded prompt."""
    frame: tuple[str, str]
    """Text that the model's own processor puts before and after a placeholder in a rendered prompt."""
    sees_ahead: bool
    """Whether the tokens of an image see those that follow in it."""
    never_sampled: frozenset[int]
    """Tokens of images and videos, which a response must not hold."""
    processor_settings: Mapping[str, Any]
    """What the checkpoint's own processor is told, where another program uses it, to see what we see."""
    parts: Mapping[Part, tuple[str, ...]]
    """Beginnings of the names of the model's parameters; the longest that fits decides. See `part_of`."""

    def image_shape(self, width: int, height: int, alone: bool) -> tuple[int, ...]:
        """The shape of an image of that size in pixels; `alone`: its prompt has no other. ValueError where
        the image processor refuses it.
        """

    def image_ids(self, shape: tuple[int, ...]) -> list[int]:
        """The tokens that take the place of a placeholder."""

    def positions(self, ids: Sequence[int], shapes: Sequence[tuple[int, ...]]) -> Tensor:
        """(axes, tokens) of a whole prompt."""

    def read_images(self, images: Sequence[Image.Image], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """What the vision tower reads of each image; `images` are all those of some prompts."""

    def image_inputs(self, ids: Tensor, rows: Sequence[Encoded]) -> dict[str, Tensor]:
        """The inputs of `forward` that images need; `ids` (rows, length) is the padded batch."""

    def position_ids(self, positions: Tensor) -> Tensor:
        """`position_ids` as `forward` takes them, from (axes, rows, length)."""


def build_family(config: Any, tokenizer: Any, image_processor: Any, images: Images) -> Family:
    """The family of a checkpoint's configuration; UserError where there is none."""
    match config.model_type:
        case "qwen2_vl" | "qwen2_5_vl" | "qwen3_vl":
            return QwenVL(config, image_processor, images)
        case "internvl":
            return InternVL(config, tokenizer, image_processor, images)
        case "llava_onevision":
            return LlavaOneVision(config, image_processor, images)
        case "idefics3" | "smolvlm":
            return Idefics3(config, tokenizer, image_processor, images)
        case "gemma3":
            return Gemma3(config, image_processor, images)
        case "mistral3":
            return Mistral3(config, tokenizer, image_processor, images)
        case other:
            raise UserError(f"this is a model of type {other}; this version runs {', '.join(FAMILIES)}")


def part_of(parameter: str, family: Family) -> Part:
    """Which part of the model a parameter belongs to, by its name in `named_parameters()`."""
    fitting = [
        (len(beginning), part)
        for part, beginnings in family.parts.items()
        for beginning in beginnings
        if parameter.startswith(beginning)
    ]
    if not fitting:
        raise ValueError(f"parameter {parameter} belongs to no part of {type(family).__name__}")
    return max(fitting)[1]
