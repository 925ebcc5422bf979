"""The connection to an S3 server: address, TLS, patience with a server in trouble. Keys are in
s3_credentials.py.
"""

import logging
import os
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import certifi
import urllib3
from minio import Minio
from pydantic import ValidationError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry, Timeout

from mstar.config_storage import StorageSettings
from mstar.errors import ClosedPlace, UserError
from mstar.storage.s3_credentials import LONGEST_WAIT_SECONDS, find_credentials
from mstar.storage.s3_errors import RETRIED_STATUSES
from mstar.storage.s3_proxies import find_proxy, pool_through

FIRST_RETRIES = 2
"""Of connections that cannot be made, until one was: a wrong address is told of soon. A server that answers
badly, or hangs up, is there, and is waited for from the first request on."""
CONNECT_SECONDS = 10.0
VARIABLES = {
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "style": ("MSTAR_S3_STYLE",),
    "ca_file": ("AWS_CA_BUNDLE", "SSL_CERT_FILE"),
}
"""Where settings come from that are left open, the first one first."""
RULES = {
    "endpoint": "write http://host:port or https://host; user and password have variables of their own",
    "region": "write one such as eu-west-1",
    "style": "write path or virtual",
}
TOLD_AFTER = 3
"""Failures in a row before a line says that the server is in trouble."""
log = logging.getLogger("mstar")


@dataclass(frozen=True, slots=True)
class Address:
    """`s3://bucket/prefix`; the prefix is empty or ends with a slash."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def parse_address(text: str) -> Address:
    """UserError where it names no bucket."""
    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    parts = [part for part in prefix.split("/") if part]
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise ClosedPlace(
            f"{text} names no bucket; write s3://bucket/prefix (a bucket has 3 to 63 lower-case "
            "letters, digits, dots and dashes)"
        )
    if any(part in (".", "..") for part in parts):
        raise UserError(f"{text} has a part that is . or ..; write s3://bucket/prefix")
    return Address(bucket, "".join(f"{part}/" for part in parts))


def resolve(settings: StorageSettings) -> StorageSettings:
    """What is left open taken from the environment; UserError where that cannot be right."""
    given, found = settings.model_dump(), dict[str, str]()
    for key, names in VARIABLES.items():
        for name in names:
            if os.environ.get(name) and not given[key]:
                found.setdefault(key, name)
    given |= {key: os.environ[name] for key, name in found.items()}
    given["region"] = given["region"] or "us-east-1"
    given["endpoint"] = given["endpoint"] or f"https://s3.{given['region']}.amazonaws.com"
    given["endpoint"] = given["endpoint"].removesuffix("/")
    try:
        return StorageSettings.model_validate(given)
    except ValidationError as error:
        key = next(str(one["loc"][0]) for one in error.errors() if one["loc"][0] in found)
        shown = re.sub(r"//.*@", "//...@", given[key])
        raise UserError(f"{found[key]} is {shown!r}; {RULES[key]}") from None


class Pool(urllib3.PoolManager):
    """Connections whose writes can be made to succeed only where nothing is yet.

    The client has no argument for that header. It need not be signed, so it is added here.
    """

    def __init__(self, settings: StorageSettings) -> None:
        options: dict[str, Any] = {
            "timeout": Timeout(connect=CONNECT_SECONDS, read=settings.timeout_seconds),
            "maxsize": settings.parts_in_flight + 4,
            "cert_reqs": "CERT_REQUIRED",
            "ca_certs": settings.ca_file or certifi.where(),
        }
        super().__init__(**options)
        proxy = find_proxy(str(settings.endpoint))
        self._ask = pool_through(proxy, **options).urlopen if proxy else super().urlopen
        self._retries = settings.retries
        self._has_answered = False
        self._thread = threading.local()

    @contextmanager
    def only_if_absent(self) -> Iterator[None]:
        """In this thread, as long as the block lasts."""
        self._thread.only_if_absent = True
        try:
            yield
        finally:
            self._thread.only_if_absent = False

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = True, **options: Any
    ) -> BaseHTTPResponse:
        completes = method == "PUT" or (method == "POST" and "uploadId=" in url)
        if completes and getattr(self._thread, "only_if_absent", False):
            options["headers"].add("If-None-Match", "*")
        first = None if self._has_answered else min(FIRST_RETRIES, self._retries)
        response = self._ask(method, url, redirect, retries=patience(self._retries, first), **options)
        self._has_answered = True
        return response


class Patience(Retry):
    """Retries with waits that grow, and one line to the user when there are many."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: TracebackType | None = None,
    ) -> "Patience":
        if len(self.history) == TOLD_AFTER:
            reason = f"status {response.status}" if response else str(error)
            log.warning("the S3 server is in trouble (%s); trying on", reason[:160])
        return super().increment(method, url, response, error, _pool, _stacktrace)


def patience(retries: int, connecting: int | None = None) -> Patience:
    """For any method: a write that arrives twice leaves what it would have left once. `connecting` bounds how
    often a connection is tried that cannot be made, by TCP or by TLS.
    """
    return Patience(
        total=retries,
        connect=connecting,
        other=connecting,
        allowed_methods=None,
        status_forcelist=RETRIED_STATUSES,
        raise_on_status=False,
        backoff_factor=0.25,
        backoff_max=LONGEST_WAIT_SECONDS,
        backoff_jitter=0.5,
    )


def _refuse_no_authority(file: str | None) -> None:
    try:
        if file:
            ssl.create_default_context(cafile=file)
    except OSError as error:
        reason = "no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise UserError(f"storage.ca_file is {file} ({reason}); name a PEM file") from None


def connect(settings: StorageSettings, pool: Pool) -> Minio:
    """A client of the server that resolved settings name. Nothing is sent yet."""
    assert settings.endpoint is not None
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    _refuse_no_authority(settings.ca_file)
    scheme, _, host = settings.endpoint.partition("://")
    credentials = find_credentials(settings)
    try:
        client = Minio(
            endpoint=host,
            secure=scheme == "https",
            region=settings.region,
            http_client=pool,
            credentials=credentials,
        )
    except ValueError as error:
        raise UserError(
            f"storage.endpoint is {settings.endpoint}, storage.region {settings.region}: {error}; write "
            "http://host:port or https://host, and a region such as eu-west-1"
        ) from None
    if settings.style == "virtual":
        client.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
    elif settings.style == "path":
        client.disable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
    return client
