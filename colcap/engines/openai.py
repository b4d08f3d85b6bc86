"""Any server with OpenAI's API as an engine: `vllm serve`, SGLang, or a hosted one."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from av.error import FFmpegError

from colcap.engines import openai_terms as terms
from colcap.engines.base import EngineStats, Generation, Request, Sampling
from colcap.errors import ConfigError, EngineError, RowError, printable
from colcap.server import Server

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")

FAILURES: Final = 8
"""Requests given up one after the other, none answered between them, after which the server is taken for broken."""

REFUSALS: Final = 16
"""Requests rejected before any was answered, after which it is not the requests' fault."""

FIRST_WAIT_S: Final = 0.5
"""Before the first retry; it doubles with each, and varies so that requests don't come back all at once."""

LONGEST_WAIT_S: Final = 30.0

CONNECT_S: Final = 10.0

MAX_WORDS: Final = 1000
"""Most characters of a server's words that a message repeats."""

NO_KEY: Final = "none"
"""What a server gets that needs no key; the client insists on one."""

NO_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType({})


def check_available(server: Server, *, fp8: bool = False, named: Callable[[str], str] = str) -> None:
    """Refuse, before any work, what cannot work: options that are missing, a server that is not there.

    Parameters
    ----------
    server : where it is.
    fp8 : whether the weights are to be quantized.
    named : what whoever chose a parameter calls it.

    Raises
    ------
    ConfigError : the client is not installed, there is no address, or fp8 is asked of a server.
    EngineError : the server cannot be reached, or refuses the key.
    """
    if find_spec("openai") is None:
        raise ConfigError("the engine openai needs the package of that name: pip install 'colcap[openai]'")
    if server.api_base is None:
        raise ConfigError(f"{named('server.api_base')}: the engine openai needs it, such as http://localhost:8000/v1")
    if fp8:
        raise ConfigError(f"{named('fp8')}: the server decides about its weights; leave it out with the engine openai")
    with ThreadPoolExecutor(1) as thread:  # a notebook has a running loop in this one
        thread.submit(asyncio.run, _greet(server)).result()


async def _greet(server: Server) -> None:
    connection = _Connection(server)
    async with connection.client:
        await connection.greet()


class OpenAIEngine:
    """Answers requests by asking a server.

    Parameters
    ----------
    model : the server's name for the model.
    server : where it is, and how it is asked.
    options : further fields of each request.

    Raises
    ------
    EngineError : the server cannot be reached, or refuses the key.
    ConfigError : what the environment has as a key can be none.
    """

    def __init__(self, model: str, server: Server, *, options: Mapping[str, Any] = NO_OPTIONS) -> None:
        self.model = model
        self.revision: str | None = None  # a server does not say
        self._server, self._options = server, dict(options)
        self._connection = _Connection(server)
        self._broken: str | None = None
        self._failures = self._answered = self._refused = 0
        self._closed, self._gate = False, threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="openai engine", daemon=True)
        self._thread.start()
        try:
            self._submit(self._connect()).result()
        except BaseException:  # Ctrl-C among them
            self.close()
            raise
        self.stats = EngineStats()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """Answer requests; see `Engine.generate`."""
        self.stats.begin(len(requests))
        futures: list[Future[Generation]] = []
        answers: list[Generation] = []
        try:
            for request in requests:  # frames are compressed here, while the first ones are on their way
                futures.append(self._ask(request, sampling))
            answers = [future.result() for future in futures]
        except CancelledError:
            raise EngineError(self._broken or "the engine was closed before it had answered") from None
        finally:
            for future in futures:
                future.cancel()
            self.stats.end(len(requests), output_tokens=sum(answer.output_tokens or 0 for answer in answers))
        return answers

    def close(self) -> None:
        """Leave the server; whoever waits for an answer gets an EngineError."""
        with self._gate:
            if not self._closed:
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._closed = True
        self._thread.join()

    def _ask(self, request: Request, sampling: Sampling) -> Future[Generation]:
        """Send a request; where its frames cannot be compressed, that is its answer."""
        try:
            body = self._body(request, sampling)
        except (FFmpegError, RowError) as error:
            refused: Future[Generation] = Future()
            failed = error if isinstance(error, RowError) else RowError("rejected", f"its frames: {error}")
            refused.set_result(Generation(error=failed))
            return refused
        return self._submit(self._answer(body))

    def _body(self, request: Request, sampling: Sampling) -> dict[str, Any]:
        asked = terms.body(request, sampling, model=self.model, server=self._server, dialect=self._dialect)
        return {**asked, "extra_body": {**asked["extra_body"], **self._options}}

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._gate:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise EngineError(self._broken or "the engine is closed")

    # ---- on the loop's thread

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _connect(self) -> None:
        self._room = asyncio.Semaphore(self._server.max_concurrent_requests)
        self._dialect = await self._connection.greet()

    async def _end(self) -> None:
        asking = asyncio.all_tasks() - {asyncio.current_task()}
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await self._connection.client.close()

    async def _answer(self, body: Mapping[str, Any]) -> Generation:
        """Ask, and ask again while that makes sense."""
        async with self._room:
            started = time.monotonic()
            for attempt in itertools.count():
                found = await self._try(body)
                if isinstance(found, Generation):
                    return replace(found, seconds=time.monotonic() - started)
                if not found.again or attempt == self._server.max_retries:
                    return self._give_up(found)
                await asyncio.sleep(_wait_s(found, attempt))
        raise AssertionError("unreachable")

    async def _try(self, body: Mapping[str, Any]) -> Generation | terms.Trouble:
        if self._broken is not None:
            raise EngineError(self._broken)
        timeout_s = self._server.request_timeout_s
        try:
            async with asyncio.timeout(timeout_s):  # the client's own is for each piece of an answer
                said = await self._connection.client.chat.completions.create(**body)
                answer = terms.generation(said, clean=self._connection.without_key, max_tokens=body["max_tokens"])
        except TimeoutError:
            return terms.Trouble(f"no answer in {timeout_s:g} s: raise request_timeout_s, or ask fewer at once")
        except RowError as error:
            return Generation(error=error)
        except Exception as error:
            return terms.trouble(error)
        self._failures, self._answered = 0, self._answered + 1
        return answer

    def _give_up(self, found: terms.Trouble) -> Generation:
        """A row that says why, or the end of the run where no other request would fare better."""
        if found.row_kind == "engine_failed":
            self._failures += 1
        else:
            self._failures = 0
            self._refused += found.row_kind == "rejected"
        all_refused = self._refused >= REFUSALS and not self._answered
        if found.stops or self._failures >= FAILURES or all_refused:
            self._broken = self._connection.advice(found.text)
            raise EngineError(self._broken)
        return Generation(error=RowError(found.row_kind, self._connection.clean(found.text)))


def _wait_s(found: terms.Trouble, attempt: int) -> float:
    """As long as the server asks for, else longer with each attempt."""
    if found.wait_s is not None:
        return found.wait_s
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**attempt) * random.uniform(0.75, 1.25)


class _Connection:
    """A client of one server, and the key that must not be told."""

    def __init__(self, server: Server) -> None:
        import openai

        from colcap.engines.bounded import bound

        assert server.api_base is not None
        self._server = server
        self._key = _key(server.api_key_env)
        self._key_forms = _forms(self._key)
        self.client: AsyncOpenAI = openai.AsyncOpenAI(
            base_url=server.api_base,
            api_key=self._key,
            max_retries=0,
            timeout=openai.Timeout(server.request_timeout_s, connect=CONNECT_S),
            default_headers={"Accept-Encoding": "identity"},
            http_client=openai.DefaultAsyncHttpxClient(
                follow_redirects=False,  # the key goes where it was sent
                event_hooks={"response": [bound]},
            ),
        )

    async def greet(self) -> terms.Dialect:
        """Ask which models there are, and so whose server it is.

        Raises
        ------
        EngineError : it cannot be reached, refuses the key, or is not ready for as long as a request would be tried.
            Some servers have no such list: that is no error.
        """
        import openai

        for attempt in itertools.count():
            last = attempt == self._server.max_retries
            try:
                return await self._greet()
            except TimeoutError:
                raise EngineError(self.advice(f"no answer in {CONNECT_S:g} s")) from None
            except Exception as error:
                found = terms.trouble(error)
                if found.stops or (last and isinstance(error, openai.APIError)):
                    raise EngineError(self.advice(found.text)) from None
                if last or not found.again:
                    return terms.Dialect(is_vllm=False)
            await asyncio.sleep(_wait_s(found, attempt))
        raise AssertionError("unreachable")

    async def _greet(self) -> terms.Dialect:
        import openai

        try:
            async with asyncio.timeout(CONNECT_S):
                models = await self.client.models.list()
        except openai.APIStatusError as error:
            if error.status_code in terms.WRONG_ADDRESS:
                return terms.Dialect(is_vllm=False)
            raise
        listed = getattr(models, "data", None)
        return terms.Dialect(any(getattr(each, "owned_by", None) == "vllm" for each in listed or ()))

    def advice(self, text: str) -> str:
        """Why the run stops, and what to do."""
        return (
            f"{self._server.api_base}: {self.clean(text)}\n"
            "Start the server, or correct api_base, model_variant or the key in the environment variable "
            f"{self._server.api_key_env}; the same command then goes on from here."
        )

    def clean(self, text: str) -> str:
        """A server's words as a message, cut once the key is out of them: half a key is a secret too."""
        return printable(self.without_key(text))[:MAX_WORDS]

    def without_key(self, text: str) -> str:
        """A server's words, without the key should it repeat it, as it is or escaped."""
        return text if self._key == NO_KEY else self._key_forms.sub("[key]", text)


def _key(variable: str) -> str:
    """The key in an environment variable, without the line end that a file may have left there."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{variable}: the key in this environment variable has characters that no key can have")
    return key or NO_KEY


def _forms(key: str) -> re.Pattern[str]:
    r"""How a server may repeat a key: as it is, or escaped as in JSON (`\/`, `\u002b`) or in a URL (`%2B`)."""
    return re.compile("".join(rf"(?:\\?{re.escape(c)}|(?i:\\u{ord(c):04x}|%{ord(c):02x}))" for c in key))
