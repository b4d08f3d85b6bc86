"""How a store is reached: connections, retries, and failures in our words.

Credentials, region and endpoint come from the environment that each store's own tools use (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL, the machine's role, …). Nothing here takes
them as an argument, keeps or prints them.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from colcap.errors import ConfigError, printable
from colcap.objects.url import HTTP_SCHEMES, Url
from colcap.secrets import without_secrets

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")

NO_TIMEOUT: Final = "86400s"
"""The library would end a whole answer after 30 s."""

READ_TIMEOUT: Final = "60s"
"""An answer may be silent for so long; how long all of it takes depends on its size, which nobody limits here."""

WRITE_TIMEOUT: Final = "600s"
"""From the first byte that goes up, or from the order to copy, to the answer: of 64 MiB at least 110 kB/s."""

_RETRIES: Final = {
    "max_retries": 8,
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=10), "base": 2},
    "retry_timeout": timedelta(seconds=120),
}

PATIENCE_S: Final = 120.0
"""How long a request is repeated of which nothing comes, in seconds."""

FIRST_PATIENCE_S: Final = 15.0
"""As long as a store has never answered this process: then its address is wrong more often than it is away. And for
http(s), where each clip may name another host."""

LONGEST_PAUSE_S: Final = 5.0

_REFUSED: Final = re.compile(r"status code: (?!408|429)[34]\d\d|Received redirect")
"""How the library tells an answer that another try will not change, where it has no exception of its own for it."""

_NO_CREDENTIALS: Final = re.compile(
    r"\b(ExpiredToken|InvalidToken|TokenRefreshRequired|RequestTimeTooSkewed|InvalidAccessKeyId|SignatureDoesNotMatch)\b"
)
"""What S3 says where no object at all would be given."""


class Changed(OSError):
    """A conditional write was refused: the object is there already, or is not the one that it was."""


class Refused(OSError):
    """The store has answered, and would answer the same again."""


class Unreachable(OSError):
    """The store does not answer; another object would fare no better."""


class NoCredentials(Unreachable):
    """The store takes no credentials of ours, or no longer."""


class Patience:
    """How long one request is repeated: until nothing has come of it for PATIENCE_S.

    Parameters
    ----------
    url : the object.
    patience_s : seconds, where they are fewer.
    """

    def __init__(self, url: Url, patience_s: float = PATIENCE_S) -> None:
        self._place = (url.scheme, url.bucket)
        self._patience_s = min(patience_s, FIRST_PATIENCE_S) if url.scheme in HTTP_SCHEMES else patience_s
        self._since, self._tries = time.monotonic(), 0

    def renew(self) -> None:
        """Something has come."""
        _answered.add(self._place)
        self._since, self._tries = time.monotonic(), 0

    def wait(self, error: OSError) -> None:
        """Wait before the next try, or raise the error where there is none."""
        if isinstance(error, Changed | Refused | Unreachable | FileNotFoundError | PermissionError):
            raise error
        patience_s = self._patience_s if self._place in _answered else min(self._patience_s, FIRST_PATIENCE_S)
        if time.monotonic() - self._since > patience_s:
            raise Unreachable(str(error)) from None
        time.sleep(min(LONGEST_PAUSE_S, 0.2 * 2**self._tries))
        self._tries += 1


_answered: set[tuple[str, str]] = set()
"""Stores that have answered this process."""


def again(url: Url, ask: Callable[[], T], *, patience_s: float = PATIENCE_S) -> T:
    """Ask until there is an answer, or a failure that asking again will not mend."""
    patience = Patience(url, patience_s)
    while True:
        try:
            with told(url):
                answer = ask()
        except OSError as error:
            patience.wait(error)
        else:
            patience.renew()
            return answer


def store(url: Url, *, timeout: str | None = None) -> ObjectStore:
    """The library's connection to a bucket, kept for the next request; READ_TIMEOUT where no other is given."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return _connected(url.scheme, url.bucket, endpoint if url.scheme == "s3" else "", timeout or READ_TIMEOUT)


@lru_cache(maxsize=32)
def _connected(scheme: str, bucket: str, endpoint: str, timeout: str) -> ObjectStore:
    from obstore.store import from_url

    plain = scheme == "http" or endpoint.lower().startswith("http://")
    options = {"allow_http": plain, "timeout": NO_TIMEOUT, "read_timeout": timeout, "connect_timeout": "10s"}
    named = {"endpoint": endpoint} if endpoint else {}
    where = f"{scheme}://{bucket}"
    made = from_url(where, client_options=options, retry_config=_RETRIES, **named, **_profile(scheme))
    return cast("ObjectStore", made)


def _profile(scheme: str) -> dict[str, Any]:
    """Credentials of the profile that AWS_PROFILE names, which is for boto3 to read; keys in the environment win."""
    if scheme != "s3" or "AWS_PROFILE" not in os.environ or "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise ConfigError("AWS_PROFILE: profiles need boto3, which is not installed: pip install boto3") from None
    return {"credential_provider": Boto3CredentialProvider()}


def require_library(url: Url) -> None:
    """Refuse a URL where the library that reads it is not installed.

    Raises
    ------
    ConfigError : says how to install it.
    """
    try:
        import obstore  # noqa: F401
    except ImportError:
        raise ConfigError(f"{url}: needs obstore, which is not installed: pip install 'colcap[s3]'") from None


@contextmanager
def told(url: Url) -> Iterator[None]:
    """The library's failures as OSErrors that name the object, in one line, without its debug output."""
    from obstore import exceptions as failures

    try:
        yield
    except (failures.AlreadyExistsError, failures.PreconditionError):
        raise Changed(f"{url}: was written by somebody else") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"{url}: no such object") from None
    except failures.BaseError as error:
        raise _kind(error)(f"{url}: {_first_line(error)}") from None


def _kind(error: Exception) -> type[OSError]:
    from obstore import exceptions as failures

    if isinstance(error, failures.UnauthenticatedError) or _NO_CREDENTIALS.search(str(error)):
        return NoCredentials
    if isinstance(error, failures.PermissionDeniedError):
        return PermissionError
    return Refused if _REFUSED.search(str(error)) else OSError


def _first_line(error: Exception) -> str:
    return printable(without_secrets(str(error).split("\n", 1)[0]))[:400]
