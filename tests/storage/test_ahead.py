"""Small files of a bucket that are read before they are asked for."""

import shutil
import uuid
from pathlib import Path

import pytest

from mstar.storage import Storage, build_storage, read_text, write_text
from tests.commands import mstar
from tests.smoke import fingerprints, smoke_arguments
from tests.storage.faults import FAULTS, proxy
from tests.storage.servers import BUCKET, Stored

FOLDERS = [f"iterations/{number:03d}" for number in range(8)]
NAMES = ("manifest.json", "state.json")


@pytest.fixture
def output(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    return f"s3://{BUCKET}/ahead/{uuid.uuid4().hex}"


@pytest.fixture
def storage(output: str) -> Storage:
    """Folders with two small files each, and another file."""
    storage = build_storage(output)
    for folder in FOLDERS:
        write_text(storage, f"{folder}/state.json", f"state of {folder}")
        write_text(storage, f"{folder}/generate/manifest.json", f"manifest of {folder}")
        write_text(storage, f"{folder}/generate/part.parquet", "a part")
    return storage


def test_what_is_expected_travels_at_the_same_time(
    storage: Storage, output: str, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(moto, every=1, faults=("slow",)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        reader = build_storage(output)
        reader.expect(FOLDERS, NAMES)
        for folder in FOLDERS:
            assert read_text(reader, f"{folder}/state.json") == f"state of {folder}"
            assert read_text(reader, f"{folder}/generate/manifest.json") == f"manifest of {folder}"
            assert reader.sizes(f"{folder}/generate/").keys() == {
                f"{folder}/generate/manifest.json",
                f"{folder}/generate/part.parquet",
            }
            with pytest.raises(FileNotFoundError):
                reader.read(f"{folder}/train/manifest.json")
        assert server.most_at_once >= len(FOLDERS) // 2
        assert server.requests <= 3 * len(FOLDERS) + 1
        assert read_text(reader, f"{FOLDERS[0]}/generate/part.parquet") == "a part"


def test_what_did_not_change_is_only_listed_the_next_time(
    storage: Storage, output: str, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another process of the machine, which reads again what somebody has changed."""

    def read_all(address: str) -> list[str]:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        reader = build_storage(output)
        reader.expect(FOLDERS, NAMES)
        return [read_text(reader, f"{folder}/generate/manifest.json") for folder in FOLDERS]

    assert read_all(moto) == [f"manifest of {folder}" for folder in FOLDERS]
    with proxy(moto) as server:
        read_all(server.address)
    requests = server.requests
    write_text(storage, f"{FOLDERS[5]}/generate/manifest.json", "another")
    with proxy(moto) as server:
        assert read_all(server.address)[4:7] == [
            f"manifest of {FOLDERS[4]}",
            "another",
            f"manifest of {FOLDERS[6]}",
        ]
    assert server.requests == requests + len(NAMES)


def test_what_is_written_or_removed_is_seen_at_once(storage: Storage) -> None:
    first, second, third = FOLDERS[:3]
    storage.expect(FOLDERS, NAMES)
    write_text(storage, f"{first}/state.json", "another")
    assert read_text(storage, f"{first}/state.json") == "another"
    storage.remove(f"{second}/generate")
    assert storage.keys(f"{second}/") == [f"{second}/state.json"]
    write_text(storage, f"{third}/train/manifest.json", "trained")
    assert f"{third}/train/manifest.json" in storage.keys(f"{third}/train/")
    storage.remove("iterations")
    assert storage.keys("iterations/") == []
    with pytest.raises(FileNotFoundError):
        storage.read(f"{first}/state.json")


def test_what_others_write_is_seen_when_nothing_is_expected_any_more(storage: Storage, output: str) -> None:
    key = f"{FOLDERS[0]}/state.json"
    storage.expect(FOLDERS, NAMES)
    assert read_text(storage, key) == f"state of {FOLDERS[0]}"
    write_text(build_storage(output), key, "another")
    storage.expect((), ())
    assert read_text(storage, key) == "another"


def test_bytes_that_are_wrong_on_their_way_are_read_again(
    storage: Storage, output: str, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(moto, every=3) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        reader = build_storage(output)
        reader.expect(FOLDERS, NAMES)
        for folder in FOLDERS:
            assert read_text(reader, f"{folder}/generate/manifest.json") == f"manifest of {folder}"
        assert set(server.injected) <= set(FAULTS) and sum(server.injected.values()) > 4


@pytest.mark.slow
@pytest.mark.parametrize(("command", "most"), [("run", 130), ("report", 85)])
def test_a_finished_run_is_gone_through_with_few_requests(
    problems: Path,
    finished: Path,
    output: str,
    moto: str,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    most: int,
) -> None:
    upload(finished, output)
    with proxy(moto) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        mstar(*([command, output] if command == "report" else smoke_arguments(problems, output)))
        assert server.requests <= most
    assert Stored(moto, output).fingerprints() == fingerprints(finished)


def upload(finished: Path, output: str) -> None:
    storage = build_storage(output)
    for path in sorted(path for path in finished.rglob("*") if path.is_file() and "/." not in str(path)):
        with storage.scratch() as copy:
            shutil.copyfile(path, copy)
            storage.publish(copy, path.relative_to(finished).as_posix())
