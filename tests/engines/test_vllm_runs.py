"""The engine `vllm` in a run: its checkpoints, its shards, and what is left of it in the end."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mstar.config import Config
from mstar.engines import build_engine
from mstar.engines.transformers import TransformersEngine
from mstar.engines.vllm import VllmEngine
from mstar.stages import GENERATE
from mstar.starting import open_run, start_run
from tests.engines.asking import GREEDY, generate, heldout
from tests.engines.vllm_policies import NEEDS_VLLM, SMALL, MakeConfig, config, save_model

__all__ = ["config"]
pytestmark = NEEDS_VLLM


def test_a_trained_checkpoint_loads_as_it_lies_in_its_run(
    finished: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are compared by what training noted; nothing of the engine is left in the end."""

    def load_once_more(*given: object) -> None:
        raise AssertionError("the policy went through transformers")

    [policy] = (finished / "iterations/001/train").glob("checkpoint-*")
    assert (policy / "training_state").is_dir()
    before = set(children())
    with monkeypatch.context() as patch:
        patch.setattr("mstar.engines.probe.load_model", load_once_more)
        built = build_engine(config, policy)
    with built as engine:
        assert isinstance(engine, VllmEngine)
        found = generate(engine, heldout(128), GREEDY)
        processes, log = engine.process.processes, engine.process.log
        assert len(processes) > 1 and log.exists()
        assert engine.longest == engine.encoder.config.text_config.max_position_embeddings
    assert not any(one.is_running() for one in processes)
    left = [one for one in children() if one not in before]
    assert not [one for one in left if "resource_tracker" not in " ".join(one.cmdline())]
    assert not log.exists()
    assert found == generate(TransformersEngine(policy, config), heldout(128), GREEDY)


def children() -> list[Any]:
    import psutil

    found: list[Any] = psutil.Process().children(recursive=True)
    return found


def test_shards_sample_a_run_and_a_stalled_one_goes_on(make_config: MakeConfig, tmp_path: Path) -> None:
    """By the real command: one shard's vLLM hangs and is ended; started for all, all parts are there."""
    import psutil

    folder = save_model("qwen3_vl", tmp_path / "model")
    sizes = {"samples_per_problem": 2, "max_tokens": 200, "problems_per_chunk": 4, "rows_in_flight": 2}
    config = make_config(
        model={"path": str(folder), "threads": 1},
        generate={"engine": "vllm", **sizes},
        vllm=SMALL | {"stalled_seconds": 15.0},
    )
    start_run(config)
    stage = [sys.executable, "-m", "mstar", "generate", "--run", config.output, "--iteration", "0", "--shard"]
    with subprocess.Popen([*stage, "1/2"], stderr=subprocess.PIPE, text=True) as hanging:
        stages = Path(config.output) / "iterations/000/generate"
        while not list(stages.glob("part-*")):
            assert hanging.poll() is None
            time.sleep(0.1)
        processes = psutil.Process(hanging.pid).children(recursive=True)
        [core] = [one for one in processes if "EngineCore" in one.name()]
        core.suspend()
        _, said = hanging.communicate(timeout=120)
    assert hanging.returncode == 2
    assert not psutil.wait_procs(processes, timeout=20)[1]
    last = said.strip().splitlines()[-1]
    assert last.startswith(
        "error: vLLM has given no token for 15 s (vllm.stalled_seconds) and was ended; start the same command"
    )
    Path(last.rpartition(" ")[2]).unlink()
    subprocess.run(stage[:-1], check=True)
    sampled = open_run(config.output).result(GENERATE, 0)
    assert sampled.responses == 2 * sampled.problems == 2 * round(160 * 0.125)
