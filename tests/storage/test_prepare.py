"""Presets out of a bucket: the same files as out of a folder, with images unpacked or in a zip file."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.commands import mstar
from tests.presets.conftest import five_test_sets, write_files, write_mathv360k
from tests.storage.servers import Stored
from tests.storage.uploads import Uploads


def prepared(name: str, source: str, output: Path) -> dict[str, bytes]:
    """All that prepare wrote, without where it is from."""
    mstar("datasets", "prepare", name, "--from", source, "--output", str(output))
    provenance = json.loads((output / "provenance.json").read_text())
    for file in provenance["files"].values():
        file["address"] = file["address"].removeprefix(source)
    (output / "provenance.json").write_text(json.dumps(provenance))
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "unpacked"])
def test_mathv360k(uploads: Uploads, tmp_path: Path, zipped: bool) -> None:
    folder = write_mathv360k(tmp_path / "set", 40, zipped)
    stored = prepared("mathv360k", uploads.put_folder(folder), tmp_path / "stored")
    assert stored == prepared("mathv360k", str(folder), tmp_path / "local")
    assert len([name for name in stored if name.endswith(".png")]) == 10


def test_mathvista(uploads: Uploads, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "set", five_test_sets()["mathvista"])
    stored = prepared("mathvista", uploads.put_folder(folder), tmp_path / "stored")
    assert stored == prepared("mathvista", str(folder), tmp_path / "local")


def test_into_a_bucket(uploads: Uploads, tmp_path: Path) -> None:
    """The files of a folder; a run reads them there, and what is prepared already stays."""
    folder = write_mathv360k(tmp_path / "set", 40, False)
    local, output = tmp_path / "local", f"{uploads.address}/out"
    prepare = ("datasets", "prepare", "mathv360k", "--from", str(folder), "--output")
    mstar(*prepare, str(local))
    said = mstar(*prepare, f"{output}/").stdout
    assert f"{output}/train.jsonl: 32 problems" in said and f"train: {output}/train.jsonl" in said
    stored = Stored(os.environ["AWS_ENDPOINT_URL_S3"], output)
    names = stored.keys()
    assert {name: stored.read(name) for name in names} == {
        str(path.relative_to(local)): path.read_bytes() for path in local.rglob("*") if path.is_file()
    }
    checked = mstar("problems", "check", f"{output}/train.jsonl")
    assert checked.returncode == 0
    assert "it stays as it is" in mstar(*prepare, output).stdout
    refused = mstar(*prepare, output, "--drop", "near", check=False)
    assert refused.returncode == 2 and "holds a prepared preset" in refused.stderr
    denied = mstar(*prepare, "s3://no-such-bucket/set", check=False)
    assert denied.returncode == 2 and "there is no such bucket" in denied.stderr


def test_contamination_into_a_bucket(uploads: Uploads, tmp_path: Path) -> None:
    names = ("id", "question", "answer", "answer_type")
    rows = [dict(zip(names, (str(n), f"What is {n}?", str(n), "number"), strict=True)) for n in range(4)]
    for name, some in (("train", rows), ("test", rows[2:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    output = f"{uploads.address}/rest"
    files = [str(tmp_path / f"{name}.jsonl") for name in ("train", "test")]
    said = mstar("datasets", "contamination", *files, "--drop", "exact", "--output", output).stdout
    assert f"{output}/train.jsonl: 2 problems" in said
    stored = Stored(os.environ["AWS_ENDPOINT_URL_S3"], output)
    assert stored.keys() == ["contamination.jsonl", "train.jsonl"]
    assert stored.read("contamination.jsonl").count(b"\n") == 2


def server_of(uploads: Uploads) -> str:
    return os.environ["AWS_ENDPOINT_URL_S3"]


def test_what_is_not_there_and_who_is_not_reached(uploads: Uploads, tmp_path: Path) -> None:
    prepare = ("datasets", "prepare", "mathvista", "--output", str(tmp_path / "out"), "--from")
    missing = mstar(*prepare, f"{uploads.address}/none", check=False)
    assert missing.returncode == 2 and "none holds none of data/testmini-*.parquet" in missing.stderr
    refused = mstar(*prepare, "s3://no-such-bucket/set", check=False)
    assert refused.returncode == 2 and "there is no such bucket" in refused.stderr
    shutil.rmtree(tmp_path / "out")
