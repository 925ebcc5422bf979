"""Whether a run's training and checkpoints fit, from figures; and where the figures come from."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mstar.cgroups import group_folders
from mstar.config import Config, Model
from mstar.config_train import Deepspeed, Train
from mstar.errors import UserError
from mstar.models import load_model
from mstar.preflight import load_encoder
from mstar.resources import (
    Memory,
    Parameters,
    check_resources,
    count_parameters,
    judge_disk,
    judge_memory,
    rank_bytes,
    system_memory,
)
from mstar.starting import look_at, start_run, write_start
from mstar.storage import build_storage
from tests.conftest import parse_small
from tests.tiny_models import save_tiny_model

MakeConfig = Callable[..., Config]
GIB = 2**30
BILLION = Parameters(trained=10**9, frozen=10**9)
"""Needs 23.6 GB in training, and 16 GB for a checkpoint."""


def test_bytes_for_each_parameter() -> None:
    assert BILLION.training_bytes == pytest.approx(23.6e9)
    assert BILLION.checkpoint_bytes == 16 * 10**9


@pytest.mark.parametrize(
    "section, ranks, expected",
    [
        ({"zero_stage": 1}, 1, 27.6),
        ({"zero_stage": 1}, 4, 12 + 3.9),
        ({"zero_stage": 2}, 4, 8 + 4.9),
        ({"zero_stage": 3}, 4, 5.9),
        ({"zero_stage": 2, "offload_optimizer": True}, 4, 8 + 1.0),
        ({"zero_stage": 3, "offload_optimizer": True, "offload_weights": True}, 4, 0.0),
    ],
)
def test_bytes_on_each_of_several_ranks(section: dict[str, Any], ranks: int, expected: float) -> None:
    assert rank_bytes(BILLION, Deepspeed(**section), ranks) == pytest.approx(expected * 1e9, abs=1)


def test_bytes_for_each_parameter_by_optimizer() -> None:
    coded = Parameters(10**9, 10**9, optimizer="adamw_8bit")
    assert (coded.training_bytes, coded.checkpoint_bytes) == (17e9, 10e9)
    assert coded.most_checkpoint_bytes == BILLION.checkpoint_bytes


def test_enough_memory_is_no_matter() -> None:
    assert judge_memory(BILLION, Memory(64 * GIB, 30 * GIB), Train()) is None


def test_little_memory_is_a_warning_with_figures_and_settings() -> None:
    warning = judge_memory(BILLION, Memory(64 * GIB, 25 * GIB), Train(freeze=("vision",)))
    assert warning == (
        "training 1,000,000,000 parameters beside 1,000,000,000 frozen ones needs 22.0 GiB of memory without "
        "activations, and 25.0 GiB are free; if it does not suffice: train.gradient_checkpointing=true, "
        "train.tokens_per_micro_batch below 16384, or more in train.freeze than [vision]"
    )
    checkpointing = judge_memory(BILLION, Memory(64 * GIB, 25 * GIB), Train(gradient_checkpointing=True))
    assert checkpointing is not None and "gradient_checkpointing" not in checkpointing


def test_memory_that_cannot_suffice_is_an_error() -> None:
    with pytest.raises(
        UserError, match=r"needs 22.0 GiB .* there are 16.0 GiB; freeze more .* \[vision, pro"
    ):
        judge_memory(BILLION, Memory(16 * GIB, 15 * GIB), Train())


def test_nothing_left_to_train_is_an_error(make_config: MakeConfig) -> None:
    config = make_config(train={"freeze": ["vision", "projector", "text"]})
    with pytest.raises(UserError, match=r"train.freeze is \[vision, projector, text\], which leaves nothing"):
        check_resources(config, load_encoder(config), None)


@pytest.mark.parametrize("keep, free, kept", [(None, 240, 14), (2, 79, 3), (1, 63, 2), (20, 240, 14)])
def test_disk_that_may_fill_up_is_a_warning(keep: int | None, free: int, kept: int) -> None:
    config = parse_small(iterations={"count": 14}, train={"keep_checkpoints": keep})
    needed = (kept + 2) * 16 * 10**9
    assert judge_disk(BILLION, needed, config) is None
    warning = judge_disk(BILLION, free * 10**9, config)
    assert warning is not None
    assert f"will take {needed / GIB:.1f} GiB ({kept} are kept," in warning
    assert ("train.keep_checkpoints keeps fewer" in warning) == (keep != 1)


def test_disk_without_room_for_one_checkpoint_is_an_error() -> None:
    with pytest.raises(UserError, match="a checkpoint takes 14.9 GiB, and 9.3 GiB are free where output"):
        judge_disk(BILLION, 10 * 10**9, parse_small())


@pytest.mark.parametrize("model_type", ["qwen2_vl", "qwen3_vl", "internvl"])
def test_parameters_are_counted_without_weights(
    make_config: MakeConfig, tmp_path: Path, model_type: str
) -> None:
    folder = save_tiny_model(model_type, tmp_path / model_type)
    model = load_model(folder, Model(path=str(folder)))
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    text = sum(size for name, size in sizes.items() if "language_model" in name or "lm_head" in name)
    (folder / "model.safetensors").unlink()
    config = make_config(model={"path": str(folder)})
    counted = count_parameters(config, load_encoder(config))
    assert counted == Parameters(trained=text, frozen=sum(sizes.values()) - text)
    everything = make_config(model={"path": str(folder)}, train={"freeze": []})
    assert count_parameters(everything, load_encoder(everything)) == Parameters(
        trained=sum(sizes.values()), frozen=0
    )


def test_the_quick_starts_model_fits(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(output=str(tmp_path / "not" / "there" / "yet"))
    free = build_storage(config.output).free_bytes()
    assert free is not None and free > 0
    assert check_resources(config, load_encoder(config), free) == []
    assert check_resources(config, load_encoder(config), None) == []


def test_a_machine_that_only_prepares_a_run_may_be_small(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mstar.resources.system_memory", lambda: Memory(2**20, 2**20))
    config = make_config()
    write_start(look_at(config, trains_here=False))
    with pytest.raises(UserError, match="of memory without activations, and there are 1.0 MiB"):
        start_run(config)


def test_this_machine_says_what_it_has() -> None:
    memory = system_memory()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory is not None
    assert 0 < memory.free <= memory.limit <= pages


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


MEMINFO = "MemTotal: 8388608 kB\nMemFree: 1048576 kB\nMemAvailable: 4194304 kB\nHugePages_Total: 0\n"
VERSION_2 = {
    "proc/meminfo": MEMINFO,
    "proc/self/cgroup": "0::/pod/container\n",
    "sys/fs/cgroup/pod/container/memory.max": "max\n",
    "sys/fs/cgroup/pod/container/memory.current": "5\n",
    "sys/fs/cgroup/pod/container/memory.stat": "anon 5\ninactive_file 0\n",
    "sys/fs/cgroup/pod/memory.max": f"{2 * GIB}\n",
    "sys/fs/cgroup/pod/memory.current": f"{3 * GIB // 2}\n",
    "sys/fs/cgroup/pod/memory.stat": f"anon 5\ninactive_file {GIB // 4}\n",
}
VERSION_1 = {
    "proc/meminfo": MEMINFO,
    "proc/self/cgroup": "5:cpu,cpuacct:/pod\n4:memory:/pod\n",
    "sys/fs/cgroup/memory/pod/memory.limit_in_bytes": f"{2 * GIB}\n",
    "sys/fs/cgroup/memory/pod/memory.usage_in_bytes": f"{3 * GIB // 2}\n",
    "sys/fs/cgroup/memory/pod/memory.stat": f"cache 7\ninactive_file 0\ntotal_inactive_file {GIB // 4}\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{5 * GIB}\n",
    "sys/fs/cgroup/memory/memory.stat": "cache 7\ntotal_inactive_file 0\n",
}


@pytest.mark.parametrize("files", [VERSION_2, VERSION_1], ids=["version 2", "version 1"])
def test_a_containers_limit_counts(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, files)
    assert system_memory(tmp_path) == Memory(limit=2 * GIB, free=3 * GIB // 4)


def test_without_a_container_the_machine_counts(tmp_path: Path) -> None:
    assert system_memory(tmp_path) is None
    write(tmp_path, {"proc/meminfo": MEMINFO})
    assert list(group_folders("memory", tmp_path)) == []
    assert system_memory(tmp_path) == Memory(limit=8 * GIB, free=4 * GIB)
