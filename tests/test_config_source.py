"""A config by its path, by its address, and as text."""

from pathlib import Path

import pytest

from mstar.config_file import dump_config, load_config
from mstar.config_source import Source
from mstar.errors import UserError

TEXT = """
name: geometry
output: runs/geometry
model: {path: Qwen/Qwen2.5-VL-7B-Instruct}
data: {train: s3://data/train.parquet, tests: {heldout: /data/heldout.jsonl}}
adapt: {policy: fixed}
"""
ONE_LINE = (
    "{name: geometry, output: runs/geometry, model: {path: Qwen/Qwen2.5-VL-7B-Instruct}, "
    "adapt: {policy: fixed}, "
    'data: {train: "s3://data/train.parquet", tests: {heldout: /data/heldout.jsonl}}}'
)


def test_a_text_a_line_and_a_file_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(TEXT)
    written = [dump_config(load_config(source)) for source in (TEXT, ONE_LINE, tmp_path / "config.yaml")]
    assert written[0] == written[1] == written[2]
    assert dump_config(load_config(written[0])) == written[0], "what a run was started with is a config"


def test_a_text_lies_in_no_folder() -> None:
    with pytest.raises(UserError, match=r"data.tests.heldout is heldout.jsonl, .* write a whole path"):
        load_config(TEXT.replace("/data/heldout.jsonl", "heldout.jsonl"))
    with pytest.raises(UserError, match=r"the config is a list; a config is a mapping"):
        load_config("- a\n- b\n")
    with pytest.raises(UserError, match=r"the config: genrate is not a setting; did you mean generate\?"):
        load_config(TEXT + "genrate: {}\n")


@pytest.mark.parametrize(
    "folder, path, found",
    [
        ("/configs", "../data/train.jsonl", "/data/train.jsonl"),
        ("/configs", "s3://b/train.jsonl", "s3://b/train.jsonl"),
        ("s3://b/configs", "../data/train.jsonl", "s3://b/data/train.jsonl"),
        ("s3://b/configs", "/mounted/train.jsonl", "/mounted/train.jsonl"),
    ],
)
def test_paths_are_relative_to_where_the_config_lies(folder: str, path: str, found: str) -> None:
    assert Source("", "config", folder).resolve("data.train", path) == found


def test_an_address_that_is_no_bucket() -> None:
    with pytest.raises(UserError, match="gs://b/config.yaml is no place for a config; name a file"):
        load_config("gs://b/config.yaml")
