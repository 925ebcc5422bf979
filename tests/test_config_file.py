"""What is said about mistakes in a configuration, and that every shipped one is right."""

import json
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from mstar.config import Config
from mstar.config_file import dump_config, load_config, parse_config
from mstar.errors import UserError
from mstar.settings import Section
from tests.conftest import ROOT

GOOD = """
name: good
output: runs/good
model: {path: base}
data: {train: train.jsonl, tests: {heldout: heldout.jsonl}}
adapt: {policy: fixed}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


def test_paths_are_relative_to_the_config(good: Path) -> None:
    (good.parent / "base").mkdir()
    config = load_config(good)
    assert config.data.train == str(good.parent / "train.jsonl")
    assert config.data.tests == {"heldout": str(good.parent / "heldout.jsonl")}
    assert config.model.path == str(good.parent / "base")
    assert config.output == "runs/good"


def test_a_model_that_is_no_folder_is_left_to_the_hub(good: Path) -> None:
    assert (
        load_config(good, ["model.path=Qwen/Qwen3-VL-2B-Instruct"]).model.path == "Qwen/Qwen3-VL-2B-Instruct"
    )


def test_what_is_dumped_is_read_back_the_same(good: Path, tmp_path: Path) -> None:
    config = load_config(good, ["generate.temperature=0.7", "seed=5"])
    (tmp_path / "again.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "again.yaml") == config


@pytest.mark.parametrize("written", ["1e-5", "1E-5", "1.e-5", "1.0e-5", ".1e-4", "0.00001", "10e-6"])
def test_a_number_is_read_however_it_is_written(good: Path, written: str) -> None:
    assert load_config(good, [f"train.learning_rate={written}"]).train.learning_rate == pytest.approx(1e-5)
    good.write_text(f"{GOOD}train: {{learning_rate: {written}}}\n")
    assert load_config(good).train.learning_rate == pytest.approx(1e-5)


@pytest.mark.parametrize("text", ["1e5", "12e3", "1e-5", "e5", "1e", "1.5", "null", "0x10", ".5e1", "1_0e2"])
def test_text_that_looks_like_a_number_stays_text(good: Path, tmp_path: Path, text: str) -> None:
    config = load_config(good, [f"model.revision='{text}'"])
    (tmp_path / "again.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "again.yaml").model.revision == text
    plain = yaml.safe_load((tmp_path / "again.yaml").read_text())
    assert plain["model"]["revision"] == text


@pytest.mark.parametrize(
    "override, message",
    [
        ("generate.temperature=-1", "generate.temperature is -1; input should be greater than 0"),
        ("generate.temperature=hot", "generate.temperature is 'hot'; input should be a valid number"),
        ("train.learning_rate='1e-6'", "input should be a valid number; write 1e-06 without quotes"),
        (
            "model.revision=1234e5",
            "model.revision is 123400000.0; input should be a valid string; put it in quotes",
        ),
        (
            "name=My Run",
            "it must be of lower-case letters, digits, dashes, begin and end with a letter or digit",
        ),
        ("name=My Run", "at most 53; write my-run"),
        ("data.tests={x/../../../escaped: h}", "data.tests has the name 'x/../../../escaped'; it must be of"),
        ("data.tests={x/../../../escaped: h}", "write x-escaped"),
        ("data.tests={'..': h}", "data.tests has the name '..'"),
        ("evaluate.temperatures=[1.0, 1.0000001]", "without repeats, told apart by six decimals"),
        (
            "evaluate.out_of_distribution_at=[13, 99]",
            "has 99; iterations.count must exceed it",
        ),
        ("seed=2026-13-45", "the value is not YAML"),
        ("images={min_pixels: 9, max_pixels: 4}", "images: min_pixels is 9, above max_pixels 4; swap them"),
        ("generate.temperature=.nan", "generate.temperature: nan is not a finite number"),
        ("generate.temperature=.inf", "generate.temperature: inf is not a finite number"),
        ("generate.temperture=1", "generate.temperture is not a setting; did you mean generate.temperature?"),
        ("genrate.temperature=1", "genrate is not a setting; did you mean generate?"),
        ("temperature=1", "temperature is not a setting; did you mean generate.temperature?"),
        ("iterations.count=2.5", "iterations.count is 2.5; input should be a valid integer"),
        ("iterations.count=true", "iterations.count is True; input should be a valid integer"),
        ("iterations=3", "iterations is 3; input should be an object"),
        ("seed='1'", "seed is '1'; input should be a valid integer"),
        ("seed=2026-01-01", "is a date"),
        ("name=My Run", "name is 'My Run'"),
        ("adapt.policy=best", "adapt.policy is 'best'; input should be 'fixed', 'schedule'"),
        ("adapt.policy=pass_at_k", "needs a sweep of data.validation"),
        ("select.keep_per_problem=null", "keep_per_problem is null; rule top_k needs a number"),
        ("evaluate.temperatures=[1.0, 0.5]", "it must rise without repeats"),
        ("evaluate.temperatures=[]", "evaluate.temperatures"),
        ("data.tests={}", "data.tests"),
        ("train.betas=[0.9]", "train.betas"),
        (
            "storage.endpoint=minio:9000",
            "storage.endpoint is 'minio:9000'; it must be the address of a server",
        ),
        (
            "tracking.pushgateway=http://me:word@host",
            "tracking.pushgateway is 'http://...@host'; it must",
        ),
        ("stop.stale_sweeps=2", "stop.stale_sweeps needs a sweep to watch"),
        ("generate.temperature", "has no value; write --set section.key=value"),
        ("seed.x=1", "seed"),
    ],
)
def test_a_mistake_is_named(good: Path, override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(good, [override])
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 6


@pytest.mark.parametrize(
    "contents, message",
    [
        (b"", "is empty; a config is a mapping"),
        (b"[1, 2]", "is a list; a config is a mapping"),
        (b"name: [", "is not YAML at line"),
        (b"\xff\xfe\x00\x01binary\x9c", "is not text"),
        (b"a\x00b", "is not YAML"),
        (b"1: 2", "1 is not a setting"),
        (b"? [a, b]\n: 1", "is not YAML"),
        (b"name: x", "output is missing; every run needs it"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, contents: bytes, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(contents)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load_config(tmp_path)


def test_many_mistakes_are_at_most_six_lines() -> None:
    with pytest.raises(UserError) as caught:
        parse_config({f"wrong_{number}": 1 for number in range(30)}, "x.yaml")
    assert len(str(caught.value).splitlines()) == 6
    assert "more" in str(caught.value).splitlines()[-1]


def test_every_setting_is_described_and_has_a_range() -> None:
    schema = Config.model_json_schema()
    sections = {name: part for name, part in schema["$defs"].items()}
    assert len(sections) >= 12
    for section, part in sections.items():
        for name, field in part["properties"].items():
            assert field.get("description"), f"{section}.{name} is not described"
    json.dumps(schema)
    assert all(issubclass(field.annotation, Section) or name in {"name", "output", "seed"}
               for name, field in Config.model_fields.items())  # fmt: skip


def test_every_shipped_config_is_right() -> None:
    paths = sorted((ROOT / "examples").rglob("*.yaml"))
    assert len(paths) >= 2
    for path in paths:
        assert TypeAdapter(Config).validate_python(load_config(path)).name
