"""The process reward model's plumbing, on a small one with known weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mstar.config import Config
from mstar.errors import UserError
from mstar.models import collate
from mstar.prm import ProcessRewardModel
from tests.engines.asking import heldout

MakeConfig = Callable[..., Config]
TEXTS = ["Read:8+6;8+6=14;Answer:14", "Answer:3", "a;b;c;d;", ""]


def test_each_step_is_scored_at_its_last_token(make_config: MakeConfig, prm_folder: Path) -> None:
    prm = ProcessRewardModel(prm_folder, make_config())
    request = heldout(1)[0]
    scores = prm.score([request], [TEXTS])[0]
    assert [len(own) for own in scores] == [3, 1, 4, 0]
    prompt = prm.encoder.encode([request])[0]
    for text, found in zip(TEXTS, scores, strict=True):
        ids = prm.encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
        row = prompt.followed_by(ids)
        batch = collate([row], prm.encoder, "right", prm.model.device)
        with torch.no_grad():
            hidden = prm.model.model(**batch).last_hidden_state[0]
        separator = prm.encoder.tokenizer(";", add_special_tokens=False)["input_ids"][0]
        places = [place for place, token in enumerate(ids) if token == separator]
        places += [] if text.endswith(";") or not text else [len(ids) - 1]
        expected = torch.sigmoid(
            hidden[[len(prompt.ids) + place for place in places]] @ prm.weight[0] + prm.bias
        )
        assert found == pytest.approx(expected.tolist(), abs=1e-5)


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


def test_a_policy_is_no_process_reward_model(make_config: MakeConfig, prm_folder: Path) -> None:
    (prm_folder / "prm.json").unlink()
    with pytest.raises(UserError, match="no process reward model"):
        ProcessRewardModel(prm_folder, make_config())
