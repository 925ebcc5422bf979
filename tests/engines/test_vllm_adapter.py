"""What vLLM is given for an adapter; needs no vLLM."""

from pathlib import Path

import pytest
import torch

from mstar.engines.vllm_adapter import merged_folder, served
from mstar.models import load_model
from mstar.trainers import Progressed
from mstar.trainers.checkpoint import TrainingState, save_checkpoint
from mstar.trainers.policy import open_policy
from tests.trainers.conftest import MakeConfig, tiny

__all__ = ["tiny"]


@pytest.mark.parametrize("freeze", [["vision", "projector"], ["text"]])
def test_only_an_adapter_of_the_text_model_goes_beside_its_base(
    make_config: MakeConfig, tiny: Path, tmp_path: Path, freeze: list[str]
) -> None:
    config = make_config(model={"path": str(tiny)}, train={"freeze": freeze, "lora": {"rank": 3}})
    policy = open_policy(tiny, config)
    for parameter in policy.learner.trained.values():
        torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path / "policy"
    save_checkpoint(folder, policy, TrainingState(Progressed(0), 0.0, {}))
    with served(folder, config.model, policy.encoder.family) as given:
        if freeze == ["text"]:
            assert given.arguments == {} and given.model.is_relative_to(merged_folder())
            names = {path.name for path in given.model.iterdir()}
            assert not any(name.startswith(("adapter", "base.json", "training_state")) for name in names)
            whole, expected = load_model(given.model, config.model), load_model(folder, config.model)
            assert all(
                torch.equal(one, other)
                for one, other in zip(whole.parameters(), expected.parameters(), strict=True)
            )
        else:
            assert given.model == tiny and given.adapter == folder
            assert given.arguments == {"enable_lora": True, "max_loras": 1, "max_lora_rank": 8}
    assert not given.model.is_relative_to(merged_folder()) or not given.model.exists()
