"""A folder of a bucket that is written without the code under test."""

import io
import uuid
from pathlib import Path

from tests.storage.servers import BUCKET, client


class Uploads:
    """A folder of its own on the server at an endpoint."""

    def __init__(self, endpoint: str) -> None:
        self.client = client(endpoint)
        self.name = uuid.uuid4().hex
        self.prefix = f"inputs/{self.name}"
        self.address = f"s3://{BUCKET}/{self.prefix}"

    def put(self, name: str, data: bytes, **metadata: str) -> str:
        """Returns the address."""
        key = f"{self.prefix}/{name}"
        self.client.put_object(BUCKET, key, io.BytesIO(data), len(data), metadata=dict(metadata))
        return f"{self.address}/{name}"

    def put_folder(self, folder: Path, name: str = "") -> str:
        """Returns the address."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{name}/{path.relative_to(folder).as_posix()}".lstrip("/"), path.read_bytes())
        return f"{self.address}/{name}".rstrip("/")
