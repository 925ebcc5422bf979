"""Runs that train an adapter, through the real command."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import transformers

from mstar.config import Config
from mstar.plan.forecast import bound_checkpoint
from mstar.preflight import load_encoder
from mstar.resources import count_parameters
from mstar.starting import open_run
from tests.commands import call, main, mstar, start
from tests.conftest import BASE
from tests.sharing import made_once
from tests.smoke import fingerprints, smoke_arguments

MakeConfig = Callable[..., Config]
LORA = (
    "iterations.problems_share=0.0625",
    "train.lora.rank=4",
    "train.lora.dropout=0.1",
    "train.learning_rate=0.001",
    "train.checkpoint_every=1",
    "train.batch_size=4",
    "data.validation=null",
    "adapt.policy=fixed",
)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory, problems: Path) -> Path:
    """A finished run of two iterations; tests only read it."""
    return made_once(
        tmp_path_factory, "adapted", lambda output: mstar(*smoke_arguments(problems, output, *LORA))
    )


def checkpoints(output: Path) -> list[Path]:
    return sorted(path.parent for path in output.rglob("adapter_config.json"))


def test_iterations_follow_each_other_and_say_what_they_took(adapted: Path) -> None:
    folders = checkpoints(adapted)
    assert [folder.parent.parent.name for folder in folders] == ["000", "001"]
    assert not list(adapted.rglob("model.safetensors"))
    base = json.loads((adapted / "inputs.json").read_text())["model.path"]
    assert {(folder / "base.json").read_text() for folder in folders} == {f'{{\n  "identity": "{base}"\n}}\n'}
    steps = [
        json.loads((folder / "training_state/progress.json").read_text())["progressed"]["train_step"]
        for folder in folders
    ]
    assert 0 < steps[0] < steps[1]
    assert (adapted / "report.html").is_file()
    config = open_run(str(adapted)).config
    size = sum(file.stat().st_size for file in folders[0].rglob("*") if file.is_file())
    bound = bound_checkpoint(config)
    assert bound.holds(size) and bound.expected == pytest.approx(size, rel=0.15)


@pytest.mark.slow
def test_killed_while_it_trains_it_ends_like_one_that_was_not(
    problems: Path, adapted: Path, tmp_path: Path
) -> None:
    output = tmp_path / "killed"
    process = start(*smoke_arguments(problems, output, *LORA))
    while not list(output.glob("iterations/001/train/checkpoint-*.json")):
        assert process.is_alive()
        process.join(0.002)
    process.kill()
    process.join()
    mstar(*smoke_arguments(problems, output, *LORA))
    assert fingerprints(output) == fingerprints(adapted)


def test_a_merged_export_and_an_adapter_are_one_policy(adapted: Path, tmp_path: Path) -> None:
    merged, alone = tmp_path / "merged", tmp_path / "alone"
    mstar("export", str(adapted), str(merged))
    mstar("export", str(adapted), str(alone), "--adapter")
    assert {path.name for path in merged.iterdir()} == {path.name for path in BASE.iterdir()} | {
        "README.md",
        "probe.json",
    }
    own = {"adapter_config.json", "adapter_model.safetensors", "base.json"}
    assert {path.name for path in alone.iterdir()} - own == {
        path.name for path in merged.iterdir() if path.name not in ("model.safetensors", "config.json")
    }
    load = partial(transformers.AutoModelForImageTextToText.from_pretrained, dtype=torch.float32)
    weights = load(merged).state_dict()
    import peft

    by_peft = peft.AutoPeftModel.from_pretrained(alone, dtype=torch.float32).merge_and_unload().state_dict()
    assert weights.keys() == by_peft.keys()
    assert all(torch.equal(weights[name], by_peft[name]) for name in weights)
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        logits = [load(folder)(input_ids=ids).logits for folder in (merged, alone, BASE)]
    assert torch.allclose(logits[0], logits[1], atol=1e-4) and not torch.allclose(
        logits[0], logits[2], atol=1e-4
    )


def test_the_card_says_how_an_adapter_was_made(adapted: Path, tmp_path: Path) -> None:
    cards = []
    for name, options in (("merged", ()), ("alone", ("--adapter",))):
        mstar("export", str(adapted), str(tmp_path / name), "--iteration", "0", *options)
        cards.append((tmp_path / name / "README.md").read_text())
    made = "LoRA of rank 4, alpha 8, dropout 0.1) of all linear layers"
    assert all(made in card for card in cards)
    assert "library_name: transformers" in cards[0] and "is merged with its base here" in cards[0]
    assert "library_name: peft" in cards[1] and "holds the adapter alone" in cards[1]


def test_only_an_adapter_is_exported_as_one(finished: Path, tmp_path: Path) -> None:
    done = mstar("export", str(finished), str(tmp_path / "out"), "--adapter", check=False)
    assert done.returncode == 2 and "this policy is a whole model" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change, said",
    [
        ("train.lora.rank=8", "was started with train.lora.rank = 4, now it is 8; put it back"),
        ("train.lora.alpha=8", "was started with train.lora.alpha = None, now it is 8.0; put it back"),
        ("train.lora.rank=null", "was started with train.lora.rank = 4, now it is None; put it back"),
    ],
)
def test_an_adapter_does_not_change_inside_a_run(
    problems: Path, adapted: Path, change: str, said: str
) -> None:
    done = mstar(*smoke_arguments(problems, adapted, *LORA, change), check=False)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1


def test_what_cannot_be_trained_is_refused_before_anything_is_written(problems: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    done = mstar(*smoke_arguments(problems, output, *LORA, "train.lora.targets=[wq]"), check=False)
    assert done.returncode == 2 and "train.lora.targets has wq, and no linear layer fits" in done.stderr
    found = call(without_peft, *smoke_arguments(problems, output, *LORA), check=False)
    assert found.returncode == 2 and "pip install 'mstar[lora]'" in found.stderr
    assert found.stderr.count("\n") == 1 and not output.exists()


def without_peft(*arguments: str) -> None:
    """The command where there is no such package."""
    sys.modules["peft"] = None  # type: ignore[assignment]
    main(*arguments)


def test_a_run_does_not_start_from_an_adapter(problems: Path, adapted: Path, tmp_path: Path) -> None:
    settings = f"model.path={checkpoints(adapted)[0]}"
    done = mstar(*smoke_arguments(problems, tmp_path / "run", settings), check=False)
    assert done.returncode == 2 and "which holds an adapter; name a whole model" in done.stderr


def test_a_base_that_is_gone_is_named(problems: Path, adapted: Path, tmp_path: Path) -> None:
    settings = (adapted / "run.yaml").read_text()
    path = open_run(str(adapted)).config.model.path
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("inputs.json", "iterations", "start"):
        (moved / name).symlink_to(adapted / name)
    assert path in settings and "count: 2" in settings
    longer = settings.replace("count: 2", "count: 3")
    (moved / "run.yaml").write_text(longer.replace(path, str(tmp_path / "gone")))
    done = mstar("generate", "--run", str(moved), "--iteration", "1", check=False)
    assert done.returncode == 0, "what is finished needs no base"
    done = mstar("generate", "--run", str(moved), "--iteration", "2", check=False)
    assert done.returncode == 2 and f"model.path is {tmp_path / 'gone'}, which does not exist" in done.stderr


def test_parameters_of_an_adapter_are_counted_without_weights(make_config: MakeConfig) -> None:
    config = make_config(
        model={"path": make_config().model.path, "dtype": "bfloat16"}, train={"lora": {"rank": 4}}
    )
    counted = count_parameters(config, load_encoder(config))
    plain = count_parameters(make_config(), load_encoder(config))
    assert counted.frozen == plain.trained + plain.frozen and 0 < counted.trained < counted.frozen / 20
    assert counted.checkpoint_bytes == 12 * counted.trained
    assert counted.training_bytes == pytest.approx(19.6 * counted.trained + 2 * counted.frozen)
