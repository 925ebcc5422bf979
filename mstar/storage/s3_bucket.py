"""Requests about the objects below one prefix of a bucket, each sent again where it fails in passing.

FileNotFoundError where there is no such object; UserError, one line, where the user has to put something
right. The connection itself repeats what a busy or absent server did not answer (s3_client.py); here is
repeated what broke later: an answer cut short, bytes that changed on their way.
"""

import errno
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from minio import Minio
from minio.datatypes import Object as ListedObject
from minio.error import S3Error
from urllib3.response import BaseHTTPResponse

from mstar.config_storage import StorageSettings
from mstar.storage.s3_client import Address, Pool, connect
from mstar.storage.s3_credentials import LONGEST_WAIT_SECONDS
from mstar.storage.s3_errors import (
    FAILURES,
    explain,
    is_denied,
    is_gone,
    is_passing,
    is_refusal,
    is_refused,
    is_unknown_condition,
)
from mstar.storage.s3_parts import PART_BYTES, Rest, Write

SHA256, WRITER = "x-amz-meta-sha256", "x-amz-meta-writer"
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Object:
    """What the server says of an object; `sha256` and `writer` where we wrote it."""

    size: int
    etag: str
    sha256: str | None
    writer: str | None


@dataclass(frozen=True, slots=True)
class Upload:
    """A local file, and what is stored with it; `writer` tells one try from another."""

    path: Path
    content_type: str
    sha256: str
    writer: str


class Bucket:
    """The objects whose names begin with the address's prefix; keys are without it."""

    def __init__(self, address: Address, settings: StorageSettings) -> None:
        self.address = address
        self.settings = settings
        self._pool = Pool(settings)
        self._has_conditions = True

    def url(self, key: str) -> str:
        return f"{self.address}/{key}"

    def listed(self, prefix: str) -> dict[str, tuple[int, str]]:
        """Keys, bytes and ETags of all objects that begin so; no other part of the bucket is listed."""
        start = self.address.prefix
        return self._ask(
            lambda client: {
                (one.object_name or "").removeprefix(start): (one.size or 0, one.etag or "")
                for one in self._listed(client, prefix)
            },
            prefix,
        )

    def entries(self, below: str) -> dict[str, Object | None]:
        """What is in the folder `below`, which is empty or ends with a slash; None for what is a folder."""
        start = self._name(below)

        def entries(client: Minio) -> dict[str, Object | None]:
            listed = client.list_objects(bucket_name=self.address.bucket, prefix=start)
            names = {(found.object_name or "").removeprefix(start).rstrip("/"): found for found in listed}
            return {
                name: None if found.is_dir else Object(found.size or 0, found.etag or "", None, None)
                for name, found in names.items()
                if name
            }

        return self._ask(entries, below)

    def look_at(self, key: str) -> Object:
        def look(client: Minio) -> Object:
            try:
                found = client.stat_object(bucket_name=self.address.bucket, object_name=self._name(key))
            except FAILURES as error:
                if is_refusal(error):  # without a text; that of a listing says in full what is wrong
                    list(self._listed(client, key))
                raise
            metadata = found.metadata or {}
            return Object(found.size or 0, found.etag or "", metadata.get(SHA256), metadata.get(WRITER))

        return self._ask(look, key)

    def get(self, key: str, most: int) -> tuple[Object, bytes | None]:
        """The object, and its bytes unless they are more than `most`."""

        def get(client: Minio) -> tuple[Object, bytes | None]:
            with self._answer(client, key) as response:
                headers = response.headers
                size = int(headers.get("content-length", 0))
                found = Object(size, headers.get("etag", ""), headers.get(SHA256), headers.get(WRITER))
                return found, response.read(decode_content=False) if size <= most else None

        return self._ask(get, key)

    def get_range(self, key: str, rest: Rest, write: Write) -> None:
        """Hand the answer with the bytes that are left to `write`; more than once where it breaks."""

        def get(client: Minio) -> None:
            with self._answer(client, key, *rest()) as response:
                write(response)

        self._ask(get, key)

    def get_block(self, key: str, offset: int, length: int) -> bytes:
        def get(client: Minio) -> bytes:
            with self._answer(client, key, offset, length) as response:
                return response.read(decode_content=False)

        return self._ask(get, key)

    def put(self, upload: Upload, key: str, only_new: bool) -> bool:
        """Store a file; False where only a new object was wanted and there is one."""
        try:
            self._ask(lambda client: self._put(client, upload, key, only_new), key)
        except FileExistsError:
            return self.look_at(key).writer == upload.writer  # an earlier try of ours may have arrived
        return True

    def remove(self, key: str) -> None:
        self._ask(
            lambda client: client.remove_object(bucket_name=self.address.bucket, object_name=self._name(key)),
            key,
        )

    @cached_property
    def _client(self) -> Minio:
        """The answer to a listing says in full whatever is wrong; those to later requests do not. Who may not
        list may still read what he knows the name of.
        """
        client = connect(self.settings, self._pool)

        def list_one() -> None:
            try:
                list(self._listed(client, "run.yaml"))
            except S3Error as error:
                if not is_denied(error):
                    raise

        self._attempt(list_one, str(self.address))
        return client

    def _put(self, client: Minio, upload: Upload, key: str, only_new: bool) -> None:
        is_conditional = only_new and self._has_conditions
        try:
            with self._pool.only_if_absent() if is_conditional else nullcontext():
                client.fput_object(
                    bucket_name=self.address.bucket,
                    object_name=self._name(key),
                    file_path=str(upload.path),
                    content_type=upload.content_type,
                    metadata={SHA256: upload.sha256, WRITER: upload.writer},
                    part_size=PART_BYTES,
                    num_parallel_uploads=self.settings.parts_in_flight,
                )
        except FAILURES as error:
            if is_refused(error):
                raise FileExistsError(errno.EEXIST, "is there already", self.url(key)) from None
            if not (is_conditional and is_unknown_condition(error)):
                raise
            self._has_conditions = False
            self._put(client, upload, key, only_new)

    @contextmanager
    def _answer(
        self, client: Minio, key: str, offset: int = 0, length: int = 0
    ) -> Iterator[BaseHTTPResponse]:
        response = client.get_object(
            bucket_name=self.address.bucket, object_name=self._name(key), offset=offset, length=length
        )
        try:
            yield response
        finally:
            response.close()
            response.release_conn()

    def _listed(self, client: Minio, prefix: str) -> Iterator[ListedObject]:
        objects = client.list_objects(
            bucket_name=self.address.bucket, prefix=self._name(prefix), recursive=True
        )
        return (found for found in objects if not found.is_dir)

    def _ask(self, request: Callable[[Minio], Result], key: str) -> Result:
        client = self._client
        return self._attempt(lambda: request(client), self.url(key))

    def _attempt(self, request: Callable[[], Result], url: str) -> Result:
        for tried in range(self.settings.retries + 1):
            try:
                return request()
            except FAILURES as error:
                if is_gone(error):
                    raise FileNotFoundError(errno.ENOENT, "no such file in the run", url) from None
                if tried == self.settings.retries or not is_passing(error):
                    raise explain(error, url, str(self.settings.endpoint)) from error
            time.sleep(random.uniform(0.5, 1.0) * min(LONGEST_WAIT_SECONDS, 0.25 * 2**tried))
        raise AssertionError("the last try returns or raises")

    def _name(self, key: str) -> str:
        return self.address.prefix + key
