"""The arithmetic of memory in docs/lora.md, against the bytes of the tensors that a training holds."""

import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mstar.config_train import Train
from mstar.models.qwen_vl import QwenVL
from mstar.trainers.policy import open_policy
from tests.conftest import ROOT
from tests.tiny_models import save_tiny_model
from tests.trainers.conftest import MakeConfig

sys.path.insert(0, str(ROOT / "benchmarks"))
import memory

ROWS, LENGTH = 2, 128
SHAPE = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 4, "max_position_embeddings": 1024}
WAYS = [
    {"freeze": []},
    {"freeze": ["vision", "projector"]},
    {"freeze": [], "optimizer": "adamw_8bit"},
    {"lora": {"rank": 4}},
]


class Live(TorchDispatchMode):
    """Counts the bytes of tensors that are made in it and not gone yet."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self.sizes = dict.fromkeys(known, 0)
        self.now = self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage())
        self.peak = max(self.peak, self.now)
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self.sizes:
            self.sizes[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            weakref.finalize(storage, self._forget, storage._cdata)

    def _forget(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)


@pytest.mark.parametrize("learned", [1, 100])
@pytest.mark.parametrize("train", WAYS, ids=str)
def test_the_arithmetic_holds_what_a_training_holds(
    make_config: MakeConfig, tmp_path: Path, train: dict[str, Any], learned: int
) -> None:
    """`learned` tokens in each row: with few the layers need most, with many the logits."""
    model = save_tiny_model("qwen2_5_vl", tmp_path / "model", **SHAPE)
    section = {**train, "gradient_checkpointing": True}
    config = make_config(model={"path": str(model), "threads": 1}, train=section)
    policy = open_policy(model, config)
    learner = policy.learner
    ids = torch.full((ROWS, LENGTH), 9)
    places = torch.arange(LENGTH).expand(3, ROWS, LENGTH).contiguous()
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "position_ids": places}
    labels = torch.full((ROWS, LENGTH), -100)
    labels[:, -learned:] = 3
    for parameter in learner.trained.values():
        parameter.grad = torch.zeros_like(parameter)
    learner.optimizer.step()

    held = [*policy.model.parameters(), *(one.grad for one in learner.trained.values())]
    with Live({one.untyped_storage()._cdata for one in held if one is not None}) as live:
        learner.forward(inputs, labels).backward()
    batch = ROWS * LENGTH, ROWS * learned
    counts = memory.count(transformers.AutoConfig.from_pretrained(model), QwenVL, config.train)
    text = policy.encoder.config.get_text_config()
    said = memory.training_bytes(text, counts, config.train, 4, batch)
    assert said.weights == sum(one.nbytes for one in policy.model.parameters())
    assert said.gradients == sum(one.nbytes for one in learner.trained.values())
    moments = [tensor for kinds in learner.moments().values() for tensor in list(kinds.values())]
    assert sum(one.nbytes for one in moments) == pytest.approx(said.moments, rel=moment_slack(config.train))
    assert 0.5 * said.activations < live.peak <= said.activations


def moment_slack(train: Train) -> float:
    """Steps are counted too; and small matrices keep moments in float32."""
    return 0.02 if train.optimizer == "adamw" else 3.0


def test_the_page_has_the_table() -> None:
    page = (ROOT / "docs" / "lora.md").read_text()
    lines = memory.table()
    assert len(lines) == 12 and "\n".join(lines) in page
