"""The engine against transformers' own `generate`, and against the probabilities that it must sample from."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mstar.config import Config
from mstar.datasets import open_problems
from mstar.engines import Sampling
from mstar.engines.transformers import TransformersEngine
from mstar.errors import UserError
from mstar.models import FAMILIES, collate
from mstar.records import ImageSource, Problem
from tests.conftest import BASE, PROBLEMS
from tests.tiny_models import save_tiny_model

GREEDY = Sampling(samples_per_problem=1, temperature=0.0, top_p=1.0, max_tokens=60)
MakeConfig = Callable[..., Config]


def strip(cells: int, seed: int) -> ImageSource:
    pixels = np.random.default_rng(seed).integers(0, 255, (28, 28 * cells), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return ImageSource(data=file.getvalue())


def problem(number: int, *cells: int, question: str = "value?") -> Problem:
    images = tuple(strip(count, number + place) for place, count in enumerate(cells))
    return Problem(f"p{number}", question, images, "1", "number")


MIXED = [
    problem(0, 5),
    problem(1),
    problem(2, 3, 9),
    problem(3, 1, 2, 3),
    problem(4, question="> 12? and more"),
]


def generate_with_transformers(engine: TransformersEngine, problems: list[Problem]) -> list[str]:
    """Greedy texts of `model.generate`, one problem at a time so that nothing is padded."""
    texts, tokenizer = [], engine.encoder.tokenizer
    for one in problems:
        rows = engine.encoder.encode_prompts([one])
        batch = collate(rows, engine.encoder, "left", engine.model.device)
        del batch["position_ids"]
        engine.model.model.rope_deltas = None
        ids = engine.model.generate(
            **batch, do_sample=False, max_new_tokens=60, suppress_tokens=engine.banned_ids.tolist()
        )[0, batch["input_ids"].shape[1] :]
        texts.append(tokenizer.decode(ids, skip_special_tokens=True))
    return texts


def test_greedy_texts_are_those_of_generate(make_config: MakeConfig) -> None:
    engine = TransformersEngine(BASE, make_config())
    problems = open_problems(PROBLEMS / "heldout.parquet").read(range(12))
    found = [own[0].text for own in engine.generate(problems, GREEDY, 0)]
    assert found == generate_with_transformers(engine, problems)
    assert len(set(found)) > 2


@pytest.mark.parametrize("family", FAMILIES)
def test_families_and_images_mix_in_one_batch(family: str, make_config: MakeConfig, tmp_path: Path) -> None:
    folder = save_tiny_model(family, tmp_path / "model")
    engine = TransformersEngine(folder, make_config())
    found = [own[0].text for own in engine.generate(MIXED, GREEDY, 0)]
    assert found == generate_with_transformers(engine, MIXED)
    assert len(set(found)) == len(MIXED)


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_are_those_of_the_model(family: str, make_config: MakeConfig, tmp_path: Path) -> None:
    engine = TransformersEngine(save_tiny_model(family, tmp_path / "model"), make_config())
    with_images = [one for one in MIXED if one.images]
    for row in engine.encoder.encode_prompts(with_images):
        batch = collate([row.followed_by([9, 10])], engine.encoder, "left", engine.model.device)
        positions, offsets = engine.model.model.get_rope_index(
            batch["input_ids"],
            image_grid_thw=batch["image_grid_thw"],
            attention_mask=batch["attention_mask"],
            mm_token_type_ids=batch["mm_token_type_ids"],
        )
        assert torch.equal(batch["position_ids"], positions)
        assert row.next_position + 2 == len(row.ids) + 2 + int(offsets)


def test_samples_follow_the_models_probabilities(make_config: MakeConfig, tmp_path: Path) -> None:
    engine = TransformersEngine(save_tiny_model("qwen3_vl", tmp_path / "model"), make_config())
    one, temperature, samples = problem(7, 4), 1.5, 4000
    drawn = engine.generate([one], Sampling(samples, temperature, 1.0, 1), 3)[0]
    _, logits = engine._prefill(engine.encoder.encode_prompts([one]), 1)
    logits[:, engine.banned_ids] = -torch.inf
    expected = torch.softmax(logits[0].detach() / temperature, -1)
    tokenizer = engine.encoder.tokenizer
    for text in {draw.text for draw in drawn} - {""}:
        share = sum(draw.text == text for draw in drawn) / samples
        chance = float(expected[tokenizer(text, add_special_tokens=False)["input_ids"][0]])
        assert abs(share - chance) < 5 * (chance * (1 - chance) / samples) ** 0.5 + 1e-3, text


def test_the_same_seed_gives_the_same_texts(make_config: MakeConfig) -> None:
    problems = open_problems(PROBLEMS / "heldout.parquet").read(range(6))
    sampling = Sampling(4, 1.0, 1.0, 60)
    with TransformersEngine(BASE, make_config()) as engine:
        first, again, other = (engine.generate(problems, sampling, seed) for seed in (5, 5, 6))
    assert first == again != other
    assert all(len(own) == 4 for own in first)


def test_a_row_does_not_depend_on_when_others_end(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = open_problems(PROBLEMS / "heldout.parquet").read(range(6))
    sampling, engine = Sampling(4, 1.0, 1.0, 60), TransformersEngine(BASE, make_config())
    texts = [[one.text for one in own] for own in engine.generate(problems, sampling, 5)]
    monkeypatch.setattr("mstar.engines.transformers.WORTH_DROPPING", -1.0)
    kept = [[one.text for one in own] for own in engine.generate(problems, sampling, 5)]
    assert kept == texts


def test_banned_tokens_never_appear(make_config: MakeConfig, tmp_path: Path) -> None:
    engine = TransformersEngine(save_tiny_model("qwen3_vl", tmp_path / "model"), make_config())
    tokenizer = engine.encoder.tokenizer
    named = tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|pad|>"])
    nameless = range(len(tokenizer), len(tokenizer) + 3)
    assert {*named, *nameless} <= set(engine.banned_ids.tolist())
    assert tokenizer.eos_token_id not in engine.banned_ids
    _, logits = engine._prefill(engine.encoder.encode_prompts(MIXED[:1]), 2000)
    chosen = engine._choose(logits, Sampling(1, 2.0, 1.0, 1), torch.rand(2000))
    assert not torch.isin(chosen, engine.banned_ids).any()


def test_a_narrow_nucleus_is_greedy(make_config: MakeConfig) -> None:
    problems = open_problems(PROBLEMS / "heldout.parquet").read(range(4))
    engine = TransformersEngine(BASE, make_config())
    narrow = engine.generate(problems, Sampling(1, 1.0, 1e-6, 60), 0)
    assert narrow == engine.generate(problems, GREEDY, 0)


def test_truncated_is_said_and_counted(make_config: MakeConfig) -> None:
    problems = open_problems(PROBLEMS / "heldout.parquet").read(range(3))
    for own in TransformersEngine(BASE, make_config()).generate(problems, Sampling(2, 1.0, 1.0, 1), 0):
        assert all(one.truncated and one.tokens == 1 for one in own)


def test_a_question_with_an_image_token_is_refused(make_config: MakeConfig) -> None:
    engine = TransformersEngine(BASE, make_config())
    with pytest.raises(UserError, match="image token"):
        engine.generate([problem(0, 3, question="<|image_pad|>?")], GREEDY, 0)


def test_a_folder_without_weights_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="does not load"):
        TransformersEngine(tmp_path, make_config())
