"""Which problems an iteration takes, and what is sampled for which of them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mstar.config import Config
from mstar.errors import UserError
from mstar.generation import generate, interval_rows
from mstar.preflight import check_inputs
from mstar.response_parts import read_responses
from mstar.rundir import RunDir
from mstar.scoring import score
from mstar.seeds import derive_seed
from mstar.selection import select
from mstar.stages import GENERATE, SCORE, Shard
from mstar.starting import start_run
from tests.test_starting import Heard

MakeConfig = Callable[..., Config]


@given(st.integers(1, 400), st.floats(0.01, 1.0), st.integers(0, 5))
def test_a_pass_takes_no_problem_twice(total: int, share: float, seed: int) -> None:
    size = max(1, round(total * share))
    intervals = [interval_rows(total, share, seed, iteration) for iteration in range(total // size)]
    rows = [row for interval in intervals for row in interval]
    assert all(len(interval) == size and interval == sorted(interval) for interval in intervals)
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(total))


def test_the_next_pass_is_another_order() -> None:
    first, later = interval_rows(100, 0.25, 0, 0), interval_rows(100, 0.25, 0, 4)
    assert first != later
    assert interval_rows(100, 0.25, 1, 0) != first
    assert interval_rows(100, 0.25, 0, 0) == first


def test_seeds_differ_by_what_they_are_for() -> None:
    seeds = {derive_seed(0, iteration, "generate", chunk) for iteration in range(20) for chunk in range(20)}
    assert len(seeds) == 400
    assert derive_seed(1, 2, "train") == derive_seed(1, 2, "train") != derive_seed(1, 2, "select")
    assert all(0 <= seed < 2**63 for seed in seeds)


def odd_problems(folder: Path, heldout: str) -> dict[str, object]:
    """Eight problems: one without an answer, one with an image that is too thin, one too long."""
    Image.new("RGB", (56, 28), (200, 200, 200)).save(folder / "strip.png")
    Image.new("RGB", (1000, 4)).save(folder / "thin.png")
    rows = [
        {
            "id": f"p{number}",
            "question": "value?",
            "image": "strip.png",
            "answer": "3",
            "answer_type": "number",
        }
        for number in range(8)
    ]
    rows[2]["answer"] = None  # type: ignore[assignment]
    rows[4]["image"] = "thin.png"
    rows[5]["question"] = "value? " * 100
    (folder / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"train": str(folder / "odd.jsonl"), "tests": {"heldout": heldout}}


def odd_run(make_config: MakeConfig, folder: Path, **data: str) -> RunDir:
    config = make_config(
        data={**odd_problems(folder, make_config().data.tests["heldout"]), **data},
        iterations={"count": 1, "problems_share": 1.0},
        generate={"samples_per_problem": 2, "max_tokens": 12, "problems_per_chunk": 3},
        prompt={"version": "question-1", "step_separator": ";", "max_tokens": 200},
    )
    return start_run(config)


def test_what_the_model_cannot_read_is_left_out_and_named(make_config: MakeConfig, tmp_path: Path) -> None:
    run = odd_run(make_config, tmp_path)
    sampled = generate(run, 0)
    assert sampled is not None
    assert (sampled.problems, sampled.responses) == (6, 12)
    assert set(sampled.unusable) == {"p4", "p5"}
    heard = Heard()
    check_inputs(run, heard)
    [said] = [line for line in heard.lines if "the model cannot read 2 problems: p4 has an image" in line]
    assert said.startswith("data.train: ") and said.endswith("; left out")
    assert "prompt.max_tokens" in sampled.unusable["p5"]


def test_unlabelled_problems_are_sampled_and_not_judged(make_config: MakeConfig, tmp_path: Path) -> None:
    run = odd_run(make_config, tmp_path)
    generate(run, 0)
    scored = score(run, 0)
    assert scored is not None and (scored.responses, scored.unlabelled) == (12, 2)
    finished = run.finished(SCORE, 0)
    with finished.reading("part-00000.parquet") as path:
        judged = {one.problem_id: one for one in read_responses(path)}
    assert (judged["p2"].correct, judged["p2"].reward, judged["p1"].correct is None) == (None, None, False)
    selected = select(run, 0)
    assert selected is not None and selected.correct == scored.correct


def test_the_run_may_stop_there_instead(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="the model cannot read 2 problems: .*; correct them, or set data.unus"
    ):
        odd_run(make_config, tmp_path, unusable="stop")


def test_responses_do_not_depend_on_how_problems_are_cut(make_config: MakeConfig, tmp_path: Path) -> None:
    """Every problem has a seed of its own; parts of another size hold the same responses."""
    texts = []
    for size in (4, 20):
        section = {"samples_per_problem": 2, "max_tokens": 30, "problems_per_chunk": size}
        run = start_run(make_config(output=str(tmp_path / str(size)), generate=section))
        generate(run, 0)
        finished, found = run.finished(GENERATE, 0), []
        for name in finished.parts:
            with finished.reading(name) as path:
                found += [(one.problem_id, one.sample, one.text) for one in read_responses(path)]
        texts.append(found)
    assert len(texts[0]) == 40
    assert texts[0] == texts[1]


def test_a_shard_with_nothing_to_do_loads_no_model(
    make_config: MakeConfig, prm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mstar.engines.transformers import TransformersEngine
    from mstar.prm import ProcessRewardModel

    loaded: list[str] = []
    for kind in (TransformersEngine, ProcessRewardModel):

        def loading(self: object, *given: object, load: Callable[..., None] = kind.__init__) -> None:
            loaded.append(type(self).__name__)
            load(self, *given)

        monkeypatch.setattr(kind, "__init__", loading)
    run = start_run(make_config(score={"prm": str(prm_folder)}))
    for stage in (generate, score):
        assert stage(run, 0, Shard(1, 2)) is None
        assert stage(run, 0, Shard(1, 2)) is None
        assert stage(run, 0, Shard(2, 2)) == stage(run, 0, Shard(2, 2)) is not None
    assert loaded == 2 * ["TransformersEngine"] + 2 * ["ProcessRewardModel"]


def test_a_model_that_can_read_nothing_ends_the_run(make_config: MakeConfig, tmp_path: Path) -> None:
    prompt = {"version": "question-1", "step_separator": ";", "max_tokens": 16}
    data = odd_problems(tmp_path, make_config().data.tests["heldout"])
    rows = (tmp_path / "odd.jsonl").read_text().replace("value?", "value? " * 20)
    (tmp_path / "odd.jsonl").write_text(rows)
    run = start_run(make_config(data=data, prompt=prompt, iterations={"count": 1, "problems_share": 1.0}))
    with pytest.raises(UserError, match="can read none of the 8 problems of iteration 0: p0 has a prompt of"):
        generate(run, 0)
