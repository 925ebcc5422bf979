"""Weights that are not what the model needs are refused, by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mstar.config import Images, Model, Prompt
from mstar.errors import UserError
from mstar.models import FAMILIES, Encoder, load_model
from tests.commands import call
from tests.conftest import BASE
from tests.tiny_models import save_tiny_model

Tensors = dict[str, torch.Tensor]


def change_weights(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    weights = change(load_file(folder / "model.safetensors"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def load(folder: Path) -> Any:
    return load_model(folder, Model(path=str(folder)))


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_saved_model_loads(model_type: str, tmp_path: Path) -> None:
    assert not load(save_tiny_model(model_type, tmp_path / "model")).training


def test_tied_weights_that_are_saved_once_load() -> None:
    assert "lm_head.weight" not in load_file(BASE / "model.safetensors")
    load(BASE)


@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "internvl"])
def test_missing_tensors_are_named(model_type: str, tmp_path: Path) -> None:
    folder = save_tiny_model(model_type, tmp_path / "model")
    change_weights(
        folder, lambda held: {name: held[name] for name in held if not name.endswith("lm_head.weight")}
    )
    with pytest.raises(UserError, match=r"lacks lm_head.weight;"):
        load(folder)


def test_what_has_no_place_is_named(tmp_path: Path) -> None:
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    change_weights(folder, lambda held: {**held, "value_head.weight": torch.ones(1)})
    with pytest.raises(UserError, match=r"holds value_head.weight too many"):
        load(folder)


def test_a_wrappers_prefix_is_named(tmp_path: Path) -> None:
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    change_weights(folder, lambda held: {f"module.{name}": tensor for name, tensor in held.items()})
    with pytest.raises(UserError, match=r"lacks .* and \d+ more and holds module.* without its wrapper"):
        load(folder)


def test_another_shape_does_not_load(tmp_path: Path) -> None:
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    change_weights(folder, lambda held: {**held, "lm_head.weight": torch.ones(3, 32)})
    with pytest.raises(UserError, match=r"holds lm_head.weight of shape \(3, 32\) instead of \(61, 32\)"):
        load(folder)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_not_finite_are_named(value: float, tmp_path: Path) -> None:
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")

    def spoil(held: Tensors) -> Tensors:
        held["lm_head.weight"][3, 5] = value
        return held

    change_weights(folder, spoil)
    with pytest.raises(UserError, match=r"lm_head.weight hold values that are not finite"):
        load(folder)


def test_large_values_are_not_taken_for_infinite(tmp_path: Path) -> None:
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    change_weights(
        folder, lambda held: {**held, "lm_head.weight": held["lm_head.weight"].clone().fill_(3e38)}
    )
    load(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.float8_e4m3fn, torch.bool])
@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "internvl"])
def test_quantized_weights_without_their_code_are_named(
    model_type: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    folder = save_tiny_model(model_type, tmp_path / "model")
    change_weights(
        folder,
        lambda held: {name: one.to(dtype) if "lm_head" in name else one for name, one in held.items()},
    )
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(
        UserError, match=rf"stores \S*lm_head.weight as {kind} without .*; weights must be float32"
    ):
        load(folder)


@pytest.mark.parametrize("layout", ["shards", "pickled"])
def test_quantized_weights_are_found_in_every_layout(layout: str, tmp_path: Path) -> None:
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    held = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    codes = {"lm_head.weight": held.pop("lm_head.weight").to(torch.int8)}
    if layout == "pickled":
        torch.save(held | codes, folder / "pytorch_model.bin")
    else:
        for name, tensors in (("one", held), ("two", codes)):
            save_file(tensors, folder / f"{name}.safetensors", metadata={"format": "pt"})
        places = dict.fromkeys(held, "one.safetensors") | dict.fromkeys(codes, "two.safetensors")
        index = {"metadata": {}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="stores lm_head.weight as int8 without"):
        load(folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_floats_load(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = save_tiny_model("internvl", tmp_path / "model")
    change_weights(folder, lambda held: {name: tensor.to(dtype) for name, tensor in held.items()})
    load(folder)


def test_a_file_that_is_cut_off_does_not_load(tmp_path: Path) -> None:
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="does not load"):
        load(folder)


def tell_types() -> None:
    for revision in ("first", "second"):
        model = Model(path="someone/model", revision=revision)
        encoder = Encoder(Path(model.path), Images(), Prompt(), model.revision)
        print(encoder.config.model_type, load_model(Path(model.path), model).config.model_type)


def test_a_hub_id_is_loaded_at_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a cache as the hub's client leaves it, without a network."""
    cached = tmp_path / "models--someone--model"
    for revision, model_type in (("first", "qwen3_vl"), ("second", "internvl")):
        save_tiny_model(model_type, cached / "snapshots" / revision)
        (cached / "refs").mkdir(exist_ok=True)
        (cached / "refs" / revision).write_text(revision)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = call(tell_types)
    assert done.stdout.split() == ["qwen3_vl", "qwen3_vl", "internvl", "internvl"]


def test_a_local_folder_takes_no_revision(tmp_path: Path) -> None:
    folder = shutil.copytree(BASE, tmp_path / "base")
    load_model(folder, Model(path="someone/model", revision="gone"))
