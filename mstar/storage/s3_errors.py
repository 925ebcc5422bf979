"""What a server's answer means: gone, passing, or one line that says what the user can put right."""

from collections.abc import Mapping
from xml.etree.ElementTree import ParseError

from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError, MaxRetryError, ProxyError, SSLError

from mstar.errors import ClosedPlace, UserError

REFUSING_STATUSES = (301, 307, 400, 401, 403)
RETRIED_STATUSES = (429, 500, 502, 503, 504)
PASSING_CODES = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "NoSuchUpload",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "TooManyRequests",
    "XAmzContentSHA256Mismatch",
}
KEYS = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile in AWS_PROFILE"
FULL = "the bucket's quota is used up, or the server's disks are full; make room there"
SKEWED = "the clocks of this machine and of the server differ too much; set this one right"
REMEDIES: Mapping[str, str] = {
    "NoSuchBucket": "there is no such bucket; create it, or correct its name or storage.endpoint",
    "InvalidBucketName": "that is no name of a bucket; correct it",
    "AccessDenied": "access is denied; the credentials need s3:ListBucket on the bucket, and s3:GetObject, "
    "s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on what is in it; for inputs the first two do",
    "BadRequest": "the server does not take that name, which may be too long, or the object is encrypted "
    "with a key that only its writer has; correct it",
    "AllAccessDisabled": "access is denied; the bucket is locked",
    "AccountProblem": "the account is closed; ask its owner",
    "InvalidAccessKeyId": f"the server does not know the access key; {KEYS}",
    "SignatureDoesNotMatch": f"the secret key does not belong to the access key; {KEYS}",
    "AuthorizationQueryParametersError": f"the server does not take the signature; {KEYS}",
    "InvalidToken": f"the session token is not valid; {KEYS}",
    "InvalidTokenId": f"the session token is not valid; {KEYS}",
    "ExpiredToken": "the session token has expired; get a new one",
    "TokenRefreshRequired": "the session token has expired; get a new one",
    "RequestTimeTooSkewed": SKEWED,
    "RequestExpired": SKEWED,
    "AuthorizationHeaderMalformed": "the bucket is in another region; set storage.region",
    "PermanentRedirect": "the bucket is in another region; set storage.region",
    "TemporaryRedirect": "the bucket is in another region; set storage.region",
    "Redirect": "the bucket is in another region; set storage.region",
    "IllegalLocationConstraintException": "the bucket is in another region; set storage.region",
    "InvalidRegion": "the bucket is in another region; set storage.region",
    "QuotaExceeded": FULL,
    "XMinioAdminBucketQuotaExceeded": FULL,
    "XMinioStorageFull": FULL,
    "InsufficientStorage": FULL,
}
CLOSED = ("NoSuchBucket", "InvalidBucketName", "BadRequest", "AccessDenied", "AllAccessDisabled")
FAILURES = (MinioException, HTTPError, ParseError)
"""What a request of the client raises, besides what is wrong on this machine."""


def is_gone(error: Exception) -> bool:
    """Whether there is nothing under that name."""
    return isinstance(error, S3Error) and error.code in ("NoSuchKey", "ResourceNotFound")


def is_refused(error: Exception) -> bool:
    """Whether a write came second that had to be the first."""
    return isinstance(error, S3Error) and error.code in ("PreconditionFailed", "412")


def is_refusal(error: Exception) -> bool:
    """Whether the server will not do it for these keys, or not here."""
    return isinstance(error, S3Error) and error.response.status in REFUSING_STATUSES


def is_denied(error: S3Error) -> bool:
    """Whether the keys are known and this is not allowed to them."""
    return error.code == "AccessDenied"


def is_unknown_condition(error: Exception) -> bool:
    """Whether the server has no conditional writes."""
    return isinstance(error, S3Error) and error.code in ("NotImplemented", "MethodNotAllowed")


def is_passing(error: Exception) -> bool:
    """Whether the same request may well succeed, which the connection has not tried again already."""
    if isinstance(error, S3Error):
        return error.code in PASSING_CODES and error.response.status not in RETRIED_STATUSES
    return isinstance(error, HTTPError | ParseError) and not isinstance(error, MaxRetryError)


def explain(error: Exception, address: str, endpoint: str) -> UserError:
    """One line: what was asked for, what the server says, and the remedy."""
    if isinstance(error, MaxRetryError):
        return _explain_unreachable(error.reason, address, endpoint)
    if isinstance(error, S3Error):
        said = f"{error.code}: {error.message}".removesuffix(": None")
        if remedy := REMEDIES.get(error.code or ""):
            named = f" ({error.message})" if "region" in remedy and error.message else ""
            kind = ClosedPlace if error.code in CLOSED else UserError
            return kind(f"{address} at {endpoint}: {remedy}{named}")
        return UserError(
            f"{address}: {endpoint} answers {said}; what is committed is kept, start again later"
        )
    said = next(iter(str(error).splitlines()), type(error).__name__)[:200]
    return UserError(
        f"{address}: {endpoint} answers with what is no answer of an S3 server ({said}); correct "
        "storage.endpoint, or start again when the server is well"
    )


def _explain_unreachable(reason: Exception | None, address: str, endpoint: str) -> UserError:
    said = str(reason).partition(": ")[2] if isinstance(reason, HTTPError) else str(reason)
    said = said or str(reason)
    if isinstance(reason, SSLError):
        return UserError(
            f"{address}: the certificate of {endpoint} is not trusted, or it does not speak TLS "
            f"({said[:200]}); set storage.ca_file to the authority's PEM file, or correct storage.endpoint"
        )
    is_proxy = isinstance(reason, ProxyError)
    through, wrong = ("the proxy to ", "HTTPS_PROXY or NO_PROXY") if is_proxy else ("", "storage.endpoint")
    return UserError(
        f"{address}: {through}{endpoint} cannot be reached ({said[:200]}); correct {wrong}, or "
        "start again when the server is up; what is committed is kept"
    )
