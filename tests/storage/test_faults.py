"""A network and a server in trouble: what passes is borne, what does not is one line."""

import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mstar.config_storage import StorageSettings
from mstar.errors import UserError
from mstar.stage_notes import Begun
from mstar.stagedir import StageDir
from mstar.storage import Storage, build_storage, read_text, s3, s3_parts, write_text
from tests.commands import mstar, start
from tests.smoke import fingerprints, smoke_arguments
from tests.storage.faults import FAULTS, Proxy, proxy
from tests.storage.servers import BUCKET, Stored


@pytest.fixture
def troubled(moto: str) -> Iterator[Proxy]:
    with proxy(moto, every=4) as server:
        yield server


def open_bucket(proxy: Proxy, folder: Path, **settings: object) -> Storage:
    given = {"endpoint": proxy.address, "cache": str(folder), "timeout_seconds": 5.0, **settings}
    address = f"s3://{BUCKET}/{folder.name}"
    return build_storage(address, StorageSettings.model_validate(given))


@pytest.fixture
def storage(troubled: Proxy, tmp_path: Path) -> Storage:
    return open_bucket(troubled, tmp_path / uuid.uuid4().hex)


def test_faults_of_every_kind_change_nothing(storage: Storage, troubled: Proxy) -> None:
    texts = {f"stage/{number}.json": f"[{number}]" * 9 for number in range(16)}
    for key, text in texts.items():
        assert write_text(storage, key, text, replace=False)
        assert not write_text(storage, key, "second", replace=False)
        assert read_text(storage, key) == text
    assert storage.keys("stage/") == sorted(texts)
    storage.remove("stage")
    assert storage.keys("stage/") == []
    assert set(troubled.injected) == set(FAULTS)


def test_a_large_file_arrives_through_all_of_them(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In small parts, so that there are many of them; one read in two meets a wrong byte."""
    monkeypatch.setattr(s3_parts, "PART_BYTES", 1 << 18)
    data = os.urandom(5 << 20)
    with proxy(moto, every=3, faults=(*FAULTS[:-1] * 2, "wrong bytes")) as server:
        for number in range(4):
            storage = open_bucket(server, tmp_path / "run", cache=str(tmp_path / str(number)))
            with storage.scratch() as path:
                path.write_bytes(data)
                assert storage.publish(path, "part.parquet") == (number == 0)
            with storage.reading("part.parquet") as path:
                assert path.read_bytes() == data
        assert set(server.injected) == set(FAULTS)


def test_bytes_that_stay_wrong_are_one_line(moto: str, tmp_path: Path) -> None:
    with proxy(moto, every=0, faults=("wrong bytes",)) as server:
        storage = open_bucket(server, tmp_path / "run")
        write_text(storage, "x.json", "right")
        server.every = 1
        with pytest.raises(UserError, match=r"x.json does not arrive as it was written \(its sha256 differs"):
            read_text(storage, "x.json")
    assert server.injected["wrong bytes"] == s3.WRONG_READS


def test_a_lost_answer_to_a_first_write_is_no_second_writer(moto: str, tmp_path: Path) -> None:
    """The write has arrived; sent again, it meets itself."""
    with proxy(moto, every=0, faults=("lost answer",)) as server:
        storage = open_bucket(server, tmp_path / "run")
        write_text(storage, "other.json", "")
        server.every = 2  # a question about the name, then the write
        assert write_text(storage, "manifest.json", "mine", replace=False)
    assert server.injected["lost answer"] >= 1


REFUSALS = {
    (404, "NoSuchBucket"): "there is no such bucket",
    (403, "AccessDenied"): "access is denied; the credentials need s3:ListBucket",
    (403, "InvalidAccessKeyId"): "does not know the access key; check AWS_ACCESS_KEY_ID",
    (403, "SignatureDoesNotMatch"): "the secret key does not belong to the access key",
    (400, "ExpiredToken"): "the session token has expired; get a new one",
    (403, "RequestTimeTooSkewed"): "the clocks of this machine and of the server differ too much",
    (400, "AuthorizationHeaderMalformed"): "the bucket is in another region; set storage.region",
    (301, "PermanentRedirect"): "the bucket is in another region; set storage.region",
    (418, "SomethingElse"): "answers SomethingElse: as a test says",
}


IN_THE_MIDDLE = ("ExpiredToken", "AccessDenied", "PermanentRedirect")


@pytest.mark.parametrize(("refusal", "line"), REFUSALS.items(), ids=[code for _, code in REFUSALS])
@pytest.mark.parametrize("when", ["at once", "later"])
def test_what_does_not_pass_is_one_line(
    moto: str, tmp_path: Path, refusal: tuple[int, str], line: str, when: str
) -> None:
    with proxy(moto) as server:
        storage = open_bucket(server, tmp_path / "run")
        if when == "later":
            write_text(storage, "x.json", "1")
        server.refusal = refusal
        with pytest.raises(UserError) as raised:
            storage.keys("")
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("refusal", "line"), REFUSALS.items(), ids=[code for _, code in REFUSALS])
@pytest.mark.parametrize("method", ["look", "read", "write", "remove"])
def test_whatever_is_asked_for_then(
    moto: str, tmp_path: Path, refusal: tuple[int, str], line: str, method: str
) -> None:
    """The answer to some requests has no text; what is wrong is said all the same, where its status is no
    other thing's.
    """
    if method == "look" and refusal[0] in (404, 418):
        return
    with proxy(moto) as server:
        storage = open_bucket(server, tmp_path / "run", retries=1)
        write_text(storage, "x.json", "1")
        server.refusal = refusal
        with pytest.raises(UserError) as raised:
            match method:
                case "look":
                    storage.describe("x.json")
                case "read":
                    read_text(storage, "x.json")
                case "write":
                    write_text(storage, "y.json", "1")
                case "remove":
                    storage.remove("x.json")
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


def test_keys_that_expire_are_no_damage(moto: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be read now is neither made again nor deleted."""
    with proxy(moto) as server:
        storage = open_bucket(server, tmp_path / uuid.uuid4().hex)

        def open_stage() -> StageDir:
            return StageDir(storage, "iterations/000/generate", Begun({}, 1))

        in_hand = open_stage()
        in_hand.begin()
        with in_hand.write("part-00000.parquet") as path:
            path.write_text("made")
        second = open_stage()
        server.refusal = (400, "ExpiredToken")
        for ask in (second.begin, open_stage):
            with pytest.raises(UserError, match="the session token has expired"):
                ask()
        server.refusal = None
        in_hand.commit({}, ["part-00000.parquet"])
        server.refusal = (400, "ExpiredToken")
        with pytest.raises(UserError, match="the session token has expired"):
            open_stage()
        server.refusal = None
        assert open_stage().done
    assert "damaged" not in caplog.text


def test_a_cache_without_room_on_its_disk_is_one_line(moto: str, tmp_path: Path, small_disk: Path) -> None:
    """Room for a large file is taken before anything of it travels, and given back."""
    with proxy(moto) as server:
        writer = open_bucket(server, tmp_path / "run")
        with writer.scratch() as path:
            path.write_bytes(os.urandom(5 << 20))
            writer.publish(path, "model.safetensors", replace=False)
        reader = open_bucket(server, tmp_path / "run", cache=str(small_disk / "cache"))
        with pytest.raises(UserError, match="the disk is full"), reader.reading("model.safetensors"):
            pass
        assert shutil.disk_usage(small_disk).used < 1 << 20


def test_a_full_bucket_is_one_line(moto: str, tmp_path: Path) -> None:
    with proxy(moto) as server:
        storage = open_bucket(server, tmp_path / "run")
        write_text(storage, "x.json", "1")
        server.refusal = (400, "XMinioAdminBucketQuotaExceeded")
        with pytest.raises(UserError, match="the bucket's quota is used up"):
            write_text(storage, "x.json", "1")


@pytest.mark.parametrize(
    ("endpoint", "line"),
    [
        ("http://127.0.0.1:1", "cannot be reached"),
        ("http://no-such-host.invalid", "cannot be reached"),
        ("https://127.0.0.1:{port}", "is not trusted, or it does not speak TLS"),
    ],
)
def test_a_server_that_is_not_there_is_one_line(moto: str, tmp_path: Path, endpoint: str, line: str) -> None:
    with proxy(moto) as server:
        address = endpoint.format(port=server.server_address[1])
        storage = open_bucket(server, tmp_path / "run", endpoint=address)
        with pytest.raises(UserError, match=line) as raised:
            storage.keys("")
    assert "\n" not in str(raised.value)


def test_a_server_that_comes_back_is_waited_for(moto: str, tmp_path: Path) -> None:
    with proxy(moto) as server:
        storage = open_bucket(server, tmp_path / "run")
        write_text(storage, "x.json", "1")
        server.refusal = (503, "ServiceUnavailable")
        timer = threading.Timer(1.0, lambda: setattr(server, "refusal", None))
        timer.start()
        assert read_text(storage, "x.json") == "1"
        timer.join()


def test_a_server_in_trouble_is_waited_for_from_the_first_request_on(moto: str, tmp_path: Path) -> None:
    """Four times in a row: more often than a server is looked for that is not there. All faults at once, as
    nearly all of it is waiting.
    """

    def look(fault: str) -> tuple[str, list[str], int]:
        with proxy(moto, every=1, faults=(*[fault] * 4, *["none"] * 100)) as server:
            found = open_bucket(server, tmp_path / uuid.uuid4().hex).keys("")
            return fault, found, server.injected[fault]

    faults = ["503", "reset", "truncated"]
    with ThreadPoolExecutor() as threads:
        assert list(threads.map(look, faults)) == [(fault, [], 4) for fault in faults]


@pytest.mark.slow
def test_refused_in_the_middle_of_a_run_it_ends_in_one_line_and_goes_on_later(
    problems: Path, finished: Path, moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = f"s3://{BUCKET}/refused/{uuid.uuid4().hex}"
    refusals = [pair for pair in REFUSALS if pair[1] in IN_THE_MIDDLE]
    with proxy(moto) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        for number, refusal in enumerate(refusals):
            said = tmp_path / str(number)
            said.mkdir()
            process = start(*smoke_arguments(problems, output), said=said)
            process.join(4.0 + number)
            assert process.is_alive()
            server.refusal = refusal
            process.join()
            server.refusal = None
            assert process.exitcode == 2
            *_, last = (said / "errors").read_text().splitlines()
            assert last.startswith("error: ") and REFUSALS[refusal] in last
        mstar(*smoke_arguments(problems, output))
    assert Stored(moto, output).fingerprints() == fingerprints(finished)
