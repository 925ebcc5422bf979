"""Taking up a run: what may differ from its first start, and that a refusal writes nothing."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from mstar.config import Config
from mstar.errors import UserError
from mstar.evaluation import evaluate
from mstar.generation import generate
from mstar.progress import Progress
from mstar.records import Decision, State
from mstar.resources import Memory
from mstar.rundir import FIRST_POLICY, RunDir
from mstar.scoring import score
from mstar.stage_notes import Begun
from mstar.stagedir import StageDir
from mstar.stages import ADAPT, EVALUATE, stage_prefix
from mstar.starting import finished_iterations, open_run, start_run
from mstar.storage import build_storage, write_text
from tests.conftest import BASE, PROBLEMS, QUICKSTART

MakeConfig = Callable[..., Config]


class Heard(Progress):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def begin(config: Config) -> RunDir:
    """A run in which a stage has left something."""
    run = start_run(config)
    write_text(run.storage, "start/evaluate/test-t/part-00000.parquet", "")
    return run


def test_a_run_that_has_made_nothing_yet_starts_with_what_was_put_right(make_config: MakeConfig) -> None:
    run = start_run(make_config())
    write_text(run.storage, "start/evaluate/begun.json", "{}")
    assert start_run(make_config(seed=5)).config.seed == 5
    assert open_run(run.config.output).config.seed == 5


def files_of(run: RunDir) -> dict[str, str]:
    paths = (path for path in Path(run.config.output).rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def write_problems(folder: Path, count: int = 3, prefix: str = "p", **changes: object) -> Path:
    """Problems with one small image each, beside their file."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        Image.new("RGB", (28, 28), (number, 0, 0)).save(folder / f"{number}.png")
        row = {"id": f"{prefix}{number}", "question": f"value {prefix}{number}?", "image": f"{number}.png"}
        rows.append({**row, "answer": str(number), "answer_type": "number", **changes})
    path = folder / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def own_data(folder: Path, **paths: object) -> dict[str, object]:
    """A data section of problems of one's own."""
    return {
        "train": str(write_problems(folder / "train")),
        "tests": {"heldout": str(write_problems(folder / "heldout", prefix="h"))},
        **paths,
    }


@pytest.mark.parametrize("columns", [{"question": "text"}, {"question": "problem", "id": "key"}, {}])
def test_a_begun_run_keeps_the_names_of_its_columns(
    make_config: MakeConfig, problems: Path, tmp_path: Path, columns: dict[str, str]
) -> None:
    """Another column may hold other questions, whatever it is called."""
    table = pq.read_table(problems / "train.parquet").slice(0, 40)
    renamed = table.rename_columns({"question": "problem"})
    renamed = renamed.append_column("text", table["question"]).append_column("key", table["id"])
    path = tmp_path / "renamed.parquet"
    pq.write_table(renamed, path)

    def config(columns: dict[str, str]) -> Config:
        data = {"train": str(path), "validation": str(path), "tests": {"heldout": str(path)}}
        return make_config(data={**data, "columns": columns})

    begin(config({"question": "problem"}))
    with pytest.raises(
        UserError, match=r"was started with data\.columns.*put it back or choose another output"
    ):
        start_run(config(columns))
    start_run(config({"question": "problem"}))


def test_before_the_first_stage_everything_may_change(make_config: MakeConfig) -> None:
    start_run(make_config())
    start_run(make_config(seed=5))
    assert open_run(make_config().output).config.seed == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"iterations": {"count": 9, "problems_share": 0.125}},
        {"model": {"path": str(BASE), "threads": 1}},
        {"tracking": {"metrics_port": 9100}},
        {"train": {"learning_rate": 1e-4, "batch_size": 4, "keep_checkpoints": 2}},
        {"generate": {"samples_per_problem": 4, "max_tokens": 60, "problems_per_chunk": 8, "engine": "vllm"}},
    ],
)
def test_what_changes_no_result_may_change(make_config: MakeConfig, changes: dict[str, object]) -> None:
    begin(make_config())
    changed = make_config(**changes)
    start_run(changed)
    assert open_run(changed.output).config == changed


def test_inputs_may_move(make_config: MakeConfig, tmp_path: Path) -> None:
    first = begin(make_config(data=own_data(tmp_path / "here")))
    shutil.copytree(BASE, tmp_path / "base")
    shutil.move(tmp_path / "here", tmp_path / "there")
    data = {
        "train": str(tmp_path / "there/train/problems.jsonl"),
        "tests": {"heldout": str(tmp_path / "there/heldout/problems.jsonl")},
    }
    moved = make_config(data=data, model={"path": str(tmp_path / "base")})
    again = start_run(moved)
    assert again.policy_identity(FIRST_POLICY) == first.policy_identity(FIRST_POLICY)
    assert open_run(moved.output).config.data.train == data["train"]


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"seed": 3}, "seed = 0, now it is 3"),
        ({"adapt": {"policy": "schedule"}}, "adapt.policy = fixed, now it is schedule"),
        ({"model": {"path": str(BASE), "dtype": "bfloat16"}}, "model.dtype = float32, now it is bfloat16"),
    ],
)
def test_what_changes_results_is_refused_and_nothing_is_written(
    make_config: MakeConfig, changes: dict[str, object], said: str
) -> None:
    run = begin(make_config())
    before = files_of(run)
    with pytest.raises(UserError, match=said):
        start_run(make_config(**changes))
    assert files_of(run) == before


BRIEF = {
    "generate": {"samples_per_problem": 1, "max_tokens": 5},
    "iterations": {"count": 1, "problems_share": 1.0},
}


def swap_weights(model: Path) -> None:
    weights = model / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-8:] = bytes(8)
    weights.write_bytes(data)


def edit_gold(folder: Path) -> None:
    path = folder / "train" / "problems.jsonl"
    path.write_text(path.read_text().replace('"answer": "1"', '"answer": "7"'))


def swap_image(folder: Path) -> None:
    Image.new("RGB", (28, 28), (9, 9, 9)).save(folder / "heldout" / "1.png")


def keep_times(path: Path, change: Callable[[Path], None]) -> None:
    """Change what is at a path, and give every file its old time back, as careful copying tools do."""
    times = {file: file.stat() for file in path.rglob("*") if file.is_file()}
    change(path)
    for file, old in times.items():
        os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))


@pytest.mark.parametrize(
    "change, key",
    [(swap_weights, "model.path"), (edit_gold, "data.train"), (swap_image, "data.tests.heldout")],
)
def test_other_contents_at_the_same_place_are_refused(
    make_config: MakeConfig, tmp_path: Path, change: Callable[[Path], None], key: str
) -> None:
    """Whatever has the same name, size and time; also for a stage command, which reads its own inputs."""
    model = shutil.copytree(BASE, tmp_path / "base")
    config = make_config(model={"path": str(model)}, data=own_data(tmp_path / "data"))
    run = begin(config)
    keep_times(model if change is swap_weights else tmp_path / "data", change)
    before = files_of(run)
    with pytest.raises(UserError, match=f"other contents of {key} "):
        start_run(config)
    assert files_of(run) == before


def test_what_is_exchanged_between_two_stages_of_one_process_is_refused(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """A loop goes on for days; what it has read of its inputs at the start may be another thing by then."""
    model, prm = (shutil.copytree(QUICKSTART / name, tmp_path / name) for name in ("base", "prm"))
    paths = {"model": {"path": str(model)}, "score": {"prm": str(prm)}}
    run = start_run(make_config(data=own_data(tmp_path / "data"), **paths, **BRIEF))
    kept = (model / "model.safetensors").read_bytes()
    keep_times(model, swap_weights)
    with pytest.raises(UserError, match="other contents of model.path "):
        generate(run, 0)
    (model / "model.safetensors").write_bytes(kept)
    generate(run, 0)
    kept = (prm / "model.safetensors").read_bytes()
    keep_times(prm, swap_weights)
    with pytest.raises(UserError, match="other contents of score.prm "):
        score(run, 0)
    (prm / "model.safetensors").write_bytes(kept)
    keep_times(tmp_path / "data", edit_gold)
    with pytest.raises(UserError, match="other contents of data.train "):
        score(run, 0)


def test_a_gold_that_is_edited_between_two_stages_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(data=own_data(tmp_path / "data"), **BRIEF)
    start_run(config)
    generate(open_run(config.output), 0)
    edit_gold(tmp_path / "data")
    with pytest.raises(UserError, match="other contents of data.train .*; put them back"):
        score(open_run(config.output), 0)
    shutil.rmtree(tmp_path / "data" / "heldout")
    with pytest.raises(UserError, match="heldout/problems.jsonl does not exist"):
        evaluate(open_run(config.output), None)


def test_a_model_that_is_gone_is_named_by_the_stage_that_reads_it(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    model = shutil.copytree(BASE, tmp_path / "base")
    config = make_config(model={"path": str(model)})
    start_run(config)
    shutil.rmtree(model)
    with pytest.raises(UserError, match=f"model.path is {model}, which does not exist"):
        generate(open_run(config.output), 0)


def test_test_sets_may_not_come_and_go(make_config: MakeConfig, tmp_path: Path) -> None:
    data = own_data(tmp_path / "data")
    begin(make_config(data=data))
    more = {**data["tests"], "more": data["train"]}  # type: ignore[dict-item]
    with pytest.raises(UserError, match="was started without data.tests.more; take it out"):
        start_run(make_config(data={**data, "tests": more}))
    with pytest.raises(UserError, match="was started with data.tests.heldout, which is not set now"):
        start_run(make_config(data={**data, "tests": {"more": data["train"]}}))


def test_a_model_that_is_nowhere_is_refused_also_in_a_begun_run(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as hub

    monkeypatch.setattr(
        hub, "HF_HUB_OFFLINE", True
    )  # else it tries for half a minute where there is no network
    run = begin(make_config())
    before = files_of(run)
    for path, said in (("/nowhere/base", "does not exist"), ("owner/base", "no folder here")):
        with pytest.raises(UserError, match=said):
            start_run(make_config(model={"path": path}))
    assert files_of(run) == before


def test_bad_data_is_found_at_the_start_that_meets_it(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(data=own_data(tmp_path / "data"))
    start_run(config)
    (tmp_path / "data/train/1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="1 bad row, and a run needs none: row 2"):
        start_run(config)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"train": {"freeze": ["vision", "projector", "text"]}}, "leaves nothing of this model to train"),
        ({"images": {"max_pixels": 100}}, "images.max_pixels is 100; an image of this model has at least"),
    ],
)
def test_a_prepared_run_is_looked_at_with_the_settings_that_it_begins_with(
    make_config: MakeConfig, changes: dict[str, object], said: str
) -> None:
    """Its inputs are the same, but nothing has come of them yet, and everything else may change."""
    run = start_run(make_config())
    before = files_of(run)
    with pytest.raises(UserError, match=said):
        start_run(make_config(**changes))
    assert files_of(run) == before


def test_fewer_iterations_than_are_finished_are_refused(make_config: MakeConfig) -> None:
    run = begin(make_config())
    for iteration in range(2):
        write_text(run.storage, f"iterations/{iteration:03d}/adapt/manifest.json", EMPTY_MANIFEST)
    with pytest.raises(UserError, match="iterations.count is 1, but 2 iterations .* set it to 2 or more"):
        start_run(make_config(iterations={"count": 1, "problems_share": 0.125}))


EMPTY_MANIFEST = '{"fingerprint": {}, "files": {}}'


def test_a_test_set_needs_answers_and_training_problems_do_not(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    data = own_data(tmp_path / "data")
    unlabelled = write_problems(tmp_path / "unlabelled", answer=None)
    with pytest.raises(UserError, match="has 3 problems without an answer, and accuracy needs one"):
        start_run(make_config(data={**data, "tests": {"heldout": str(unlabelled)}}))
    with pytest.raises(UserError, match="has no answers at all"):
        start_run(make_config(data={**data, "train": str(unlabelled)}))
    mixed = write_problems(tmp_path / "mixed")
    mixed.write_text(mixed.read_text().replace('"answer": "1"', '"answer": null'))
    heard = Heard()
    start_run(make_config(data={**data, "train": str(mixed)}), heard)
    assert "data.train: 1 of 3 problems have no answer; they are sampled, not judged" in heard.lines


def test_what_may_get_nowhere_or_not_fit_is_told_before_the_run(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mstar.resources.system_memory", lambda: Memory(2**40, 2**20))
    heard = Heard()
    start_run(make_config(train={"learning_rate": 1e-9}), heard)
    assert any("1.0 MiB are free; if it does not suffice: train.gradient" in line for line in heard.lines)
    assert any("will hardly change the policy" in line for line in heard.lines)


def test_of_a_large_file_the_model_is_asked_about_a_sample_and_what_looks_long(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mstar.preflight.MODEL_SAMPLE", 10)
    data = own_data(tmp_path / "data", train=str(write_problems(tmp_path / "many", count=40)))
    train = Path(str(data["train"]))
    train.write_text(train.read_text().replace("value p33?", "1+" * 30))
    heard = Heard()
    start_run(make_config(data=data, prompt={"version": "question-1", "max_tokens": 40}), heard)
    [tried] = [line for line in heard.lines if "the model's processor was tried on" in line]
    assert re.fullmatch(r"data.train: the model's processor was tried on (?!40)\d+ of 40 problems", tried)
    assert any("the model cannot read 1 problem: p33 has a prompt of" in line for line in heard.lines)


def test_test_problems_that_are_trained_on_are_named(make_config: MakeConfig, tmp_path: Path) -> None:
    data = own_data(tmp_path / "data")
    heard = Heard()
    start_run(make_config(data={**data, "tests": {"seen": data["train"]}}), heard)
    said = "data.tests.seen shares 3 problems with data.train (p0 is p0 in data.train)"
    assert any(line.startswith(said) for line in heard.lines)


def test_a_run_that_is_older_than_a_setting_goes_on_as_it_was(make_config: MakeConfig) -> None:
    run = begin(make_config())
    path = Path(run.config.output) / "run.yaml"
    tree = yaml.safe_load(path.read_text())
    del tree["train"]["freeze"], tree["prompt"]["max_tokens"]
    path.write_text(yaml.safe_dump(tree))
    again = start_run(make_config())
    assert (again.config.train.freeze, again.config.prompt.max_tokens) == ((), 2**31)
    train = {"learning_rate": 1e-4, "batch_size": 4, "freeze": ["vision"]}
    with pytest.raises(UserError, match=r"train.freeze = \[\], now it is \['vision'\]"):
        start_run(make_config(train=train))


def test_the_first_iteration_starts_from_the_users_policy(make_config: MakeConfig) -> None:
    run = start_run(make_config(generate={"temperature": 0.7}))
    assert run.state(0) == State(0, FIRST_POLICY, 0.7, 0)
    with run.policy_folder(FIRST_POLICY) as folder:
        assert folder == BASE


FOREIGN = '{"iteration": 5, "policy": "first", "temperature": 1.0, "seed": 0}'


@pytest.mark.parametrize("text", [None, "", "{", FOREIGN])
def test_a_missing_or_damaged_state_says_what_makes_it(make_config: MakeConfig, text: str | None) -> None:
    run = start_run(make_config())
    if text is not None:
        write_text(run.storage, "iterations/001/state.json", text)
    with pytest.raises(UserError, match="iteration 1 needs the decision of iteration 0"):
        run.state(1)


@pytest.mark.parametrize(
    "result", ["{}", '{"iteration": 0, "temperatures": [{"temperature": null}]}', '{"kept": 3}']
)
def test_a_manifest_without_the_stages_result_says_what_makes_it(
    make_config: MakeConfig, result: str
) -> None:
    run = start_run(make_config())
    manifest = f'{{"fingerprint": {{}}, "files": {{}}, "result": {result}}}'
    write_text(run.storage, "iterations/000/evaluate/manifest.json", manifest)
    with pytest.raises(UserError, match="evaluate/manifest.json holds no result of evaluate; delete it and"):
        run.result(EVALUATE, 0)


def test_a_damaged_run_file_is_named(make_config: MakeConfig) -> None:
    run = start_run(make_config())
    write_text(run.storage, "run.yaml", "name: [")
    with pytest.raises(UserError, match="run.yaml is damaged"):
        open_run(run.config.output)


def test_a_folder_without_run_file_is_no_run() -> None:
    with pytest.raises(UserError, match="is not a run"):
        open_run(str(PROBLEMS))


def test_the_commit_of_a_model_on_a_hub_is_pinned(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the hub library's own cache, as after a download; a branch that moves on changes nothing."""
    import huggingface_hub.constants as hub

    cache, commit = tmp_path / "hub", "1" * 40
    repository = cache / "models--somebody--base"
    shutil.copytree(BASE, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    run = begin(make_config(model={"path": "somebody/base"}))
    assert run.config.model.revision == commit
    shutil.copytree(repository / "snapshots" / commit, repository / "snapshots" / ("2" * 40))
    (repository / "refs" / "main").write_text("2" * 40)
    assert start_run(make_config(model={"path": "somebody/base"})).config.model.revision == commit
    with pytest.raises(UserError, match="other contents of model.path"):
        start_run(make_config(model={"path": "somebody/base", "revision": "2" * 40}))
    with pytest.raises(UserError, match="is no folder here, and the hub cannot be reached"):
        start_run(make_config(output=str(tmp_path / "other"), model={"path": "somebody/else"}))


def test_finished_iterations_are_counted_however_many_there_are(make_config: MakeConfig) -> None:
    config = make_config()
    run = RunDir(build_storage(config.output), config)
    for count in range(18):
        assert finished_iterations(run) == count
        adapt = StageDir(run.storage, stage_prefix("adapt", count), Begun({}, ADAPT.version))
        adapt.begin()
        adapt.commit(Decision(count, 1.0, "as a test says"), [])
