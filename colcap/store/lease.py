"""The one writer of a run on an object store: an object that it renews, since a store has no locks.

The object says who writes, and every renewal is a conditional write: it succeeds only if nobody else wrote it since.
Whoever wants to write and finds it there watches it for LEASE_S seconds. If it changes, its owner is alive; if it does
not, its owner is dead or cut off, and it is taken over, again by a conditional write, so that only one can. No clock
is compared with another machine's.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Final

from colcap import objects
from colcap.errors import RunError
from colcap.objects import NEW, Changed, Url

log = logging.getLogger(__name__)

LEASE_S: Final = 30.0
"""A writer that has not renewed its lease for so long may be taken for dead."""

RENEW_S: Final = 10.0
"""How often it is renewed."""


class Lease:
    """The right to write a run, held until `release` or until it is lost.

    Parameters
    ----------
    url : the object.
    owner : who asks; a lease of the same owner is taken over at once.
    lease_s : silence after which the owner is taken for dead, in seconds.
    renew_s : time between renewals, in seconds.

    Raises
    ------
    RunError : another process writes the run.
    OSError : the store cannot be asked.
    """

    def __init__(self, url: Url, owner: str, *, lease_s: float, renew_s: float) -> None:
        self._url, self._owner, self._lease_s, self._renew_s = url, owner, lease_s, renew_s
        self.ident = secrets.token_hex(16)
        self._beats, self._lock, self._done = 0, threading.Lock(), threading.Event()
        self._lost = False
        self._etag = self._acquire()
        self._renewed = _now()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Refuse to go on where another may have taken over.

        Raises
        ------
        RunError : another process has.
        OSError : that cannot be found out.
        """
        if self._lost or _now() - self._renewed > self._lease_s / 2:
            self._renew(patience_s=objects.PATIENCE_S)

    def release(self) -> None:
        """Let others write at once."""
        self._done.set()
        self._thread.join()
        with suppress(OSError, RunError):
            self._renew(released=True)

    def _acquire(self) -> str:
        try:
            return objects.put(self._url, self._body(), only_if=NEW)
        except Changed:
            pass
        data, etag = objects.read_with_etag(self._url)
        said = _parsed(data)
        if not said.get("released") and said.get("owner") != self._owner:
            self._wait_for(etag, said)
        try:
            return objects.put(self._url, self._body(), only_if=etag)
        except Changed:
            raise self._taken(said) from None

    def _wait_for(self, etag: str, said: dict[str, Any]) -> None:
        """Return when the owner has been silent for as long as makes it dead."""
        who = f"process {said.get('pid', '?')} on {said.get('host', '?')}"
        log.warning("%s: looking for up to %g s whether its writer (%s) is alive", self._url.parent, self._lease_s, who)
        deadline = _now() + self._lease_s
        while _now() < deadline:
            time.sleep(min(1.0, self._lease_s / 10))
            there = objects.head(self._url)
            if there is None or there.etag != etag:
                raise self._taken(said)

    def _taken(self, said: dict[str, Any]) -> RunError:
        who = f"process {said.get('pid', '?')} on {said.get('host', '?')}"
        return RunError(f"{self._url.parent}: another colcap process is writing this run ({who}); stop it first")

    def _keep(self) -> None:
        while not self._done.wait(self._renew_s):
            with suppress(OSError, RunError):  # `check` tells it, in the thread that wants to write
                self._renew()

    def _renew(self, *, released: bool = False, patience_s: float = RENEW_S) -> None:
        with self._lock:
            if self._lost:
                raise RunError(f"{self._url.parent}: another colcap process has taken this run over")
            asked = _now()
            try:
                body = self._body(released=released)
                self._etag = objects.put(self._url, body, only_if=self._etag, patience_s=patience_s)
            except Changed:
                self._lost = True
                raise RunError(f"{self._url.parent}: another colcap process has taken this run over") from None
            self._renewed = asked

    def _body(self, *, released: bool = False) -> bytes:
        self._beats += 1
        said = {
            "owner": self._owner,
            "ident": self.ident,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "beats": self._beats,
        }
        return json.dumps({**said, "released": released}).encode()


class BorrowedLease:
    """The lease of a writer, as a process sees it that works for that writer on another machine.

    Parameters
    ----------
    url : the object.
    ident : of the writer's `Lease`.
    """

    def __init__(self, url: Url, ident: str) -> None:
        self._url, self.ident = url, ident

    def check(self) -> None:
        """Refuse to go on for a writer that has lost the run, or has ended.

        Raises
        ------
        RunError : it has.
        OSError : that cannot be found out.
        """
        said = _parsed(objects.read(self._url))
        if said.get("ident") != self.ident or said.get("released"):
            raise RunError(f"{self._url.parent}: another colcap process has taken this run over")


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _now() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
