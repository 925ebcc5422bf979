"""Reading a checkpoint: nothing missing, nothing left over, nothing that is not a number.

transformers fills missing weights with random ones, drops those it has no place for, takes the integers of a
quantized model for its weights, and loads NaN as it comes; a model of that kind answers nonsense without a
word. Here each of them is one clear line.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.modeling_utils import load_state_dict
from transformers.utils import CHAT_TEMPLATE_FILE, LEGACY_PROCESSOR_CHAT_TEMPLATE_FILE, cached_file

from mstar.config import Model
from mstar.errors import UserError
from mstar.model_folders import PROCESSOR_FILES
from mstar.models.adapters import (
    adapter_weights,
    base_of,
    is_adapter,
    read_adapter,
    write_generation_config,
)

SHOWN = 3
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
WEIGHT_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def load_config(folder: Path, revision: str | None) -> Any:
    return _load(transformers.AutoConfig.from_pretrained, folder, "configuration", revision)


def load_tokenizer(folder: Path, revision: str | None, config: Any) -> Any:
    """The tokenizer, which must have a chat template and an end token. `config` is the checkpoint's: where
    it is not given, transformers reads it once more, which takes ten times as long as the tokenizer.
    """
    load = transformers.AutoTokenizer.from_pretrained
    tokenizer = _load(load, folder, "tokenizer", revision, config=config)
    tokenizer.chat_template = _load(_separate_template, folder, "chat template", revision) or (
        tokenizer.chat_template
    )
    if tokenizer.chat_template is None:
        raise UserError(
            f"model {folder} has no chat template, so it is not known how a question is put to it; "
            "save the template of its instruction-tuned release as chat_template.jinja beside its tokenizer"
        )
    if tokenizer.eos_token_id is None:
        raise UserError(f"model {folder}: its tokenizer names no end token (eos_token)")
    return tokenizer


def _separate_template(folder: str, revision: str | None = None) -> str | None:
    """The template with images of older checkpoints, whose tokenizer may have one that knows text alone."""
    if _find_file(folder, CHAT_TEMPLATE_FILE, revision):
        return None  # the tokenizer has read it
    found = _find_file(folder, LEGACY_PROCESSOR_CHAT_TEMPLATE_FILE, revision)
    return str(json.loads(found.read_text(encoding="utf-8"))["chat_template"]) if found else None


def _find_file(folder: str, name: str, revision: str | None = None) -> Path | None:
    """A file of a checkpoint, in its folder or in the hub's cache; None where the checkpoint has none."""
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    found = cached_file(folder, name, revision=revision, **quiet)
    return Path(found) if found else None


def load_image_processor(folder: Path, revision: str | None) -> Any:
    """The image processor that works with Pillow: the pixels of the other one differ slightly."""
    load = transformers.AutoImageProcessor.from_pretrained
    return _load(load, folder, "image processor", revision, use_fast=False)


def load_processor_files(folder: Path, revision: str | None) -> dict[str, bytes]:
    """What a checkpoint says of the whole processor, by file: others build that."""
    found = (_find_file(str(folder), name, revision) for name in PROCESSOR_FILES)
    return {file.name: file.read_bytes() for file in found if file}


def load_generation_config(folder: Path, revision: str | None, config: Any) -> Any:
    """What the checkpoint says of generating; what its configuration says, where it has no file for that."""
    pinned = {"revision": revision} if revision is not None and not folder.is_dir() else {}
    try:
        return transformers.GenerationConfig.from_pretrained(str(folder), **pinned)
    except OSError:
        return transformers.GenerationConfig.from_model_config(config)


def load_model(folder: Path, model: Model, dtype: torch.dtype | None = None) -> Any:
    """The policy in a checkpoint folder, on its device, in evaluation mode.

    An adapter's base is looked for at `model.path`. Both are added up in float32; in bfloat16, where small
    changes of large weights would be lost, the adapter stays beside them.
    """
    if not is_adapter(folder):
        return load_weights(folder, model, dtype)
    loaded = load_weights(base_of(folder, model), model, dtype)
    wrapper = read_adapter(loaded, folder, trainable=False)
    refuse_nonfinite(folder, adapter_weights(loaded).items())
    return wrapper.merge_and_unload() if loaded.dtype == torch.float32 else loaded


def write_merged(folder: Path, model: Model, target: Path) -> None:
    """Write a policy's adapter and its base as one whole model in float32, added up on the CPU."""
    save_model(target, load_model(folder, model.model_copy(update={"dtype": "float32", "device": "cpu"})))


def save_model(folder: Path, model: Any) -> None:
    """Write a whole model as its `save_pretrained` does, with the sampling settings that it came with: it
    refuses some that `from_pretrained` reads (a temperature where do_sample is not set).
    """
    settings, model.generation_config = model.generation_config, transformers.GenerationConfig()
    try:
        model.save_pretrained(folder)
    finally:
        model.generation_config = settings
    write_generation_config(folder, settings)


def load_weights(folder: Path, model: Model, dtype: torch.dtype | None = None) -> Any:
    """The whole model in a folder, on its device, in evaluation mode."""
    if model.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "model.device is cuda but torch sees no GPU; set it to cpu or install a CUDA build of torch"
        )
    loaded, found = _load(
        transformers.AutoModelForImageTextToText.from_pretrained,
        folder,
        "model",
        model.revision,
        dtype=dtype or getattr(torch, model.dtype),
        attn_implementation="sdpa",
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    _refuse_other_weights(folder, found)
    if getattr(loaded.config, "quantization_config", None) is None:
        refuse_quantized(folder, _stored_weights(folder, model.revision, loaded))
    loaded = loaded.to(model.device).eval()
    refuse_nonfinite(folder, [*loaded.named_parameters(), *loaded.named_buffers()])
    return loaded


def refuse_quantized(folder: Path, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """UserError naming the tensors of types whose numbers are codes: integers, and floats of 8 bits."""
    coded = [
        f"{name} as {str(tensor.dtype).removeprefix('torch.')}"
        for name, tensor in tensors
        if tensor.dtype not in WEIGHT_TYPES
    ]
    if coded:
        raise UserError(
            f"model {folder} stores {_some(coded)} without a quantization_config that says how to read it; "
            "weights must be float32, float16 or bfloat16: take the release before it was quantized"
        )


def refuse_nonfinite(folder: Path, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """UserError naming the tensors that hold NaN or infinity.

    A sum that is finite proves that all its terms are, in one pass over memory; only where it is not, is
    each value looked at.
    """
    broken = [
        name
        for name, tensor in tensors
        if tensor.is_floating_point()
        and not torch.isfinite(tensor.detach().sum(dtype=torch.float32))
        and not bool(torch.isfinite(tensor).all())
    ]
    if broken:
        raise UserError(
            f"model {folder}: {_some(broken)} hold values that are not finite; its files are damaged, or its "
            "training diverged: take an earlier checkpoint"
        )


def _refuse_other_weights(folder: Path, found: dict[str, Any]) -> None:
    missing, unexpected = sorted(found["missing_keys"]), sorted(found["unexpected_keys"])
    mismatched = [
        f"{name} of shape {tuple(held)} instead of {tuple(expected)}"
        for name, held, expected in sorted(found["mismatched_keys"])
    ]
    if not missing and not unexpected and not mismatched:
        return
    wrong = [f"lacks {_some(missing)}"] if missing else []
    wrong += [f"holds {_some(mismatched)}"] if mismatched else []
    wrong += [f"holds {_some(unexpected)} too many"] if unexpected else []
    wrapped = unexpected and all(name.startswith(("module.", "_orig_mod.")) for name in unexpected)
    remedy = "save the model without its wrapper" if wrapped else "save it with save_pretrained"
    raise UserError(f"model {folder} {' and '.join(wrong)}; {remedy}")


def _stored_weights(folder: Path, revision: str | None, loaded: Any) -> Iterable[tuple[str, torch.Tensor]]:
    """A checkpoint's tensors as its files have them, without their values, and without those that count
    (positions, say), which the model keeps as integers too.
    """
    counting = {name.split(".")[-1] for name, one in loaded.named_buffers() if not one.is_floating_point()}
    for file in _weight_files(folder, revision):
        for name, tensor in load_state_dict(str(file), "meta").items():
            if name.split(".")[-1] not in counting:
                yield name, tensor


def _weight_files(folder: Path, revision: str | None) -> Iterable[Path]:
    """The files that transformers has read, in its own order of preference."""
    there = Path(cached_file(str(folder), "config.json", **_pinned(folder, revision))).parent
    for name in WEIGHT_FILES:
        index = there / f"{name}.index.json"
        if (there / name).is_file():
            return [there / name]
        if index.is_file():
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            return [there / file for file in sorted(set(weight_map.values()))]
    return []


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _load(load: Any, folder: Path, what: str, revision: str | None, **options: Any) -> Any:
    """Call a loader of transformers; whatever is wrong with the files becomes one line."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        return load(str(folder), **_pinned(folder, revision), **options)
    except Exception as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"model {folder}: its {what} does not load ({first_line[:200]}); "
            "name a checkpoint folder as save_pretrained leaves it, or the id of a model on a hub"
        ) from error


def _pinned(folder: Path, revision: str | None) -> dict[str, Any]:
    """What is said of the revision; a folder has none."""
    return {"revision": revision} if revision is not None and not folder.is_dir() else {}
