"""Vision-language models as the engine, the trainer and the process reward model all see them.

`load_model` reads the weights; `Encoder` turns problems into token ids and pixels; `collate` makes one padded
batch; `position_ids` numbers its tokens. There is one image processor and one place where image tokens are
counted, so that rollouts and training cannot disagree about them. Works with the Qwen-VL classes of
transformers (2, 2.5 and 3).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from torch import Tensor, nn

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
    """One sequence: token ids with image tokens expanded, and the patches of its images in order."""

    ids: list[int]
    pixels: tuple[Tensor, ...] = ()
    """Per image (patches, patch values)."""
    grids: tuple[Tensor, ...] = ()
    """Per image (3,): patches over time, height and width."""


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
            encoded.append(Encoded(self._expand_images(own, grids, problem), pixels, grids))
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
        counts = iter(int(grid.prod()) // self.image_processor.merge_size**2 for grid in grids)
        return [copy for token in ids for copy in ([token] * next(counts) if token == image_id else [token])]


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
    rows: Sequence[Encoded], pad_id: int, image_id: int, side: Literal["left", "right"]
) -> dict[str, Tensor]:
    """One padded batch: input_ids, attention_mask and mm_token_type_ids (rows, length), and all images in row
    order.
    """
    length = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), length), pad_id)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(length - len(row.ids), length) if side == "left" else slice(0, len(row.ids))
        ids[index, place] = torch.tensor(row.ids)
        mask[index, place] = 1
    batch = {"input_ids": ids, "attention_mask": mask}
    if any(row.pixels for row in rows):
        batch["mm_token_type_ids"] = (ids == image_id).long()
        batch["pixel_values"] = torch.cat([pixels for row in rows for pixels in row.pixels])
        batch["image_grid_thw"] = torch.stack([grid for row in rows for grid in row.grids])
    return batch


def with_positions(model: Any, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """The batch on the model's device with position_ids (3, rows, length), and each row's offset (rows, 1).

    The next token of a row stands at (number of its tokens) + offset: an image spans fewer positions than
    tokens. Computed here because the classes of transformers keep offsets between calls and number padding
    wrongly without them.
    """
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    mask = batch["attention_mask"]
    if "image_grid_thw" not in batch:
        text_positions = (mask.cumsum(-1) - 1).clamp(min=0)
        return {**batch, "position_ids": text_positions.expand(3, -1, -1)}, torch.zeros_like(mask[:, :1])
    positions, offsets = model.model.get_rope_index(
        batch["input_ids"],
        image_grid_thw=batch["image_grid_thw"],
        attention_mask=mask,
        mm_token_type_ids=batch["mm_token_type_ids"],
    )
    return {**batch, "position_ids": positions}, offsets


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


def parameters_of(model: nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in model.parameters())
