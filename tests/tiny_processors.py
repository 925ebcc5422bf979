"""Tokenizers and image processors of tiny models: a tile has 28 pixels on a side, and one token or four."""

from typing import Any

import transformers
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from tiny_policy import IMAGE, VISION_END, VISION_START, build_image_processor, build_tokenizer

TILE = 28
LONGEST = 4
"""Tiles on the longest side of an image."""
GRIDS = [[rows * TILE, columns * TILE] for rows in (1, 2, 3) for columns in (1, 2, 3, 4)]
CELLS = [f"<row_{row}_col_{column}>" for row in range(1, LONGEST + 1) for column in range(1, LONGEST + 1)]
IDEFICS3 = ["<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>", *CELLS]
IMAGE_TOKENS: dict[str, list[str] | dict[str, str]] = {
    "internvl": {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<image>",
        "video_token": "<|video_pad|>",
    },
    "llava_onevision": ["<image>", "<video>"],
    "idefics3": IDEFICS3,
    "smolvlm": IDEFICS3,
    "gemma3": {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    },
    "mistral3": ["[IMG]", "[IMG_BREAK]", "[IMG_END]"],
}
"""Special tokens, as the tokenizer's file names them."""
MARKUP = {
    "internvl": "<image>\n",
    "llava_onevision": "<image>",
    "idefics3": "<image>",
    "smolvlm": "<image>",
    "gemma3": "<start_of_image>",
    "mistral3": "[IMG]",
}
"""What the chat template writes for an image."""


def build_tiny_tokenizer(model_type: str) -> Any:
    """The quick start's tokenizer with the family's tokens for images."""
    tokenizer = build_tokenizer()
    if model_type not in IMAGE_TOKENS:
        return tokenizer
    return with_image_tokens(tokenizer, model_type, VISION_START + IMAGE + VISION_END)


def with_image_tokens(tokenizer: Any, model_type: str, markup: str) -> Any:
    """A tokenizer with a family's tokens for images; its template has `markup` for an image."""
    names = IMAGE_TOKENS[model_type]
    tokens = list(names.values()) if isinstance(names, dict) else names
    tokenizer.add_tokens([transformers.AddedToken(token, special=True, normalized=False) for token in tokens])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer,
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        unk_token=tokenizer.unk_token,
        extra_special_tokens=names,
        chat_template=tokenizer.chat_template.replace(markup, MARKUP[model_type]),
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def build_tiny_image_processor(model_type: str) -> Any:
    square, longest = {"height": TILE, "width": TILE}, {"longest_edge": LONGEST * TILE}
    match model_type:
        case "internvl":
            return GotOcr2ImageProcessorPil(size=square, crop_to_patches=False, min_patches=1, max_patches=6)
        case "llava_onevision":
            return LlavaOnevisionImageProcessorPil(size=square, image_grid_pinpoints=GRIDS)
        case "idefics3":
            return Idefics3ImageProcessorPil(size=longest, max_image_size={"longest_edge": TILE})
        case "smolvlm":
            return SmolVLMImageProcessorPil(size=longest, max_image_size={"longest_edge": TILE})
        case "gemma3":
            return Gemma3ImageProcessorPil(size=square)
        case "mistral3":
            return PixtralImageProcessorPil(
                size=longest, patch_size={"height": TILE // 2, "width": TILE // 2}
            )
    return build_image_processor()
