"""Where keys come from: web identities, roles of instances and containers, and what is said without any."""

import datetime
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mstar.errors import UserError
from mstar.storage import read_text, write_text
from tests.serving import serving
from tests.storage.faults import proxy
from tests.storage.servers import KEY, SECRET
from tests.storage.test_connecting import open_at


class Exchange(BaseHTTPRequestHandler):
    """Gives keys for a web identity token, as a server of AssumeRoleWithWebIdentity does."""

    asked: list[str]
    lasts: datetime.timedelta

    def do_POST(self) -> None:
        self.asked.append(self.path)
        ends = (datetime.datetime.now(datetime.UTC) + self.lasts).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
            <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{KEY}</AccessKeyId>
            <SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>token-{len(self.asked)}</SessionToken>
            <Expiration>{ends}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
            </AssumeRoleWithWebIdentityResponse>"""
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextmanager
def exchange(lasts: datetime.timedelta) -> Iterator[tuple[str, list[str]]]:
    """Address, and what it was asked for; its keys are good for so long."""
    handler = type("Own", (Exchange,), {"asked": [], "lasts": lasts})
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler.asked  # type: ignore[attr-defined]


def only_a_token(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No keys, but a web identity."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    (folder / "token").write_text("an identity")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(folder / "token"))


@pytest.mark.parametrize(("minutes", "exchanges"), [(60, 1), (0, 2)], ids=["one", "again when it ends"])
def test_a_web_identity_token_is_exchanged_for_keys(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int, exchanges: int
) -> None:
    only_a_token(tmp_path, monkeypatch)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/trainer")
    with exchange(datetime.timedelta(minutes=minutes)) as (address, asked), proxy(moto) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", address)
        storage = open_at(server.address, tmp_path)
        write_text(storage, "x.json", "1")
        assert read_text(storage, "x.json") == "1"
        tokens = [headers.get("X-Amz-Security-Token") or "" for _, headers in server.seen]
    assert "WebIdentityToken=an+identity" in asked[0]
    assert "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Ftrainer" in asked[0]
    assert set(tokens) == {f"token-{number + 1}" for number in range(len(asked))}
    assert len(asked) >= exchanges and (exchanges > 1 or len(asked) == 1)


def test_an_exchange_that_refuses_is_one_line(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_a_token(tmp_path, monkeypatch)
    with proxy(moto) as server:
        server.refusal = (403, "AccessDenied")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.address)
        with pytest.raises(UserError, match="there are no credentials for S3") as raised:
            open_at(moto, tmp_path).keys("")
    assert "\n" not in str(raised.value)


class Metadata(BaseHTTPRequestHandler):
    """Gives the keys of a role as the metadata service of an instance does (version 2), and as that of a
    container, to who has a token.
    """

    asked: list[str]
    lasts: datetime.timedelta
    refused: list[int]
    """Statuses that the next requests for keys are answered with."""

    def do_PUT(self) -> None:
        is_right = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._say(200 if is_right else 400, "a token")

    def do_GET(self) -> None:
        token = self.headers["X-aws-ec2-metadata-token"] or self.headers["Authorization"]
        if token != "a token":
            self._say(401, "")
        elif self.path == "/latest/meta-data/iam/security-credentials/":
            self._say(200, "trainer")
        elif self.path not in ("/latest/meta-data/iam/security-credentials/trainer", "/v1/credentials"):
            self._say(404, "")
        elif self.refused:
            self._say(self.refused.pop(0), "")
        else:
            self.asked.append(self.path)
            ends = (datetime.datetime.now(datetime.UTC) + self.lasts).strftime("%Y-%m-%dT%H:%M:%SZ")
            keys = {"AccessKeyId": KEY, "SecretAccessKey": SECRET, "Token": f"token-{len(self.asked)}"}
            self._say(200, json.dumps({"Code": "Success", "Type": "AWS-HMAC", "Expiration": ends, **keys}))

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


class Service:
    """A running metadata service."""

    def __init__(self, address: str, handler: Any) -> None:
        self.address = address
        self.asked: list[str] = handler.asked
        self.refused: list[int] = handler.refused


@contextmanager
def metadata(minutes: int) -> Iterator[Service]:
    """Its keys are good for so long."""
    lasts = datetime.timedelta(minutes=minutes)
    handler = type("Own", (Metadata,), {"asked": [], "lasts": lasts, "refused": []})
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield Service(f"http://127.0.0.1:{server.server_address[1]}", handler)


@pytest.fixture
def no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("no_keys")
@pytest.mark.parametrize("minutes", [60, 0], ids=["good for long", "renewed"])
def test_the_role_of_an_instance(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    with metadata(minutes) as service, proxy(moto) as server:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{service.address}/")
        storage = open_at(server.address, tmp_path)
        write_text(storage, "x.json", "1")
        assert read_text(storage, "x.json") == "1"
        tokens = [headers.get("X-Amz-Security-Token") for _, headers in server.seen]
    assert tokens[0] == "token-1" and tokens[-1] == f"token-{len(service.asked)}"
    assert (len(service.asked) == 1) is (minutes == 60)


@pytest.mark.usefixtures("no_keys")
@pytest.mark.parametrize("in_file", [True, False])
def test_the_role_of_a_container(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_file: bool
) -> None:
    """As the identity of a pod comes: an address, and a token to show there."""
    (tmp_path / "token").write_text("a token")
    with metadata(60) as service:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{service.address}/v1/credentials")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        if in_file:
            monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        else:
            monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a token")
        write_text(open_at(moto, tmp_path), "x.json", "1")
        assert service.asked == ["/v1/credentials"]


@pytest.mark.usefixtures("no_keys")
def test_a_service_that_is_away_when_keys_end_is_asked_again(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with metadata(0) as service:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.address)
        storage = open_at(moto, tmp_path)
        write_text(storage, "x.json", "1")
        service.refused += [503, 429]
        assert read_text(storage, "x.json") == "1"
        assert service.refused == []
        hasty = open_at(moto, tmp_path, retries=1)
        write_text(hasty, "x.json", "1")
        service.refused += [503] * 9
        with pytest.raises(
            UserError, match=r"the keys for S3 have expired.*status code 503.*start"
        ) as raised:
            read_text(hasty, "x.json")
        assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("no_keys")
def test_no_keys_anywhere_is_one_line(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    with pytest.raises(UserError) as raised:
        open_at(moto, tmp_path).keys("")
    said = str(raised.value)
    assert "\n" not in said and "AWS_ACCESS_KEY_ID" in said and "docs/storage.md" in said
    assert f"profile lab of {tmp_path}/.aws/credentials has none" in said and "127.0.0.1" in said
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match="AWS_EC2_METADATA_DISABLED is true"):
        open_at(moto, tmp_path).keys("")


@pytest.mark.usefixtures("no_keys")
@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b"<html>", b"\xff"])
def test_a_service_that_gives_no_keys_is_one_line(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """Whatever answers at that address."""

    class Other(Metadata):
        def do_GET(self) -> None:
            self._say(200, "trainer") if self.path.endswith("/") else self.wfile.write(
                b"HTTP/1.0 200 OK\r\n\r\n" + answer
            )

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Other)) as server:
        monkeypatch.setenv(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}"
        )
        with pytest.raises(UserError, match="there are no credentials for S3"):
            open_at(moto, tmp_path).keys("")
