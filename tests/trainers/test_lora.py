"""Adapters: what learns, what a checkpoint holds; peft, the engine and a resumed training read it."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from mstar.config import Config
from mstar.engines import Chunk, Sampling, build_engine
from mstar.errors import UserError
from mstar.models import load_model
from mstar.models.adapters import adapter_weights
from mstar.trainers import Lesson, build_trainer
from mstar.trainers.checkpoint import load_training_state
from mstar.trainers.policy import open_policy
from tests.commands import SERVER
from tests.engines.asking import MIXED
from tests.tiny_models import OWN_CODE, save_tiny_model
from tests.trainers.conftest import MakeConfig, MakeLesson, files_of, save_to, steps_saved
from tests.trainers.test_single import add_dropout, train_elsewhere

LORA = {"rank": 2, "dropout": 0.2}
SECTION = {"learning_rate": 1e-2, "batch_size": 4, "lora": LORA}


def configure(make_config: MakeConfig, model: Path, dtype: str = "float32", **train: Any) -> Config:
    return make_config(model={"path": str(model), "dtype": dtype, "threads": 1}, train={**SECTION, **train})


def teach(config: Config, lesson: Lesson, folder: Path) -> Path:
    list(build_trainer(config).train(lesson, save_to(folder)))
    return folder


def texts(config: Config, policy: Path) -> list[str]:
    """Greedy ones to requests with and without images."""
    with build_engine(config, policy) as engine:
        [found] = engine.generate([Chunk(MIXED, Sampling(1, 0.0, 1.0, 16))])
    return [sample.text for samples in found for sample in samples]


def merged_by_peft(model: Path, adapter: Path) -> dict[str, torch.Tensor]:
    import peft

    base = transformers.AutoModelForImageTextToText.from_pretrained(model)
    merged = peft.PeftModel.from_pretrained(base, adapter).merge_and_unload()
    return dict(merged.state_dict())


@pytest.mark.parametrize("family", OWN_CODE)
def test_every_family_learns_by_an_adapter_that_peft_and_the_engine_read(
    make_config: MakeConfig, make_lesson: MakeLesson, tmp_path: Path, family: str
) -> None:
    model = save_tiny_model(family, tmp_path / "model")
    config = configure(make_config, model, epochs=4, lora={"rank": 4})
    steps = list(build_trainer(config).train(make_lesson(model), save_to(tmp_path / "out")))
    assert steps[-1].loss is not None and steps[1].loss is not None
    assert steps[-1].loss < 0.9 * steps[1].loss
    ours = load_model(tmp_path / "out", config.model).state_dict()
    theirs = merged_by_peft(model, tmp_path / "out")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    merged = load_model(tmp_path / "out", config.model)
    shutil.copytree(model, tmp_path / "merged")
    merged.save_pretrained(tmp_path / "merged")
    assert texts(config, tmp_path / "out") == texts(config, tmp_path / "merged") != texts(config, model)


def test_a_checkpoint_is_small_and_the_base_stays(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    before = files_of(tiny)
    out = teach(configure(make_config, tiny), make_lesson(tiny), tmp_path / "out")
    assert files_of(tiny) == before
    assert set(files_of(out)) == {
        "adapter_config.json", "adapter_model.safetensors", "base.json", "chat_template.jinja",
        "config.json", "generation_config.json", "preprocessor_config.json", "probe.json", "tokenizer.json",
        "tokenizer_config.json", "training_state/moments.tensors", "training_state/progress.json",
    }  # fmt: skip
    weights = load_file(out / "adapter_model.safetensors")
    sizes = sum(tensor.nbytes for tensor in weights.values())
    assert (out / "training_state" / "moments.tensors").stat().st_size < 2.2 * sizes + 20_000
    assert sizes < (tiny / "model.safetensors").stat().st_size / 10
    assert str(tmp_path) not in (out / "adapter_config.json").read_text()


@pytest.mark.parametrize(
    "freeze, targets, parts, layers",
    [
        (["vision", "projector"], None, {"language_model"}, 14),
        (["vision", "projector"], ["q_proj", "v_proj"], {"language_model"}, 4),
        (["text"], ["qkv", "linear_fc1"], {"visual"}, 4),
        ([], ["qkv", "q_proj"], {"visual", "language_model"}, 3),
    ],
)
def test_adapters_go_where_targets_and_frozen_parts_say(
    make_config: MakeConfig,
    tiny: Path,
    freeze: list[str],
    targets: list[str] | None,
    parts: set[str],
    layers: int,
) -> None:
    config = configure(make_config, tiny, freeze=freeze, lora={"rank": 2, "targets": targets})
    policy = open_policy(tiny, config)
    names = policy.learner.trained
    assert {name.split(".")[1] for name in names} == parts and len(names) == 2 * layers
    assert all(".lora_" in name for name in names)
    assert not any("lora_" in name for name in policy.learner.frozen)


def test_a_new_adapter_says_what_its_base_says(make_config: MakeConfig, tiny: Path) -> None:
    config = configure(make_config, tiny)
    model = open_policy(tiny, config).model.eval()
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        assert torch.equal(model(input_ids=ids).logits, load_model(tiny, config.model)(input_ids=ids).logits)
    first, again = (adapter_weights(open_policy(tiny, config).model) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_killed_training_ends_like_one_that_was_not(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    add_dropout(tiny)
    config = configure(make_config, tiny, checkpoint_every=2, epochs=2)
    whole = list(build_trainer(config).train(make_lesson(tiny), save_to(tmp_path / "whole")))
    killed = build_trainer(config).train(make_lesson(tiny), save_to(tmp_path / "part"))
    for _ in range(4):
        next(killed)
    killed.close()  # type: ignore[attr-defined]
    shutil.copytree(tmp_path / "part", tmp_path / "interrupted")
    resumed = make_lesson(tiny, interrupted=tmp_path / "interrupted")
    steps = list(build_trainer(config).train(resumed, save_to(tmp_path / "resumed")))
    assert steps[-1] == whole[-1]
    assert steps_saved(tmp_path / "resumed") == [4, 6]
    assert files_of(tmp_path / "resumed") == files_of(tmp_path / "whole")


def test_another_process_leaves_the_same_files(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    """Its sets have another order."""
    config = configure(make_config, tiny)
    arguments = (config, make_lesson(tiny), tmp_path / "elsewhere")
    process = SERVER.Process(target=train_elsewhere, args=arguments)
    process.start()
    process.join()
    train_elsewhere(config, make_lesson(tiny), tmp_path / "here")
    assert files_of(tmp_path / "elsewhere") == files_of(tmp_path / "here")


def test_the_optimizer_is_inherited(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    config = configure(make_config, tiny)
    first = teach(config, make_lesson(tiny), tmp_path / "first")
    second = teach(config, make_lesson(first, inherit_optimizer=True, seed=9), tmp_path / "second")
    for folder, step in ((first, 3.0), (second, 6.0)):
        moments = load_training_state(folder).moments
        assert len(moments) == 28 and {float(kinds["step"]) for kinds in moments.values()} == {step}
    afresh = teach(config, make_lesson(first, seed=9), tmp_path / "afresh")
    name = "adapter_model.safetensors"
    assert (afresh / name).read_bytes() != (second / name).read_bytes() != (first / name).read_bytes()


def test_in_bfloat16_the_base_is_held_in_it_and_the_adapter_is_not_lost(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    config = configure(make_config, tiny, dtype="bfloat16", learning_rate=1e-6)
    policy = open_policy(tiny, config)
    kept = {parameter.dtype for name, parameter in policy.model.named_parameters() if ".lora_" not in name}
    assert kept == {torch.bfloat16}
    assert {parameter.dtype for parameter in policy.learner.trained.values()} == {torch.float32}
    out = teach(config, make_lesson(tiny), tmp_path / "out")
    loaded = load_model(out, config.model)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    learned = [one for name, one in adapter_weights(loaded).items() if "lora_B" in name]
    assert all(float(one.detach().abs().max()) > 0 for one in learned)
    assert len(texts(config, out)) == len(MIXED)


def break_adapter(folder: Path, damage: str) -> None:
    match damage:
        case "cut":
            data = (folder / "adapter_model.safetensors").read_bytes()
            (folder / "adapter_model.safetensors").write_bytes(data[:99])
        case "lacking" | "infinite":
            weights = load_file(folder / "adapter_model.safetensors")
            name = sorted(weights)[0]
            weights[name] *= torch.inf
            if damage == "lacking":
                del weights[name]
            save_file(weights, folder / "adapter_model.safetensors")
        case "nameless":
            (folder / "base.json").unlink()
        case "config":
            (folder / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize(
    "damage, said",
    [
        ("cut", "its adapter does not load"),
        ("lacking", "its adapter does not fit its base, which differ in base_model.model.model.lang"),
        ("infinite", "hold values that are not finite"),
        ("nameless", "without a base.json"),
        ("config", "its adapter does not load"),
    ],
)
def test_a_damaged_adapter_is_refused(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path, damage: str, said: str
) -> None:
    config = configure(make_config, tiny)
    out = teach(config, make_lesson(tiny), tmp_path / "out")
    break_adapter(out, damage)
    with pytest.raises(UserError, match=said) as refusal:
        load_model(out, config.model)
    assert "\n" not in str(refusal.value)


def test_another_base_or_none_is_refused(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    config = configure(make_config, tiny)
    out = teach(config, make_lesson(tiny), tmp_path / "out")
    moved = tiny.rename(tmp_path / "moved")
    load_model(out, configure(make_config, moved).model)
    with pytest.raises(UserError, match="model.path is .*tiny, which does not exist"):
        load_model(out, config.model)
    facts = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="is an adapter of another base than model.path .*moved"):
        open_policy(out, configure(make_config, moved))


@pytest.mark.parametrize(
    "train, said",
    [
        (
            {"lora": {"rank": 2, "targets": ["q_proj", "qkv"]}},
            r"has qkv.*\[vision, projector\] leaves",
        ),
        ({"lora": {"rank": 2, "targets": ["lm_head"]}}, "targets has lm_head, and no linear layer fits"),
        ({"freeze": ["vision", "projector", "text"]}, "rank is set, and no linear layer fits.*have none"),
    ],
)
def test_targets_that_match_nothing_are_refused(
    make_config: MakeConfig, tiny: Path, train: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        open_policy(tiny, configure(make_config, tiny, **train))


def test_without_peft_one_line_says_what_to_install(
    make_config: MakeConfig, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"peft, and that is not installed: pip install 'mstar\[lora\]'"):
        open_policy(tiny, configure(make_config, tiny))
    open_policy(tiny, configure(make_config, tiny, lora={}))


def test_an_adapter_learns_the_same_from_packed_rows(
    make_config: MakeConfig, make_lesson: MakeLesson, tiny: Path, tmp_path: Path
) -> None:
    found = {}
    for packing in (False, True):
        config = configure(make_config, tiny, lora={"rank": 4}, packing=packing)
        steps = list(build_trainer(config).train(make_lesson(tiny), save_to(tmp_path / f"{packing}")))
        found[packing] = [one.loss for one in steps[1:]], steps[-1].padded_tokens
    assert found[True][0] == pytest.approx(found[False][0], rel=1e-4)
    assert found[True][1] == 0 < found[False][1]
