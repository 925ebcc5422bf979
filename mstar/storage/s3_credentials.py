"""Where the keys to a bucket come from, and how they are renewed.

Looked for in this order: AWS_ACCESS_KEY_ID and its like, MINIO_ACCESS_KEY and its like, the shared
credentials file, a web identity token, the role of the container, that of the instance. The last three give
keys that expire; the client asks here before every request, and gets new ones in time.
"""

import os
import random
import time
from pathlib import Path
from typing import Any

import certifi
import urllib3
from minio.credentials.credentials import Credentials
from minio.credentials.providers import (
    AWSConfigProvider,
    ChainedProvider,
    EnvAWSProvider,
    EnvMinioProvider,
    IamAwsProvider,
)
from urllib3.exceptions import HTTPError
from urllib3.util import Retry, Timeout

from mstar.config_storage import StorageSettings
from mstar.errors import UserError
from mstar.storage.s3_proxies import pool_to

WEB_IDENTITY = "AWS_WEB_IDENTITY_TOKEN_FILE"
OF_CONTAINER = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
LONGEST_WAIT_SECONDS = 20.0
AMAZON_STS = "https://sts.amazonaws.com"


def find_credentials(settings: StorageSettings) -> "FoundCredentials":
    """Those of this process, by resolved settings. Nothing is sent yet."""
    options: dict[str, Any] = {
        "timeout": Timeout(connect=2.0, read=10.0),
        "retries": Retry(total=1),
        "ca_certs": settings.ca_file or certifi.where(),
    }
    if WEB_IDENTITY in os.environ:
        services = pool_to(_endpoint() or AMAZON_STS, **options)
    else:  # those of containers and instances are next to them
        services = urllib3.PoolManager(**options)
    roles = _Roles(custom_endpoint=_endpoint(), http_client=services, region=settings.region)
    return FoundCredentials(roles, settings.retries)


def _endpoint() -> str | None:
    """Where roles are asked for, where that is not Amazon's own place. Other servers than Amazon's exchange
    web identity tokens themselves.
    """
    if WEB_IDENTITY in os.environ:
        return os.environ.get("AWS_ENDPOINT_URL_STS")
    if any(name in os.environ for name in OF_CONTAINER):
        return None
    return os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").rstrip("/") or None


class FoundCredentials(ChainedProvider):
    """The first that are found."""

    def __init__(self, roles: "_Roles", retries: int) -> None:
        super().__init__([EnvAWSProvider(), EnvMinioProvider(), AWSConfigProvider(), roles])
        self._roles = roles
        self._retries = retries

    def retrieve(self) -> Credentials:
        """UserError where there are none. A service that has given some before is asked again for a while."""
        for tried in range(self._retries + 1):
            try:
                return super().retrieve()
            except ValueError:
                if self._credentials is None:
                    raise UserError(_say_none(self._roles.said)) from None
            time.sleep(random.uniform(0.5, 1.0) * min(LONGEST_WAIT_SECONDS, 0.25 * 2**tried))
        raise UserError(
            f"the keys for S3 have expired, and new ones are not given ({self._roles.said}); what is "
            "committed is kept, start again when that service is up"
        )


class _Roles(IamAwsProvider):
    """Where there is no such service on the network, it has no credentials; `said` is why."""

    said = "not asked"

    def retrieve(self) -> Credentials:
        is_of_instance = not any(name in os.environ for name in (WEB_IDENTITY, *OF_CONTAINER))
        try:
            if is_of_instance and os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
                raise ValueError("AWS_EC2_METADATA_DISABLED is true")
            return super().retrieve()
        except (HTTPError, OSError, LookupError, AttributeError, TypeError, ValueError) as error:
            self.said = " ".join(str(error).split())[:160]
            raise ValueError(self.said) from None


def _say_none(said: str) -> str:
    default = Path("~/.aws/credentials").expanduser()
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or default
    profile = os.environ.get("AWS_PROFILE") or "default"
    return (
        "there are no credentials for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set, "
        f"profile {profile} of {file} has none, and no role gives any ({said}); provide one of these, see "
        "docs/storage.md"
    )
