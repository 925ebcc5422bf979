"""Our tokens and pixels against those of the processors of transformers, with a tokenizer that merges
newlines. Where a processor cannot be built without torchvision, what it writes for an image is asked.
"""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.models.gemma3.processing_gemma3 import Gemma3Processor
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor
from transformers.models.internvl.processing_internvl import InternVLProcessor
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor

from mstar.config import Images
from mstar.models import Encoder, collate
from mstar.prompts import Request
from tests.engines.asking import MIXED, QUESTION, ask, picture, problem
from tests.models.byte_pairs import build_byte_pairs
from tests.tiny_configs import build_config
from tests.tiny_models import save_tiny_model
from tests.tiny_processors import MARKUP, build_tiny_image_processor, with_image_tokens

SIZES = [(28, 28), (200, 30), (30, 200), (3, 100), (640, 480), (27, 83), (1, 20), (111, 112), (1000, 9)]
REQUESTS = [
    *[one for one in MIXED if one.images],
    *(ask(replace(problem(5), images=(picture(*size),))) for size in SIZES),
    ask(replace(problem(6), images=tuple(picture(*size) for size in SIZES[:4]))),
    ask(problem(7, 2, question="\nTwo\n\nlines\n")),
]
QWEN_MARKUP = "<|vision_start|><|image_pad|><|vision_end|>"


def encoder_of(model_type: str, folder: Path) -> Encoder:
    """An encoder whose tokenizer is a byte-level BPE; there are no weights."""
    tokenizer = with_image_tokens(build_byte_pairs(), model_type, QWEN_MARKUP)
    for part in (tokenizer, build_config(model_type, tokenizer, {}), build_tiny_image_processor(model_type)):
        part.save_pretrained(folder)
    return Encoder(folder, Images(), QUESTION)


def render(encoder: Encoder, request: Request) -> str:
    return str(
        encoder.tokenizer.apply_chat_template(request.messages, add_generation_prompt=True, tokenize=False)
    )


def collated(encoder: Encoder, request: Request) -> dict[str, torch.Tensor]:
    """What the model would read of one request."""
    return collate(encoder.encode([request]), encoder, "left", torch.device("cpu"))


def written(encoder: Encoder, request: Request, processor: Any, inputs: Any) -> list[int]:
    """The prompt's tokens, with what a processor writes for each image."""
    pieces = render(encoder, request).split(MARKUP[encoder.config.model_type].strip())
    text = pieces[0]
    for number, piece in enumerate(pieces[1:]):
        text += processor.replace_image_token(inputs, number) + piece
    ids: list[int] = encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@pytest.mark.parametrize("model_type", ["gemma3", "idefics3"])
def test_inputs_are_those_of_the_models_own_processor(model_type: str, tmp_path: Path) -> None:
    encoder = encoder_of(model_type, tmp_path)
    build = Gemma3Processor if model_type == "gemma3" else Idefics3Processor
    length = {"image_seq_length": 4} if model_type == "gemma3" else {"image_seq_len": 1}
    processor = build(image_processor=encoder.image_processor, tokenizer=encoder.tokenizer, **length)
    for request in REQUESTS:
        images = [encoder.decode_images(request)]
        expected = dict(processor(text=[render(encoder, request)], images=images, return_tensors="pt"))
        assert expected.pop("pixel_attention_mask", torch.ones(1)).all()
        found = collated(encoder, request)
        assert found.keys() == expected.keys() | {"position_ids"}
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), name


def test_smolvlm_writes_images_as_its_processor(tmp_path: Path) -> None:
    encoder = encoder_of("smolvlm", tmp_path)
    tokens = {"fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>"}
    stand_in = SimpleNamespace(**tokens, image_token="<image>", image_seq_len=1)
    stand_in.replace_image_token = lambda *of: SmolVLMProcessor.replace_image_token(stand_in, *of)
    for request in REQUESTS:
        images = [encoder.decode_images(request)]
        inputs = encoder.image_processor(images=images, return_row_col_info=True, return_tensors="pt")
        found = collated(encoder, request)
        assert found["input_ids"][0].tolist() == written(encoder, request, stand_in, inputs)
        assert torch.equal(found["pixel_values"], inputs["pixel_values"])


def test_llava_onevision_writes_images_as_its_processor(tmp_path: Path) -> None:
    encoder = encoder_of("llava_onevision", tmp_path)
    processor = LlavaOnevisionProcessor.__new__(LlavaOnevisionProcessor)
    processor.image_processor, processor.image_token = encoder.image_processor, "<image>"
    processor.num_image_tokens, processor.vision_feature_select_strategy = 4, "full"
    processor.vision_aspect_ratio = encoder.config.vision_aspect_ratio
    for request in REQUESTS:
        inputs = encoder.image_processor(images=[encoder.decode_images(request)], return_tensors="pt")
        found = collated(encoder, request)
        assert found["input_ids"][0].tolist() == written(encoder, request, processor, inputs)
        assert torch.equal(found["pixel_values"], inputs["pixel_values"].flatten(0, 1))
        for name in ("image_sizes", "batch_num_images"):
            assert torch.equal(found[name], inputs[name])


def test_internvl_writes_images_as_its_processor(tmp_path: Path) -> None:
    encoder = encoder_of("internvl", tmp_path)
    names = {"start_image_token": "<img>", "image_token": "<image>", "end_image_token": "</img>"}
    stand_in = SimpleNamespace(**names, image_seq_length=encoder.config.image_seq_length)
    stand_in.replace_image_token = lambda *of: InternVLProcessor.replace_image_token(stand_in, *of)
    for request in REQUESTS:
        tiling = encoder.family.tiling
        inputs = encoder.image_processor(images=encoder.decode_images(request), return_tensors="pt", **tiling)
        found = collated(encoder, request)
        assert found["input_ids"][0].tolist() == written(encoder, request, stand_in, inputs)
        assert torch.equal(found["pixel_values"], inputs["pixel_values"])


@pytest.mark.parametrize("limits", [Images(), Images(max_pixels=5000)])
@pytest.mark.parametrize("model_type", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_qwen_reads_images_to_the_last_bit_as_its_processor(
    model_type: str, limits: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that have their size already, and others."""
    encoder = Encoder(save_tiny_model(model_type, tmp_path), limits, QUESTION)
    monkeypatch.setattr("mstar.models.qwen_vl.PATCHES_AT_ONCE", 7)
    side, processor = encoder.family.side, encoder.image_processor
    fitting = [picture(side * 2, side), picture(side, side * 2), picture(side, side)]
    for images in (fitting, [picture(640, 480), picture(30, 200), *fitting]):
        request = ask(replace(problem(1), images=tuple(images)))
        for off in ("", "do_rescale", "do_normalize"):
            processor.do_rescale, processor.do_normalize = off != "do_rescale", off != "do_normalize"
            inputs = processor(
                images=encoder.decode_images(request), return_tensors="pt", size=encoder.family.limits
            )
            assert torch.equal(collated(encoder, request)["pixel_values"], inputs["pixel_values"])


def test_mistral3_ends_rows_and_images_with_tokens_of_their_own(tmp_path: Path) -> None:
    """Its processor cannot even be imported without torchvision."""
    encoder = encoder_of("mistral3", tmp_path)
    request = ask(replace(problem(1), images=(picture(40, 25), picture(10, 10))))
    first = "[IMG][IMG][IMG][IMG_BREAK][IMG][IMG][IMG][IMG_END]"
    text = render(encoder, request).replace("[IMG][IMG]", f"{first}[IMG][IMG_END]")
    found = collated(encoder, request)
    assert found["input_ids"][0].tolist() == encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    inputs = encoder.image_processor(
        images=encoder.decode_images(request), patch_size={"height": 14, "width": 14}, return_tensors="pt"
    )
    assert torch.equal(found["pixel_values"], inputs["pixel_values"])
    assert found["image_sizes"].tolist() == [list(size) for size in inputs["image_sizes"]]
