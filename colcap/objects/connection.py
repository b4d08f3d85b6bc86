"""How a store is reached: connections, retries, and failures in our words.

Credentials, region and endpoint come from the environment that each store's own tools use (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL, the machine's role, …). Nothing here takes
them as an argument, keeps or prints them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from colcap.errors import ConfigError, printable
from colcap.objects.url import Url
from colcap.secrets import without_secrets

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")

TIMEOUT: Final = "60s"
"""Of one request; an answer that breaks off is asked for again from where it broke."""

_RETRIES: Final = {
    "max_retries": 8,
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=10), "base": 2},
    "retry_timeout": timedelta(seconds=120),
}
_TRIES: Final = 5
"""Of what the library doesn't repeat by itself: a conditional write, and an answer that breaks off in its body."""

_GIVE_UP_S: Final = 60.0
"""After so many seconds the library has repeated it often enough."""


class Changed(OSError):
    """A conditional write was refused: the object is there already, or is not the one that it was."""


def again(url: Url, ask: Callable[[], T]) -> T:
    """Ask until there is an answer, or a failure that asking again will not mend."""
    started = time.monotonic()
    for attempt in range(_TRIES):
        try:
            with told(url):
                return ask()
        except (Changed, FileNotFoundError, PermissionError):
            raise
        except OSError:
            if attempt + 1 == _TRIES or time.monotonic() - started > _GIVE_UP_S:
                raise
            time.sleep(0.2 * 2**attempt)
    raise AssertionError


def store(url: Url) -> ObjectStore:
    """The library's connection to a bucket, kept for the next request."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return _connected(url.scheme, url.bucket, endpoint if url.scheme == "s3" else "")


@lru_cache(maxsize=32)
def _connected(scheme: str, bucket: str, endpoint: str) -> ObjectStore:
    from obstore.store import from_url

    plain = scheme == "http" or endpoint.lower().startswith("http://")
    options = {"allow_http": plain, "timeout": TIMEOUT, "connect_timeout": "10s"}
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
    except (failures.PermissionDeniedError, failures.UnauthenticatedError) as error:
        raise PermissionError(f"{url}: {_first_line(error)}") from None
    except failures.BaseError as error:
        raise OSError(f"{url}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return printable(without_secrets(str(error).split("\n", 1)[0]))[:400]
