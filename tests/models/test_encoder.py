"""Requests as tokens, positions and pixels, in every family."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mstar.config import Images, Model
from mstar.errors import UnusableRequest, UserError
from mstar.models import FAMILIES, Encoder, collate, load_model, part_of
from mstar.models.families import QWEN_VL
from mstar.records import ImageSource
from tests.conftest import BASE
from tests.engines.asking import MIXED, QUESTION, ask, heldout, picture, problem, with_image
from tests.tiny_models import save_tiny_model
from tiny_policy import build_tokenizer

SIZES = [(28, 28), (200, 30), (3, 100), (640, 480), (27, 83), (1, 20), (100, 111), (9, 400)]


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


def test_tokens_are_as_many_as_the_model_makes_of_the_pixels(encoder: Encoder) -> None:
    model = load_model(encoder.folder, Model(path=str(encoder.folder)))
    several = ask(replace(problem(1), images=tuple(picture(*size) for size in SIZES)))
    for request in [*(with_image(*size) for size in SIZES), several]:
        [row] = encoder.encode([request])
        assert row.is_whole
        inputs = encoder.family.image_inputs(torch.tensor([row.ids]), [row])
        inputs = {name: tensor for name, tensor in inputs.items() if not name.endswith("token_type_ids")}
        made = model.get_image_features(**inputs).pooler_output
        features = sum(one.shape[:-1].numel() for one in made)
        assert row.ids.count(encoder.family.image_id) == features


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


def test_a_response_ends_as_the_template_ends_it(tmp_path: Path) -> None:
    folder = save_tiny_model("gemma3", tmp_path / "model")
    assert Encoder(folder, Images(), QUESTION).end_id == build_tokenizer().eos_token_id
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_end|>", "<|vision_end|>"))
    encoder = Encoder(folder, Images(), QUESTION)
    assert encoder.end_id == encoder.tokenizer.convert_tokens_to_ids("<|vision_end|>")
    assert encoder.encode_responses(["1"])[0][-1] == encoder.end_id
    template.write_text("{{ messages[0].content[0].text }}")
    assert Encoder(folder, Images(), QUESTION).end_id == build_tokenizer().eos_token_id


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


def test_what_mistral3_makes_no_tokens_of_is_refused(tmp_path: Path) -> None:
    encoder = Encoder(save_tiny_model("mistral3", tmp_path / "model"), Images(), QUESTION)
    with pytest.raises(UnusableRequest, match="p1 has an image that .* more than 14 pixels on a side"):
        encoder.check(with_image(14, 9))
    with pytest.raises(UnusableRequest, match="p1 has an image that .*of 400 x 3 pixels nothing is left"):
        encoder.check(with_image(400, 3))
    encoder.check(with_image(15, 9))


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


def test_the_template_with_images_of_an_older_checkpoint_goes_first(tmp_path: Path) -> None:
    folder = save_tiny_model("llava_onevision", tmp_path / "model")
    expected = Encoder(folder, Images(), QUESTION).encode(MIXED)
    template, own = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template.read_text()}))
    template.unlink()
    text_only = {"chat_template": "{% for m in messages %}{{ 'x' + m.content }}{% endfor %}"}
    own.write_text(json.dumps({**json.loads(own.read_text()), **text_only}))
    found = Encoder(folder, Images(), QUESTION).encode(MIXED)
    assert [row.ids for row in found] == [row.ids for row in expected]


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
    assert by_part["text"] <= {"language_model", "text_model", "weight"}
    with pytest.raises(ValueError, match="belongs to no part"):
        part_of("model.elsewhere.weight", encoder.family)
