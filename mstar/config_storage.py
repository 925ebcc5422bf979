"""The section `storage` of the configuration; see config.py."""

from typing import Annotated, Literal

from pydantic import Field

from mstar.settings import FREE, Section

FROM_ENVIRONMENT = ("endpoint", "region", "style", "ca_file")
"""What commands that are given the address of a run alone cannot take from its configuration."""


class StorageSettings(Section):
    """How a run is reached whose `output` is `s3://bucket/prefix`; see docs/storage.md. Keys and tokens come
    from the environment alone.
    """

    endpoint: Annotated[str | None, FREE] = Field(None, pattern=r"^https?://[^/?#@\s]+/?$")
    """Address of the server, such as `https://minio.example:9000`; null takes `AWS_ENDPOINT_URL_S3`,
    `AWS_ENDPOINT_URL`, or Amazon's server of the region.
    """
    region: Annotated[str | None, FREE] = Field(None, pattern=r"^[A-Za-z0-9_-]{1,63}$")
    """Where the bucket is; null takes `AWS_REGION`, `AWS_DEFAULT_REGION`, or `us-east-1`."""
    style: Annotated[Literal["path", "virtual"] | None, FREE] = None
    """Whether the bucket is the first part of the path or of the host's name; null takes `MSTAR_S3_STYLE`, or
    what Amazon's servers want (`virtual`) and others (`path`).
    """
    ca_file: Annotated[str | None, FREE] = None
    """PEM file of the authorities that the server's certificate may come from; null takes `AWS_CA_BUNDLE`,
    `SSL_CERT_FILE`, or those of the package certifi.
    """
    cache: Annotated[str | None, FREE] = None
    """Folder where what was read is kept for the processes of this machine; null takes `s3` in `$MSTAR_CACHE`
    or in mstar's folder of the user's cache.
    """
    cache_gib: Annotated[float, FREE] = Field(50.0, gt=0)
    """Size of that folder in GiB; what was used least recently goes, what is in use stays."""
    parts_in_flight: Annotated[int, FREE] = Field(4, ge=1, le=64)
    """Parts of a large file that travel at the same time; each takes 64 MiB of memory on its way out."""
    retries: Annotated[int, FREE] = Field(10, ge=0, le=100)
    """How often a request that failed in passing is sent again; the waits grow to 20 seconds."""
    timeout_seconds: Annotated[float, FREE] = Field(60.0, gt=0, le=3600)
    """Longest silence of the server."""
