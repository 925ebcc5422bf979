"""Requests as tokens, positions and pixels, in every family."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers.models.internvl.processing_internvl import InternVLProcessor

from mstar.config import Images
from mstar.errors import UnusableRequest, UserError
from mstar.models import FAMILIES, Encoder, collate, load_model, part_of
from mstar.models.families import QWEN_VL
from mstar.prompts import Request
from mstar.records import ImageSource
from tests.conftest import BASE
from tests.engines.asking import MIXED, QUESTION, ask, heldout, picture, problem
from tests.tiny_models import TILE, save_tiny_model
from tiny_policy import build_tokenizer

SIZES = [(28, 28), (200, 30), (3, 100), (640, 480), (27, 83), (1, 1)]


def with_image(width: int, height: int) -> Request:
    return ask(replace(problem(1), images=(picture(width, height),)))


@pytest.fixture(params=FAMILIES)
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> Encoder:
    return Encoder(save_tiny_model(request.param, tmp_path / "model"), Images(), QUESTION)


@pytest.mark.parametrize("model_type", QWEN_VL)
def test_positions_are_those_of_the_model(
    model_type: str, make_config: Callable[..., object], tmp_path: Path
) -> None:
    folder = save_tiny_model(model_type, tmp_path / "model")
    encoder, model = Encoder(folder, Images(), QUESTION), load_model(folder, make_config().model)
    rows = encoder.encode([one for one in MIXED if one.images])
    assert rows
    for row in rows:
        batch = collate([row.followed_by([9, 10])], encoder, "left", model.device)
        positions, offsets = model.model.get_rope_index(
            batch["input_ids"],
            image_grid_thw=batch["image_grid_thw"],
            attention_mask=batch["attention_mask"],
            mm_token_type_ids=batch["mm_token_type_ids"],
        )
        assert torch.equal(batch["position_ids"], positions)
        assert row.next_position + 2 == len(row.ids) + 2 + int(offsets)


def test_plain_positions_count_tokens(tmp_path: Path) -> None:
    encoder = Encoder(save_tiny_model("internvl", tmp_path / "model"), Images(), QUESTION)
    row = encoder.encode(MIXED[:1])[0].followed_by([9, 10])
    batch = collate([row, row.followed_by([9])], encoder, "left", torch.device("cpu"))
    assert row.positions.tolist() == [list(range(len(row.ids)))]
    assert batch["position_ids"][0].tolist() == [0, *range(len(row.ids))]


@pytest.mark.parametrize("size", SIZES)
def test_tokens_are_counted_as_pixels_are_made(encoder: Encoder, size: tuple[int, int]) -> None:
    """A forward takes them together, so it says whether they match."""
    [row] = encoder.encode([with_image(*size)])
    merged = 4 if encoder.family.axes == 3 else 1
    assert row.is_whole
    assert row.ids.count(encoder.family.image_id) == len(row.pixels[0]) // merged


def test_an_images_tokens_are_those_of_the_models_own_processor(tmp_path: Path) -> None:
    """Which cannot be built without torchvision; how it writes an image can be asked all the same."""
    encoder = Encoder(save_tiny_model("internvl", tmp_path / "model"), Images(), QUESTION)
    names = {"start_image_token": "<img>", "image_token": "<image>", "end_image_token": "</img>"}
    processor = SimpleNamespace(**names, image_seq_length=encoder.config.image_seq_length)
    written = InternVLProcessor.replace_image_token(processor, {"num_patches": [4]}, 0)
    assert encoder.family.image_ids((4,)) == encoder.tokenizer(written, add_special_tokens=False)["input_ids"]


def test_a_tokenizer_that_names_no_image_tokens_is_one_line(tmp_path: Path) -> None:
    folder = save_tiny_model("internvl", tmp_path / "model")
    build_tokenizer().save_pretrained(folder)
    with pytest.raises(UserError, match="does not say what stands around an image"):
        Encoder(folder, Images(), QUESTION)


def test_many_requests_are_as_many_single_ones(encoder: Encoder) -> None:
    together = encoder.encode(MIXED)
    for one, row in zip(MIXED, together, strict=True):
        alone = encoder.encode([one])[0]
        assert alone.ids == row.ids and torch.equal(alone.positions, row.positions)
        assert all(torch.equal(a, b) for a, b in zip(alone.pixels, row.pixels, strict=True))


def test_the_prefix_follows_the_prompt(encoder: Encoder) -> None:
    begun = encoder.encode([ask(problem(3, 2), prefix="3+4=7;")])[0]
    prompt = encoder.encode([ask(problem(3, 2))])[0]
    row = prompt.followed_by(encoder.plain_text.ids("3+4=7;"))
    assert begun.ids == row.ids and torch.equal(begun.positions, row.positions)


def test_a_question_may_spell_special_tokens(encoder: Encoder) -> None:
    image, end = encoder.tokenizer.convert_ids_to_tokens([encoder.family.image_id, encoder.end_id])
    request = ask(problem(3, 2, question=f"{image}?{end}"))
    encoder.check(request)
    row, plain = encoder.encode([request, ask(problem(3, 2))])
    assert encoder.end_id not in row.ids
    assert row.ids.count(encoder.family.image_id) == plain.ids.count(encoder.family.image_id)
    ids = encoder.encode_responses([f"1;{image}{end};2"])[0]
    assert ids.count(encoder.end_id) == 1 and encoder.family.image_id not in ids


def test_a_text_without_an_image_token_for_its_image_is_named(tmp_path: Path) -> None:
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|image_pad|>", ""))
    encoder = Encoder(folder, Images(), QUESTION)
    with pytest.raises(UnusableRequest, match="p3 has 1 images but 0 image tokens"):
        encoder.check(ask(problem(3, 2)))


@pytest.mark.parametrize("model_type", QWEN_VL)
def test_an_image_that_the_processor_refuses(model_type: str, tmp_path: Path) -> None:
    encoder = Encoder(save_tiny_model(model_type, tmp_path / "model"), Images(), QUESTION)
    for look in (encoder.check, lambda request: encoder.encode([request])):
        with pytest.raises(UnusableRequest, match="p1 has an image that .* refuses .*aspect ratio") as error:
            look(with_image(1000, 4))
        assert error.value.id == "p1" and error.value.reason.startswith("has an image")


def test_damaged_images_are_unusable_and_missing_ones_an_error(encoder: Encoder, tmp_path: Path) -> None:
    data = picture(60, 40).data
    assert data is not None
    for damaged in (data[: len(data) // 2], b"no image", b""):
        request = ask(replace(problem(1), images=(ImageSource(data=damaged),)))
        with pytest.raises(UnusableRequest, match="p1 has an unreadable image"):
            encoder.check(request)
        with pytest.raises(UnusableRequest, match="p1 has an unreadable image"):
            encoder.encode([request])
    missing = ask(replace(problem(1), images=(ImageSource(path=str(tmp_path / "gone.png")),)))
    with pytest.raises(UserError, match="p1: .*gone.png is missing") as error:
        encoder.check(missing)
    assert not isinstance(error.value, UnusableRequest)


@pytest.mark.parametrize("most", [784, 784 * 4, 784 * 9])
def test_most_pixels_hold_below_the_checkpoints_fewest(most: int, tmp_path: Path) -> None:
    """The saved limits are one to 64 tokens; here at least 16 of them."""
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    settings = folder / "preprocessor_config.json"
    settings.write_text(settings.read_text().replace('"shortest_edge": 784', '"shortest_edge": 12544'))
    for size in [(640, 480), (112, 112), (60, 60)]:
        row = Encoder(folder, Images(max_pixels=most), QUESTION).encode([with_image(*size)])[0]
        assert len(row.pixels[0]) // 4 <= most // 784
    freely = Encoder(folder, Images(), QUESTION).encode([with_image(60, 60)])[0]
    assert len(freely.pixels[0]) // 4 >= 16


def test_fewest_pixels_hold_above_the_checkpoints_most(tmp_path: Path) -> None:
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    encoder = Encoder(folder, Images(min_pixels=784 * 100), QUESTION)
    assert len(encoder.encode([with_image(56, 56)])[0].pixels[0]) // 4 >= 100


def test_limits_bound_the_tiles(tmp_path: Path) -> None:
    folder = save_tiny_model("internvl", tmp_path / "model")
    tiles = [
        len(Encoder(folder, limits, QUESTION).encode([with_image(170, 30)])[0].pixels[0])
        for limits in (Images(), Images(max_pixels=TILE**2 * 3), Images(max_pixels=TILE**2))
    ]
    assert tiles == [7, 4, 1]
    small = Encoder(folder, Images(min_pixels=TILE**2 * 4), QUESTION).encode([with_image(20, 20)])[0]
    assert len(small.pixels[0]) == 5


@pytest.mark.parametrize("model_type", ["qwen3_vl", "internvl"])
def test_pixels_for_less_than_a_token_are_refused(model_type: str, tmp_path: Path) -> None:
    folder = save_tiny_model(model_type, tmp_path / "model")
    with pytest.raises(UserError, match=r"images.max_pixels is 700; .* at least 784 pixels"):
        Encoder(folder, Images(max_pixels=700), QUESTION)


def test_another_type_of_model_is_refused_by_name(tmp_path: Path) -> None:
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    settings = folder / "config.json"
    settings.write_text('{"model_type": "llava"}')
    with pytest.raises(UserError, match=r"model .*model: .* type llava; .* qwen2_vl, .*, internvl"):
        Encoder(folder, Images(), QUESTION)


def test_a_model_without_a_chat_template_is_one_line(tmp_path: Path) -> None:
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"has no chat template"):
        Encoder(folder, Images(), QUESTION)


def test_a_template_that_takes_text_only_is_one_line(tmp_path: Path) -> None:
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ 'x' + m.content }}{% endfor %}")
    with pytest.raises(UserError, match=r"its chat template does not take"):
        Encoder(folder, Images(), QUESTION).check(ask(problem(3, 2)))


def test_the_quick_starts_prompts_are_what_they_were() -> None:
    encoder = Encoder(BASE, Images(), QUESTION)
    for request, row in zip(heldout(20), encoder.encode(heldout(20)), strict=True):
        rendered = encoder.tokenizer.apply_chat_template(
            request.messages, add_generation_prompt=True, tokenize=False
        )
        cells = row.ids.count(encoder.family.image_id)
        expanded = rendered.replace("<|image_pad|>", "<|image_pad|>" * cells)
        assert row.ids == encoder.tokenizer(expanded, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_parameter_has_its_part(
    model_type: str, make_config: Callable[..., object], tmp_path: Path
) -> None:
    folder = save_tiny_model(model_type, tmp_path / "model")
    encoder, model = Encoder(folder, Images(), QUESTION), load_model(folder, make_config().model)
    by_part: dict[str, set[str]] = {}
    for name, _ in model.named_parameters():
        by_part.setdefault(part_of(name, encoder.family), set()).add(name.split(".")[1])
    assert set(by_part) == {"vision", "projector", "text"}
    assert by_part["text"] == {"language_model", "weight"}
    with pytest.raises(ValueError, match="belongs to no part"):
        part_of("model.elsewhere.weight", encoder.family)
