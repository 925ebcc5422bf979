"""The engine `vllm` where vLLM is not installed, and its parts that do without."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import torch

from mstar.config import Config, Images, Prompt
from mstar.config_file import load_config as load_settings
from mstar.engines import build_engine
from mstar.engines.transformers import TransformersEngine
from mstar.engines.vllm_environment import socket_folder
from mstar.engines.vllm_process import cache_bytes, memory_arguments
from mstar.engines.vllm_prompts import why_refused
from mstar.engines.vllm_worker import without
from mstar.errors import UserError
from mstar.models import FAMILIES, Encoder
from mstar.models.loading import load_generation_config
from mstar.models.tokens import end_ids
from mstar.resources import Memory
from tests.conftest import BASE, QUICKSTART
from tests.engines.vllm_policies import change_config
from tests.tiny_models import save_tiny_model
from tests.tiny_processors import GRIDS

MakeConfig = Callable[..., Config]
GIB = 2**30


def test_what_to_install_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    config = load_settings(QUICKSTART / "quickstart.yaml", ["generate.engine=vllm"])
    with pytest.raises(UserError, match=r"vllm, which is not installed: pip install 'mstar\[vllm\]'"):
        build_engine(config, BASE)


@pytest.mark.parametrize(
    ("device", "cache_gib", "memory", "expected"),
    [
        ("cpu", None, Memory(limit=256 * GIB, free=200 * GIB), 4 * GIB),
        ("cpu", None, Memory(limit=8 * GIB, free=6 * GIB), 3 * GIB // 2),
        ("cpu", None, None, 4 * GIB),
        ("cpu", 0.5, Memory(limit=8 * GIB, free=6 * GIB), GIB // 2),
        ("cuda", None, Memory(limit=8 * GIB, free=6 * GIB), None),
        ("cuda", 12, None, 12 * GIB),
    ],
)
def test_on_a_cpu_keys_and_values_take_a_bounded_part_of_the_memory(
    make_config: MakeConfig, device: str, cache_gib: float | None, memory: Memory | None, expected: int | None
) -> None:
    """Left to itself, vLLM takes nine tenths of the machine's memory there."""
    config = make_config(model={"path": "m", "device": device}, vllm={"cache_gib": cache_gib})
    assert cache_bytes(config, memory) == expected


def test_a_share_of_a_gpu_is_asked_for_only_where_it_says_how_much(make_config: MakeConfig) -> None:
    """vLLM refuses to start beside others where the share is not free, also if it is given bytes."""
    model = {"path": "m", "device": "cuda"}
    shared = memory_arguments(make_config(model=model, vllm={"gpu_memory_share": 0.6}), None)
    assert shared == {"gpu_memory_utilization": 0.6, "kv_cache_memory_bytes": None}
    given = memory_arguments(make_config(model=model, vllm={"cache_gib": 12}), None)
    assert given["kv_cache_memory_bytes"] == 12 * GIB
    assert given["gpu_memory_utilization"] <= 0.05


def test_a_sockets_path_is_short_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where that of the temporary folder is not; and the folder is ours alone."""
    long = tmp_path / ("long" * 30)
    long.mkdir()
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        for parent, expected in ((short, short), (str(long), "/tmp")):
            monkeypatch.setattr(tempfile, "tempdir", parent)
            with socket_folder() as folder:
                assert Path(folder).parent == Path(expected)
                assert Path(folder).stat().st_mode & 0o777 == 0o700
                with socket.socket(socket.AF_UNIX) as one:
                    one.bind(f"{folder}/{uuid4()}")
            assert not Path(folder).exists()


HOLD = """
from mstar.engines.vllm_environment import socket_folder
with socket_folder() as folder:
    open(folder + "/socket", "w").close()
    print(folder, flush=True)
    input()
"""


@contextmanager
def starting(parent: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process in the midst of its start, and its folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        env=os.environ | {"TMPDIR": str(parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_what_a_killed_start_leaves_goes_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing of a process that lives, or that has another purpose."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        other = Path(short) / "mstar-merged-0"
        other.mkdir()
        with starting(Path(short)) as (living, kept), starting(Path(short)) as (dying, left):
            assert kept.parent == left.parent == Path(short)
            dying.send_signal(signal.SIGKILL)
            dying.wait()
            assert left.is_dir()
            with socket_folder() as folder:
                assert set(Path(short).iterdir()) == {other, kept, Path(folder)}
            assert living.poll() is None
            assert list(kept.iterdir())


def test_starts_at_one_moment_leave_each_other_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one looks at another's folder before that is locked."""

    def start(_: int) -> bool:
        with socket_folder() as folder:
            return Path(folder).is_dir()

    with tempfile.TemporaryDirectory(dir="/tmp") as short, ThreadPoolExecutor(8) as threads:
        monkeypatch.setattr(tempfile, "tempdir", short)
        assert all(threads.map(start, range(400)))
        assert not list(Path(short).iterdir())


@pytest.mark.parametrize("model_type", FAMILIES)
def test_families_are_refused_where_vllm_reads_images_otherwise(model_type: str, tmp_path: Path) -> None:
    """Among the tiny models two are: Gemma 3 as every one is, and LLaVA-OneVision as no release is."""
    why = why_refused(Encoder(save_tiny_model(model_type, tmp_path), Images(), Prompt()).family)
    expected = {
        "gemma3": "whose images' tokens see each other",
        "llava_onevision": "whose vision_aspect_ratio is anyres_max_4, which vLLM takes for anyres_max_9",
    }
    assert (why or "").startswith(expected[model_type]) if model_type in expected else why is None


def test_grids_that_vllm_reads_in_two_places_must_agree(tmp_path: Path) -> None:
    folder = save_tiny_model("llava_onevision", tmp_path)
    change_config(folder, vision_aspect_ratio="anyres_max_9")
    for grids, is_refused in ((GRIDS, False), (GRIDS[:2], True)):
        change_config(folder, image_grid_pinpoints=grids)
        why = why_refused(Encoder(folder, Images(), Prompt()).family)
        assert (why is not None) == is_refused


def test_banned_tokens_have_no_probability_left() -> None:
    logits = torch.randn((3, 10), generator=torch.Generator().manual_seed(0))
    expected = logits.clone()
    expected[:, [2, 5]] = -torch.inf
    assert torch.equal(without(logits, torch.tensor([2, 5])), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_row_that_is_not_finite_can_only_say_so(value: float) -> None:
    logits = torch.zeros((3, 10))
    logits[1, 7] = value
    found = without(logits, torch.tensor([2, 5]))
    assert found[1].argmax() == 2 and found[1].isfinite().sum() == 1
    assert found[[0, 2]].isfinite().sum(-1).tolist() == [8, 8]


@pytest.mark.parametrize("model_type", FAMILIES)
def test_end_tokens_are_known_without_weights(
    model_type: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    """Also of a checkpoint that has no file for how it generates."""
    folder = save_tiny_model(model_type, tmp_path / "model")
    for _ in range(2):
        engine = TransformersEngine(folder, make_config())
        named = load_generation_config(folder, None, engine.encoder.config)
        assert sorted(end_ids(engine.encoder, named)) == engine.end_ids.tolist()
        (folder / "generation_config.json").unlink(missing_ok=True)
