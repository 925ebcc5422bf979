"""The real command exports policies of a finished run; transformers loads what it wrote."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file

from mstar.checkpoints import best_iteration
from mstar.starting import finished_iterations, open_run
from tests.commands import mstar
from tests.conftest import BASE


def refusal(*arguments: str) -> str:
    done = mstar("export", *arguments, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done
    return done.stderr


def checkpoint_after(run: Path, iteration: int) -> Path:
    opened = open_run(str(run))
    return run / opened.policy_after(iteration)


def cells(card: str, beginning: str) -> list[str]:
    """The row of a table of the card that begins like this."""
    (line,) = [line for line in card.splitlines() if line.startswith(f"| {beginning} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_last_policy_is_a_folder_that_transformers_loads(finished: Path, tmp_path: Path) -> None:
    done = mstar("export", str(finished), str(tmp_path / "model"))
    last = finished_iterations(open_run(str(finished))) - 1
    assert done.stdout.startswith(f"{tmp_path / 'model'}: the policy after iteration {last}, 0.0")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    model = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    weights = load_file(checkpoint_after(finished, last) / "model.safetensors")
    assert weights and all(torch.equal(model.state_dict()[name], one) for name, one in weights.items())
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.chat_template == (BASE / "chat_template.jinja").read_text()
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "model")
    assert processor.size == json.loads((BASE / "preprocessor_config.json").read_text())["size"]
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {path.name for path in BASE.iterdir()} | {"README.md", "probe.json"}


def test_the_card_holds_what_the_run_measured(finished: Path, tmp_path: Path) -> None:
    mstar("export", str(finished), str(tmp_path / "model"), "--iteration", "0")
    card = (tmp_path / "model" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front == {"library_name": "transformers", "pipeline_tag": "image-text-to-text"}
    results = {}
    for stage in ("start/evaluate", "iterations/000/evaluate", "iterations/000/train"):
        results[stage] = json.loads((finished / stage / "manifest.json").read_text())["result"]
    for place, stage in ((1, "start/evaluate"), (2, "iterations/000/evaluate")):
        accuracy = results[stage]["tests"]["heldout"]["accuracy"]
        found = cells(card, "heldout")[place]
        assert found.startswith(f"{accuracy['value']:.1%} (") and f"{accuracy['problems']} problems" in found
    trained = results["iterations/000/train"]
    assert cells(card, "0")[4:6] == [str(trained["examples"]), str(trained["train_steps"])]
    assert "\n| 1 |" not in card and "{question}" in card and str(finished) not in card


def test_an_empty_folder_is_taken_and_the_best_policy_found(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    done = mstar("export", str(finished), str(tmp_path / "model"), "--best")
    run = open_run(str(finished))
    best = best_iteration(run, finished_iterations(run) - 1)
    assert f"iteration {best}," in done.stdout
    expected = (checkpoint_after(finished, best) / "model.safetensors").read_bytes()
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == expected


def test_what_stands_there_is_not_touched(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("mine")
    for target in (tmp_path / "model", tmp_path / "model" / "mine.txt"):
        assert "is not an empty folder; name another" in refusal(str(finished), str(target))
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "mine.txt"]


def test_policies_that_there_are_not(finished: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "model")
    assert "--best and --iteration 0 name two" in refusal(str(finished), target, "--best", "--iteration", "0")
    assert "iterations/077/train is not finished" in refusal(str(finished), target, "--iteration", "77")
    assert "is not a run" in refusal(str(tmp_path), target)
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(finished / "run.yaml", begun)
    assert "has no finished iteration yet" in refusal(str(begun), target)
    assert not (tmp_path / "model").exists()


def test_a_damaged_checkpoint_is_not_exported(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    last = finished_iterations(open_run(str(run))) - 1
    weights = checkpoint_after(run, last) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    assert "model.safetensors is damaged; start mstar run" in refusal(str(run), str(tmp_path / "model"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_settings_of_a_whole_processor_come_from_the_first_policy(finished: Path, tmp_path: Path) -> None:
    """A checkpoint of earlier versions has none; what it has goes first."""
    first = tmp_path / "first"
    shutil.copytree(BASE, first)
    (first / "processor_config.json").write_text('{"processor_class": "Qwen3VLProcessor"}')
    (first / "notes.json").write_text("{}")
    run = with_model(finished, tmp_path, str(first))
    mstar("export", str(run), str(tmp_path / "model"))
    exported = {path.name for path in (tmp_path / "model").iterdir()}
    assert "processor_config.json" in exported and "notes.json" not in exported


def test_a_first_policy_on_a_hub_is_taken_from_its_cache(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, cache = "a" * 40, tmp_path / "cache"
    snapshot = cache / "models--some--one" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "processor_config.json").write_text("{}")
    run = with_model(finished, tmp_path, "some/one")
    settings = (run / "run.yaml").read_text()
    (run / "run.yaml").write_text(settings.replace("  revision: null", f"  revision: {commit}"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    mstar("export", str(run), str(tmp_path / "model"))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "base_model: some/one" in card and f"`some/one` (revision {commit})" in card
    assert (tmp_path / "model" / "processor_config.json").exists()
    shutil.rmtree(snapshot)
    done = mstar("export", str(run), str(tmp_path / "other"), check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: model.path is some/one, which is no")
    assert done.stderr.count("\n") == 1 and not (tmp_path / "other").exists()


def with_model(finished: Path, folder: Path, model: str) -> Path:
    """The finished run, as if it had started from another model."""
    run = folder / "run"
    shutil.copytree(finished, run)
    settings = (run / "run.yaml").read_text()
    (run / "run.yaml").write_text(re.sub(r"^  path: .*$", f"  path: {model}", settings, flags=re.M))
    return run
