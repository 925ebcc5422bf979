"""Which parts of a policy learn."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mstar.models import FAMILIES, load_model
from mstar.trainers import Progressed, build_trainer
from mstar.trainers.policy import open_policy
from mstar.trainers.rows import learn_response, pad_rows
from tests.engines.asking import ask, problem
from tests.tiny_models import save_tiny_model
from tests.trainers.conftest import MakeConfig, MakeLesson, save_to

TOWER = re.compile(r"model\.(?:visual\.(?!merger|deepstack_merger)|vision_tower\.|vision_model\.)")


@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_parts_stay_and_the_others_learn(
    make_config: MakeConfig, make_lesson: MakeLesson, tmp_path: Path, family: str
) -> None:
    model = save_tiny_model(family, tmp_path / family)
    config = make_config(train={"learning_rate": 1e-2, "freeze": ["vision"]})
    list(build_trainer(config).train(make_lesson(model), save_to(tmp_path / "out")))
    before, after = (
        dict(load_model(folder, config.model).named_parameters()) for folder in (model, tmp_path / "out")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    towers = {name for name in before if TOWER.match(name)}
    assert changed == before.keys() - towers
    assert len(changed) < len(before)
    moments = load_file(tmp_path / "out" / "training_state" / "moments.tensors")
    assert {key.rpartition("/")[0] for key in moments} == changed


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_belongs_to_one_part(make_config: MakeConfig, tmp_path: Path, family: str) -> None:
    model = save_tiny_model(family, tmp_path / family)
    parts = ("vision", "projector", "text")
    frozen = {}
    for part in parts:
        learner = open_policy(model, make_config(train={"freeze": [part]})).learner
        frozen[part] = set(learner.frozen)
        assert frozen[part] and len(learner.optimizer.param_groups[0]["params"]) == len(learner.trained)
    names = [name for part in parts for name in frozen[part]]
    assert sorted(names) == sorted({*learner.trained, *learner.frozen})


def test_a_text_trains_nothing_where_only_the_vision_tower_learns(
    make_config: MakeConfig, tiny: Path
) -> None:
    config = make_config(train={"freeze": ["text"]})
    policy = open_policy(tiny, config)
    request = ask(problem(1))
    [prompt], [response] = policy.encoder.encode([request]), policy.encoder.encode_responses(["1"])
    row = learn_response(request, prompt, response)
    reached = policy.learner.step([pad_rows([row], policy.encoder)], row.learned, Progressed(0))
    assert reached.steps_done == 1 and reached.loss is not None and reached.loss > 0
    assert policy.learner.moments() == {}
