"""The process reward model's plumbing, on a small one with known weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mstar.config import Config
from mstar.errors import UnusableRequest, UserError
from mstar.models import FAMILIES, collate
from mstar.prm import ProcessRewardModel
from tests.engines.asking import MIXED, ask, heldout, problem
from tests.tiny_models import save_tiny_prm

MakeConfig = Callable[..., Config]
TEXTS = ["Read:8+6;8+6=14;Answer:14", "Answer:3", "a;b;c;d;", ""]


@pytest.mark.parametrize("model_type", FAMILIES)
def test_each_step_is_scored_at_its_last_token(
    model_type: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    prm = ProcessRewardModel(save_tiny_prm(model_type, tmp_path / "prm"), make_config())
    [scores] = prm.score(MIXED[:1], [TEXTS])
    assert [len(own) for own in scores] == [3, 1, 4, 0]
    for text, found in zip(TEXTS, scores, strict=True):
        ids = prm.encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
        separator = prm.encoder.tokenizer(";", add_special_tokens=False)["input_ids"][0]
        places = [place for place, token in enumerate(ids) if token == separator]
        places += [] if text.endswith(";") or not text else [len(ids) - 1]
        assert found == pytest.approx(_scores_at(prm, ids, places), abs=1e-5)


def _scores_at(prm: ProcessRewardModel, ids: list[int], places: list[int]) -> list[float]:
    """Of a plain forward, at these places of a response to the first problem."""
    prompt = prm.encoder.encode(MIXED[:1])[0]
    batch = collate([prompt.followed_by(ids)], prm.encoder, "right", prm.model.device)
    with torch.no_grad():
        hidden = prm.model.model(**batch).last_hidden_state[0]
    expected = torch.sigmoid(hidden[[len(prompt.ids) + place for place in places]] @ prm.weight[0] + prm.bias)
    return list(expected.tolist())


@pytest.mark.parametrize("model_type", ["qwen3_vl", "internvl"])
def test_a_response_that_spells_special_tokens_is_scored(
    model_type: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    prm = ProcessRewardModel(save_tiny_prm(model_type, tmp_path / "prm"), make_config())
    image = prm.encoder.tokenizer.convert_ids_to_tokens(prm.encoder.family.image_id)
    text = f"3{image};<|im_end|>4;5"
    [[scores]] = prm.score(MIXED[:1], [[text]])
    ids = prm.encoder.plain_text.ids(text)
    separator = prm.encoder.tokenizer(";", add_special_tokens=False)["input_ids"][0]
    places = [place for place, token in enumerate(ids) if token == separator]
    assert len(scores) == 3
    assert scores == pytest.approx(_scores_at(prm, ids, [*places, len(ids) - 1]), abs=1e-5)


def test_batches_do_not_change_the_scores(make_config: MakeConfig, prm_folder: Path) -> None:
    requests = heldout(4)
    texts = [TEXTS, [], TEXTS[:1], TEXTS[1:]]
    large = ProcessRewardModel(prm_folder, make_config()).score(requests, texts)
    small = ProcessRewardModel(
        prm_folder, make_config(score={"tokens_per_batch": 16})
    ).score(requests, texts)  # fmt: skip
    assert [len(own) for own in large] == [4, 0, 1, 3]
    for one, other in zip(sum(large, []), sum(small, []), strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert all(0 < score < 1 for own in large for scores in own for score in scores)


def test_another_separator_is_refused(make_config: MakeConfig, prm_folder: Path) -> None:
    with pytest.raises(UserError, match=r"trained on steps that end with ';'"):
        ProcessRewardModel(prm_folder, make_config(prompt={"step_separator": "\n"}))


@pytest.mark.parametrize("facts", [None, "[]", "{}", "{"])
def test_a_policy_is_no_process_reward_model(
    make_config: MakeConfig, prm_folder: Path, facts: str | None
) -> None:
    (prm_folder / "prm.json").unlink()
    if facts is not None:
        (prm_folder / "prm.json").write_text(facts)
    with pytest.raises(UserError, match="no process reward model"):
        ProcessRewardModel(prm_folder, make_config())


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (None, r"prm_head.safetensors does not load"),
        (b"no tensors", r"prm_head.safetensors does not load"),
        ({"weight": torch.ones(1, 31), "bias": torch.ones(1)}, r"must hold weight \(1, 32\)"),
        ({"weight": torch.ones(1, 32)}, r"must hold weight \(1, 32\) and bias \(1,\)"),
        (
            {"weight": torch.full((1, 32), torch.nan), "bias": torch.ones(1)},
            "weight hold values .* not finite",
        ),
        (
            {"weight": torch.ones(1, 32, dtype=torch.int8), "bias": torch.ones(1)},
            "stores weight as int8 without a quantization_config",
        ),
    ],
)
def test_a_broken_head_is_refused(head: Any, message: str, make_config: MakeConfig, prm_folder: Path) -> None:
    path = prm_folder / "prm_head.safetensors"
    match head:
        case None:
            path.unlink()
        case bytes():
            path.write_bytes(head)
        case _:
            save_file(head, path)
    with pytest.raises(UserError, match=message):
        ProcessRewardModel(prm_folder, make_config())


def test_a_quantized_model_is_no_process_reward_model(make_config: MakeConfig, prm_folder: Path) -> None:
    weights = load_file(prm_folder / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"].to(torch.int8)
    save_file(weights, prm_folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="stores lm_head.weight as int8 without a quantization_config"):
        ProcessRewardModel(prm_folder, make_config())


def test_a_score_that_is_not_finite_is_one_line(make_config: MakeConfig, prm_folder: Path) -> None:
    head = {"weight": torch.full((1, 32), 3e38), "bias": torch.ones(1)}
    save_file(head, prm_folder / "prm_head.safetensors")
    prm = ProcessRewardModel(prm_folder, make_config())
    with pytest.raises(UserError, match=r"gives problem p0 a score that is not finite"):
        prm.score(MIXED[:1], [["1;" * 40]])


def test_a_prompt_that_is_too_long_is_named(make_config: MakeConfig, prm_folder: Path) -> None:
    config = make_config(prompt={"version": "question-1", "step_separator": ";", "max_tokens": 40})
    with pytest.raises(UnusableRequest, match="p5 has a prompt of 66 tokens"):
        ProcessRewardModel(prm_folder, config).score([ask(problem(5, 3, question="1+" * 30))], [["1"]])
