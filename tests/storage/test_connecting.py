"""Ways to a server: TLS with an authority of one's own, the bucket in the host's name, roles, regions."""

import base64
import re
import socket
import uuid
from pathlib import Path
from typing import Any

import pytest

from mstar.config_storage import StorageSettings
from mstar.errors import UserError
from mstar.storage import Storage, build_storage, read_text, write_text
from tests.storage.authorities import make_certificates
from tests.storage.faults import proxy
from tests.storage.servers import BUCKET


def open_at(endpoint: str, folder: Path, **settings: object) -> Storage:
    given = {"endpoint": endpoint, "cache": str(folder / "cache"), "timeout_seconds": 5.0, **settings}
    return build_storage(f"s3://{BUCKET}/{uuid.uuid4().hex}", StorageSettings.model_validate(given))


def test_an_authority_of_ones_own(moto: str, tmp_path: Path) -> None:
    authority = make_certificates(tmp_path)
    with proxy(moto, certificates=tmp_path) as server:
        storage = open_at(server.address, tmp_path, ca_file=str(authority))
        write_text(storage, "x.json", "1")
        assert read_text(storage, "x.json") == "1"
        with pytest.raises(UserError, match=r"is not trusted.*set storage.ca_file") as raised:
            open_at(server.address, tmp_path).keys("")
        assert "\n" not in str(raised.value)
        with pytest.raises(UserError, match=r"none.pem \(No such file .*; name a PEM file"):
            open_at(server.address, tmp_path, ca_file=str(tmp_path / "none.pem")).keys("")


def test_a_file_that_holds_no_authority_is_one_line(moto: str, tmp_path: Path) -> None:
    make_certificates(tmp_path)
    (tmp_path / "text.pem").write_text("no certificate")
    with (
        proxy(moto, certificates=tmp_path) as server,
        pytest.raises(UserError, match=r"text.pem \(no certificate\); name a PEM file"),
    ):
        open_at(server.address, tmp_path, ca_file=str(tmp_path / "text.pem")).keys("")


def test_the_authority_by_environment(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(make_certificates(tmp_path)))
    with proxy(moto, certificates=tmp_path) as server:
        assert open_at(server.address, tmp_path).keys("") == []


@pytest.mark.parametrize("style", ["virtual", "path"])
def test_the_bucket_in_the_host_or_in_the_path(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    """Names below s3.test lead to this machine."""
    ask = socket.getaddrinfo

    def answer(host: Any, *others: Any, **more: Any) -> Any:
        return ask("127.0.0.1" if str(host).endswith("s3.test") else host, *others, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    with proxy(moto) as server:
        endpoint = server.address.replace("127.0.0.1", "s3.test")
        with pytest.raises((UserError, FileNotFoundError)):
            read_text(open_at(endpoint, tmp_path, style=style), "none.json")
        path, headers = server.seen[-1]
    is_virtual = style == "virtual"
    assert headers["Host"].startswith(f"{BUCKET}.s3.test:" if is_virtual else "s3.test:")
    assert path.startswith(f"/{BUCKET}") is not is_virtual


def test_the_endpoint_by_environment(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The more special variable comes first, the setting before both."""
    settings = StorageSettings(cache=str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    assert build_storage(f"s3://{BUCKET}/none", settings).keys("") == []
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        build_storage(f"s3://{BUCKET}/none", settings).keys("")
    assert open_at(moto, tmp_path).keys("") == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"AWS_ENDPOINT_URL_S3": "127.0.0.1:9000"}, "AWS_ENDPOINT_URL_S3 is '127.0.0.1:9000'; write http://"),
        (
            {"AWS_ENDPOINT_URL": "http://s3.test/path"},
            "AWS_ENDPOINT_URL is 'http://s3.test/path'; write http://",
        ),
        ({"AWS_ENDPOINT_URL": "http://me:hush@s3.test"}, "AWS_ENDPOINT_URL is 'http://...@s3.test'; write"),
        ({"AWS_ENDPOINT_URL": "http://s3.test:99999"}, "invalid port; write http://host:port"),
        ({"AWS_REGION": "eu west"}, "AWS_REGION is 'eu west'; write one such as eu-west-1"),
        ({"MSTAR_S3_STYLE": "paths"}, "MSTAR_S3_STYLE is 'paths'; write path or virtual"),
    ],
)
def test_an_environment_that_cannot_be_right_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        build_storage("s3://runs/run", StorageSettings(cache=str(tmp_path))).keys("")
    assert "\n" not in str(raised.value) and "hush" not in str(raised.value)


@pytest.mark.parametrize("left_out", ["", "127.0.0.1"])
def test_a_proxy_by_environment(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_out: str
) -> None:
    with proxy(moto) as server:
        monkeypatch.setenv("http_proxy", server.address.replace("://", "://me:pass%3Aword@"))
        monkeypatch.setenv("no_proxy", left_out)
        storage = open_at(moto, tmp_path)
        assert [write_text(storage, "file.json", "{}", replace=False) for _ in range(2)] == [True, False]
    asked = [(path.startswith(moto), headers["proxy-authorization"]) for path, headers in server.seen]
    secret = base64.b64encode(b"me:pass:word").decode()
    assert set(asked) == (set() if left_out else {(True, f"Basic {secret}")})


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "the proxy to .* cannot be reached .*; correct HTTPS_PROXY or NO_PROXY"),
        ("socks5://127.0.0.1:1", "names a proxy of the kind socks5; .*: set HTTPS_PROXY to one, or NO_PROXY"),
    ],
)
def test_a_proxy_that_does_not_serve_is_one_line(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.setenv("all_proxy", address)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(UserError, match=said):
        open_at(moto, tmp_path).keys("")
