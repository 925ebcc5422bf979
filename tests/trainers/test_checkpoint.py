"""What a checkpoint holds, and what goes on from it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mstar.config import Model
from mstar.errors import UserError
from mstar.models import load_model
from mstar.models.loading import write_merged
from mstar.trainers import Lesson, build_trainer
from mstar.trainers.checkpoint import load_training_state
from mstar.trainers.policy import open_policy
from tests.conftest import BASE, ROOT
from tests.trainers.conftest import MakeConfig, MakeLesson, save_to


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs a checkpoint leaves it for the others."""
    return tmp_path_factory.mktemp("kept") / "trained"


@pytest.fixture
def trained(kept: Path, make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path) -> Path:
    """A checkpoint of all parts after three steps."""
    if not kept.exists():
        config = make_config(train={"learning_rate": 1e-3, "batch_size": 4, "freeze": []})
        list(build_trainer(config).train(make_lesson(tiny), save_to(kept)))
    return Path(shutil.copytree(kept, tmp_path / "trained"))


def inherit(make_config: MakeConfig, lesson: Lesson, folder: Path, freeze: tuple[str, ...] = ()) -> None:
    config = make_config(train={"learning_rate": 1e-3, "batch_size": 4, "freeze": list(freeze)})
    list(build_trainer(config).train(lesson, save_to(folder)))


def rename_moments(folder: Path, start: str, new_start: str) -> None:
    path = folder / "training_state" / "moments.tensors"
    renamed = {
        new_start + key.removeprefix(start) if key.startswith(start) else key: tensor
        for key, tensor in load_file(path).items()
    }
    save_file(renamed, path)


def test_no_loader_takes_the_training_state_for_weights(trained: Path) -> None:
    assert [path.name for path in trained.rglob("*.safetensors")] == ["model.safetensors"]
    assert not [path for kind in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in trained.rglob(kind)]
    assert (trained / "training_state" / "moments.tensors").stat().st_size > 0
    names = {name for name, _ in load_model(trained, Model(path="")).named_parameters()}
    assert set(load_file(trained / "model.safetensors")) == names


def test_a_checkpoint_of_version_0_1_0_goes_on(
    make_config: MakeConfig, make_lesson: MakeLesson, tmp_path: Path
) -> None:
    old = ROOT / "tests" / "runs" / "0.1.0" / "run" / "iterations" / "000" / "train" / "checkpoint"
    before = load_training_state(old)
    assert before.progressed.train_step == 1
    assert set(moment_steps(old).values()) == {1.0}
    inherit(make_config, make_lesson(old, inherit_optimizer=True), tmp_path / "next")
    after = load_training_state(tmp_path / "next")
    assert after.progressed.train_step == 4
    assert after.moments.keys() == before.moments.keys()
    assert set(moment_steps(tmp_path / "next").values()) == {4.0}


@pytest.mark.parametrize("start, fitting", [("", "0 of"), ("lm_head.", r"\d\d of")])
def test_moments_under_other_names_are_refused(
    make_config: MakeConfig, make_lesson: MakeLesson, trained: Path, tmp_path: Path, start: str, fitting: str
) -> None:
    rename_moments(trained, start, f"module.{start}")
    lesson = make_lesson(trained, inherit_optimizer=True)
    with pytest.raises(UserError, match=rf"{fitting} \d+ cases; .* module\.l?m?.*train.inherit=weights"):
        inherit(make_config, lesson, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_moments_of_another_shape_are_refused(
    make_config: MakeConfig, make_lesson: MakeLesson, trained: Path, tmp_path: Path
) -> None:
    path = trained / "training_state" / "moments.tensors"
    moments = load_file(path)
    moments["lm_head.weight/exp_avg"] = torch.zeros(3, 32)
    save_file(moments, path)
    with pytest.raises(UserError, match="the first that do not are of lm_head.weight"):
        inherit(make_config, make_lesson(trained, inherit_optimizer=True), tmp_path / "out")


def test_a_training_without_any_moments_is_refused(
    make_config: MakeConfig, make_lesson: MakeLesson, trained: Path, tmp_path: Path
) -> None:
    save_file({}, trained / "training_state" / "moments.tensors")
    with pytest.raises(UserError, match=r"in 0 of \d+ cases; train.inherit=weights"):
        inherit(make_config, make_lesson(trained, inherit_optimizer=True), tmp_path / "out")


def test_moments_of_frozen_parameters_are_left_and_thawed_ones_begin_anew(
    make_config: MakeConfig, make_lesson: MakeLesson, trained: Path, tmp_path: Path
) -> None:
    lesson = make_lesson(trained, inherit_optimizer=True)
    inherit(make_config, lesson, tmp_path / "frozen", ("vision", "projector"))
    steps = moment_steps(tmp_path / "frozen")
    assert {name.split(".")[1] for name in steps} == {"language_model", "weight"}
    assert set(steps.values()) == {6.0}

    lesson = make_lesson(tmp_path / "frozen", inherit_optimizer=True)
    inherit(make_config, lesson, tmp_path / "thawed")
    steps = moment_steps(tmp_path / "thawed")
    assert {step for name, step in steps.items() if ".visual." in name} == {3.0}
    assert {step for name, step in steps.items() if ".visual." not in name} == {9.0}


def moment_steps(folder: Path) -> dict[str, float]:
    moments = load_training_state(folder).moments
    return {name: float(kinds["step"]) for name, kinds in moments.items()}


def test_moments_come_back_as_they_were(make_config: MakeConfig, trained: Path) -> None:
    state = load_training_state(trained)
    learner = open_policy(trained, make_config(train={"freeze": []})).learner
    learner.restore(state.moments)
    held = learner.moments()
    assert held.keys() == state.moments.keys() == learner.trained.keys()
    for name, moments in state.moments.items():
        for kind in ("exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(held[name][kind], moments[kind]), (name, kind)
    assert max(float(moments["exp_avg"].abs().max()) for moments in held.values()) > 0


@pytest.mark.parametrize("damage", ["gone", "cut", "nonsense"])
def test_a_checkpoint_without_state_cannot_be_inherited(
    make_config: MakeConfig, make_lesson: MakeLesson, trained: Path, tmp_path: Path, damage: str
) -> None:
    state = trained / "training_state"
    match damage:
        case "gone":
            trained = BASE
        case "cut":
            data = (state / "moments.tensors").read_bytes()
            (state / "moments.tensors").write_bytes(data[: len(data) // 2])
        case "nonsense":
            (state / "progress.json").write_text(json.dumps({"learning_rate": 1.0}))
    with pytest.raises(UserError, match="holds no training state"):
        inherit(make_config, make_lesson(trained, inherit_optimizer=True), tmp_path / "out")


def test_settings_of_a_whole_processor_go_from_checkpoint_to_checkpoint(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    """Others build one, which fails or goes by defaults without them."""
    settings = '{"processor_class": "Qwen3VLProcessor"}'
    (tiny / "processor_config.json").write_text(settings)
    policy = tiny
    for number in range(2):
        config = make_config(train={"batch_size": 8})
        list(build_trainer(config).train(make_lesson(policy), save_to(tmp_path / str(number))))
        policy = tmp_path / str(number)
    assert (policy / "processor_config.json").read_text() == settings
    assert not (policy / "video_preprocessor_config.json").exists()


@pytest.mark.parametrize("rank", [None, 2])
def test_sampling_settings_that_transformers_would_not_save_go_along(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path, rank: int | None
) -> None:
    """A temperature without do_sample is read with a warning, and refused by save_pretrained."""
    file = tiny / "generation_config.json"
    said = json.loads(file.read_text()) | {"temperature": 0.1, "top_k": 1, "repetition_penalty": 1.05}
    file.write_text(json.dumps(said))
    config = make_config(model={"path": str(tiny)}, train={"lora": {"rank": rank}})
    list(build_trainer(config).train(make_lesson(tiny), save_to(tmp_path / "out")))
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == said
    (tmp_path / "whole").mkdir()
    write_merged(tmp_path / "out", config.model, tmp_path / "whole")
    assert json.loads((tmp_path / "whole" / "generation_config.json").read_text()) == said
