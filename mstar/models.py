"""Vision-language models as the engine, the trainer and the process reward model all see them.

`load_model` reads the weights; `Encoder` turns problems into token ids, positions and pixels; `collate`
makes one padded batch. There is one image processor and one place where image tokens are counted, so that
rollouts and training cannot disagree about them. Works with the Qwen-VL classes of transformers (2, 2.5 and
3).
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from torch import Tensor

from mstar.config import Images, Model, Prompt
from mstar.datasets import load_image
from mstar.errors import UserError
from mstar.prompts import build_messages
from mstar.records import Problem

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sequence: token ids with image tokens expanded, their positions, and the patches of its images."""

    ids: list[int]
    positions: Tensor
    """(3, tokens): time, height and width. An image spans fewer positions than tokens."""
    pixels: tuple[Tensor, ...] = ()
    """Per image (patches, patch values)."""
    grids: tuple[Tensor, ...] = ()
    """Per image (3,): patches over time, height and width."""

    @property
    def next_position(self) -> int:
        """Where the next token stands."""
        return int(self.positions.max()) + 1

    def followed_by(self, ids: list[int]) -> "Encoded":
        """This sequence and more text."""
        more = torch.arange(self.next_position, self.next_position + len(ids)).expand(3, -1)
        return Encoded(self.ids + ids, torch.cat([self.positions, more], dim=1), self.pixels, self.grids)


class Encoder:
    """Turns problems and responses into what the model reads, with the checkpoint's own tokenizer and image
    processor.
    """

    def __init__(self, folder: Path, images: Images, prompt: Prompt) -> None:
        self.tokenizer = _load(transformers.AutoTokenizer.from_pretrained, folder, "tokenizer")
        self.image_processor = _load(
            transformers.AutoImageProcessor.from_pretrained, folder, "image processor", use_fast=False
        )
        self.config = _load(transformers.AutoConfig.from_pretrained, folder, "configuration")
        if self.config.model_type not in FAMILIES:
            raise UserError(
                f"{folder} is a {self.config.model_type} model; this version runs {', '.join(FAMILIES)}"
            )
        self.prompt = prompt
        self._limits = _pixel_limits(self.image_processor, images)

    def encode_prompts(self, problems: Sequence[Problem]) -> list[Encoded]:
        """The tokens of each problem up to where its response begins, and the patches of its images."""
        texts = [
            self.tokenizer.apply_chat_template(
                build_messages(problem, self.prompt), add_generation_prompt=True, tokenize=False
            )
            for problem in problems
        ]
        ids = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        images = iter(self._read_images(problems))
        encoded = []
        for problem, own in zip(problems, ids, strict=True):
            read = [next(images) for _ in problem.images]
            pixels, grids = tuple(patches for patches, _ in read), tuple(grid for _, grid in read)
            expanded = self._expand_images(own, grids, problem)
            positions = image_positions(expanded, self.config.image_token_id, self._token_grids(grids))
            encoded.append(Encoded(expanded, positions, pixels, grids))
        return encoded

    def encode_response(self, text: str) -> list[int]:
        """The tokens of a finished response, end token included."""
        return [*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id]

    def decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _read_images(self, problems: Sequence[Problem]) -> list[tuple[Tensor, Tensor]]:
        """Patches and grid of each image of the problems, in order."""
        images = [load_image(source) for problem in problems for source in problem.images]
        if not images:
            return []
        try:
            read = self.image_processor(images=images, return_tensors="pt", size=self._limits)
        except ValueError as error:
            if len(problems) > 1:
                return [found for problem in problems for found in self._read_images([problem])]
            raise UserError(
                f"problem {problems[0].id} has an image that the model's image processor refuses ({error}); "
                "crop it or leave the problem out"
            ) from None
        grids = read["image_grid_thw"]
        return list(zip(read["pixel_values"].split(grids.prod(-1).tolist()), grids, strict=True))

    def _expand_images(self, ids: list[int], grids: Sequence[Tensor], problem: Problem) -> list[int]:
        image_id = self.config.image_token_id
        if ids.count(image_id) != len(grids):
            raise UserError(
                f"problem {problem.id} has {len(grids)} images but {ids.count(image_id)} image tokens "
                "in its prompt; a question must not contain the model's image token"
            )
        counts = iter(math.prod(grid) for grid in self._token_grids(grids))
        return [copy for token in ids for copy in ([token] * next(counts) if token == image_id else [token])]

    def _token_grids(self, grids: Sequence[Tensor]) -> list[tuple[int, int, int]]:
        """Image tokens over time, height and width, for each image."""
        merge = self.image_processor.merge_size
        return [
            (time, height // merge, width // merge) for time, height, width in (g.tolist() for g in grids)
        ]


def image_positions(ids: Sequence[int], image_id: int, grids: Sequence[tuple[int, int, int]]) -> Tensor:
    """The positions (3, tokens) of the Qwen-VL families (arXiv 2409.12191, section 2.1).

    Text counts up in all three. The tokens of an image stand at its start plus their place in its grid, and
    what follows goes on after the longest side. Computed here, once per prompt: the model classes do it row
    by row for every batch, keep offsets between calls, and number left padding wrongly without them.
    """
    pieces, start, index = [], 0, 0
    for time, height, width in grids:
        text = ids.index(image_id, index) - index
        pieces.append(torch.arange(start, start + text).expand(3, -1))
        start += text
        places = torch.cartesian_prod(*(torch.arange(side) for side in (time, height, width)))
        pieces.append(places.reshape(-1, 3).T + start)
        start += max(time, height, width)
        index += text + time * height * width
    pieces.append(torch.arange(start, start + len(ids) - index).expand(3, -1))
    return torch.cat(pieces, dim=1)


def load_model(folder: Path, model: Model, dtype: torch.dtype | None = None) -> Any:
    """The policy in a checkpoint folder, on its device, in evaluation mode."""
    loaded = _load(
        transformers.AutoModelForImageTextToText.from_pretrained,
        folder,
        "model",
        dtype=dtype or getattr(torch, model.dtype),
        attn_implementation="sdpa",
    )
    if model.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "model.device is cuda but torch sees no GPU; set it to cpu or install a CUDA build of torch"
        )
    return loaded.to(model.device).eval()


def set_threads(model: Model) -> int:
    """Give torch the cores that this process may use, and no more: oversubscribed cores are many times
    slower.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = model.threads or allowed
    torch.set_num_threads(threads)
    return threads


def collate(
    rows: Sequence[Encoded], encoder: Encoder, side: Literal["left", "right"], device: torch.device
) -> dict[str, Tensor]:
    """One padded batch for the model: input_ids, attention_mask and mm_token_type_ids (rows, length),
    position_ids (3, rows, length), and all images in row order.
    """
    length = max(len(row.ids) for row in rows)
    image_id = encoder.config.image_token_id
    ids = torch.full((len(rows), length), encoder.tokenizer.pad_token_id)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    positions = torch.zeros((3, len(rows), length), dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(length - len(row.ids), length) if side == "left" else slice(0, len(row.ids))
        ids[index, place] = torch.tensor(row.ids)
        mask[index, place] = 1
        positions[:, index, place] = row.positions
    batch = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    if any(row.pixels for row in rows):
        batch["mm_token_type_ids"] = (ids == image_id).long()
        batch["pixel_values"] = torch.cat([pixels for row in rows for pixels in row.pixels])
        batch["image_grid_thw"] = torch.stack([grid for row in rows for grid in row.grids])
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _load(load: Any, folder: Path, what: str, **options: Any) -> Any:
    """Call a loader of transformers; whatever is wrong with the files becomes one line."""
    try:
        return load(str(folder), **options)
    except Exception as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"model {folder}: its {what} does not load ({first_line[:200]}); "
            "name a checkpoint folder as save_pretrained leaves it, or the id of a model on a hub"
        ) from error


def _pixel_limits(processor: Any, images: Images) -> dict[str, int]:
    """The image processor's own size limits, where the configuration does not say otherwise."""
    size = dict(processor.size)
    if images.min_pixels is not None:
        size["shortest_edge"] = images.min_pixels
    if images.max_pixels is not None:
        size["longest_edge"] = images.max_pixels
    return size
