"""The engine `vllm` in a run: its shards, and one that hangs."""

import subprocess
import sys
import time
from pathlib import Path

from mstar.stages import GENERATE
from mstar.starting import open_run, start_run
from tests.engines.vllm_policies import NEEDS_VLLM, SMALL, MakeConfig, save_model

pytestmark = NEEDS_VLLM


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
