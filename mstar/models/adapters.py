"""Adapters (LoRA, arXiv 2106.09685) by peft: a policy as small matrices over a base that stays as it is.

A checkpoint with an adapter is a folder as peft writes it (`adapter_config.json`,
`adapter_model.safetensors`) with the policy's configuration, tokenizer and image processor, and `base.json`,
which names the base by content: it is always what `model.path` says, wherever that lies now. Adapters are put
into the model in place, so that it keeps its class and its modules their names.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.utils import GENERATION_CONFIG_NAME

from mstar.config import Model
from mstar.config_train import Train
from mstar.errors import UserError
from mstar.inputs import ADAPTER_CONFIG, model_identity
from mstar.models.families import Family, part_of

BASE, WEIGHTS = "base.json", "adapter_model.safetensors"
ADAPTER_FILES = ("adapter_*", BASE)
"""What a whole model's folder has not."""
PREFIX = "base_model.model."
"""Before the name of every module in peft's files."""
SHOWN = 6


def is_adapter(folder: Path) -> bool:
    """Whether a policy's folder holds an adapter and not the weights of a whole model."""
    return (folder / ADAPTER_CONFIG).is_file()


def base_of(folder: Path, model: Model) -> Path:
    """Where the base of an adapter is; UserError where `model.path` holds another one, or none."""
    try:
        expected = json.loads((folder / BASE).read_text(encoding="utf-8"))["identity"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise UserError(
            f"policy {folder} is an adapter without a {BASE} that names its base; take a checkpoint of a run "
            "or a whole model"
        ) from None
    present = model_identity("model.path", model.path, model.revision)
    if present != expected:
        raise UserError(
            f"policy {folder} is an adapter of another base than model.path {model.path} ({expected[:12]}, "
            f"here {present[:12]}); put back the model that the run was started with"
        )
    return Path(model.path)


def rank_of(folder: Path) -> int:
    """The rank of an adapter's matrices."""
    return int(json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))["r"])


def target_names(model: nn.Module, family: Family, config: Train) -> list[str]:
    """The linear layers that get an adapter: those that `train.lora.targets` names, or all, in the parts that
    `train.freeze` does not name. The output head is none of them: it may share its weights.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()
    linear = [
        name
        for name, module in model.named_modules()
        if type(module) is nn.Linear
        and module is not head
        and part_of(f"{name}.weight", family) not in config.freeze
    ]
    wanted, present = config.lora.targets, {_last(name) for name in linear}
    unknown = [] if wanted is None else [name for name in wanted if name not in present]
    if unknown or not linear:
        named = f"train.lora.targets has {unknown[0]}" if unknown else "train.lora.rank is set"
        have = f"have {_some(sorted(present))}" if present else "have none"
        raise UserError(
            f"{named}, and no linear layer fits: the parts that train.freeze "
            f"[{', '.join(config.freeze)}] leaves {have}; correct one of the two"
        )
    return sorted(name for name in linear if wanted is None or _last(name) in wanted)


def add_adapter(model: nn.Module, family: Family, config: Train) -> None:
    """Put a new adapter into a model, which changes nothing that it says; all else is frozen.

    Random numbers come from torch's own stream.
    """
    lora = config.lora
    made = import_peft().LoraConfig(
        r=lora.rank,
        lora_alpha=lora.scale_numerator,
        lora_dropout=lora.dropout,
        target_modules=target_names(model, family, config),
    )
    _wrap(model, made)


def read_adapter(model: nn.Module, folder: Path, trainable: bool) -> Any:
    """Put the adapter of a checkpoint into its base, in the type of the base's weights.

    Returns peft's wrapper around the same model. UserError where the files do not fit the model.
    """
    peft = import_peft()
    try:
        config = peft.LoraConfig.from_pretrained(str(folder))
        tensors = load_file(folder / WEIGHTS)
        config.inference_mode = not trainable
        wrapper = _wrap(model, config)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"policy {folder}: its adapter does not load ({first_line[:200]}); its files are damaged: "
            "take an earlier checkpoint"
        ) from None
    _fill(model, folder, tensors)
    return wrapper


def adapter_weights(model: nn.Module) -> dict[str, Tensor]:
    """The adapter's tensors by their names in peft's files; the parameters themselves, not copies."""
    return {
        PREFIX + name.replace(".default.", "."): parameter
        for name, parameter in model.named_parameters()
        if ".lora_A." in name or ".lora_B." in name
    }


def save_adapter(folder: Path, model: Any, base: Model) -> None:
    """Write the adapter in a model, its base's identity, and the policy's configuration."""
    weights = adapter_weights(model)
    save_file(
        {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in weights.items()},
        folder / WEIGHTS,
        metadata={"format": "pt"},
    )
    settings = model.peft_config["default"].to_dict() | {
        "inference_mode": True,
        "base_model_name_or_path": None if base.revision is None else base.path,
        "revision": base.revision,
        "auto_mapping": {
            "base_model_class": type(model).__name__,
            "parent_library": type(model).__module__,
        },
    }
    write_json(folder / ADAPTER_CONFIG, settings)
    write_json(folder / BASE, {"identity": model_identity("model.path", base.path, base.revision)})
    model.config.save_pretrained(folder)
    write_generation_config(folder, model.generation_config)


def write_generation_config(folder: Path, settings: Any) -> None:
    """As its `save_pretrained` does, but for the check of what has been read and is passed on as it is."""
    settings.to_json_file(folder / GENERATION_CONFIG_NAME, keys_to_pop=["compile_config"])


def write_json(path: Path, facts: Mapping[str, Any]) -> None:
    """Sets, whose order differs from process to process, are written sorted."""
    path.write_text(json.dumps(facts, indent=2, sort_keys=True, default=sorted) + "\n", encoding="utf-8")


def import_peft() -> Any:
    """The package peft; UserError where it is not installed."""
    try:
        import peft
    except ImportError:
        raise UserError(
            "train.lora.rank is set, which needs peft, and that is not installed: pip install 'mstar[lora]', "
            "or train the weights themselves with train.lora.rank=null"
        ) from None
    return peft


def _wrap(model: nn.Module, config: Any) -> Any:
    return import_peft().LoraModel(model, config, "default")


def _fill(model: nn.Module, folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Copy an adapter's tensors into their places; every one must have its own."""
    places = adapter_weights(model)
    wrong = sorted(places.keys() ^ tensors.keys()) or sorted(
        name for name, place in places.items() if place.shape != tensors[name].shape
    )
    if wrong:
        raise UserError(
            f"policy {folder}: its adapter does not fit its base, which differ in {_some(wrong)}; its files "
            "are damaged: take an earlier checkpoint"
        )
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(tensors[name])


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
