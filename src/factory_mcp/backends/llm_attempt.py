"""One attempt with a model: ask, listen, and judge what was said."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

import anyio
import anyio.to_thread
import httpx

from factory_mcp.backends import llm_errors, llm_http, texts
from factory_mcp.backends.llm_endpoint import Endpoint
from factory_mcp.backends.llm_stream import Answer, Events
from factory_mcp.domain.errors import (
    BackendContextTooLong,
    BackendError,
    BackendRejected,
    BackendTimeout,
)
from factory_mcp.domain.model import Outcome, Progress
from factory_mcp.domain.packing import tokens
from factory_mcp.ports import Clock, Report, Work
from factory_mcp.telemetry import log

UNSEEN: Final = "partial: answered by a model without tools, which has not seen the workspace"

_ALONE: Final = (
    "You run without any tool: you can read no file, search nothing and execute nothing. Answer"
    " from this conversation alone. Where the answer depends on something that you cannot see,"
    " say what has to be looked up; never claim to have read, run or checked anything."
)
_USAGE: Final = "stream_options"
_TAIL_S: Final = 5
"""How long the token counts may come after the answer's end."""
_LARGEST_REFUSAL: Final = 64 << 10  # bytes
_FOR_THE_ANSWER: Final = 4096  # tokens of a window, or a quarter of a small one


class Attempt:
    """One attempt at one piece of work."""

    def __init__(self, endpoint: Endpoint, work: Work, report: Report, clock: Clock) -> None:
        self._endpoint, self._work, self._clock = endpoint, work, clock
        self._report = report
        self._answer = Answer()
        self._progress = Progress(state="starting")
        self._heard_at = clock.monotonic()
        self._failure: BackendError | None = None

    async def run(self, tick_s: float) -> Outcome:
        """Do the work, reporting at every change and at least every `tick_s` seconds.

        Raises:
            BackendError: With the last progress as evidence.
        """
        self._report(self._progress)
        client = await anyio.to_thread.run_sync(llm_http.client, self._endpoint)
        async with client, anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, tasks.cancel_scope, tick_s)
            self._failure = await self._converse(client)
            tasks.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure
        return self._outcome()

    # ------------------------------------------------------------------------- the talk

    async def _converse(self, client: httpx.AsyncClient) -> BackendError | None:
        """The whole talk; None if it ended well."""
        try:
            await self._ask(client)
        except BackendError as error:
            return self._told(error)
        except llm_http.FAILURES as error:
            return self._verdict(llm_errors.of_exception(error))
        return self._verdict(None)

    async def _ask(self, client: httpx.AsyncClient) -> None:
        question = self._question()
        try:
            await self._post(client, question | {_USAGE: {"include_usage": True}})
        except BackendRejected as error:
            # Some servers refuse what they do not know, and then there are no token counts.
            if _USAGE not in error.message:
                raise
            await self._post(client, question)

    def _question(self) -> dict[str, Any]:
        prompt = f"{self._work.droid.prompt.strip()}\n\n{_ALONE}".strip()
        system, task = texts.writable(prompt), texts.writable(self._work.prompt)
        self._check_room(tokens(system) + tokens(task))
        return {
            "model": self._endpoint.model,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": task},
            ],
            "stream": True,
        }

    def _check_room(self, needed: int) -> None:
        """Some servers cut a prompt that is too long in silence, and the model never knows."""
        window = self._endpoint.context_tokens
        if window is not None and needed > window - min(_FOR_THE_ANSWER, window // 4):
            raise BackendContextTooLong(
                f"the prompt has about {needed} tokens, which leaves no room for an answer in the"
                f" model's {window}"
            )

    async def _post(self, client: httpx.AsyncClient, question: dict[str, Any]) -> None:
        async with client.stream("POST", self._endpoint.chat, json=question) as response:
            self._heard("thinking")
            if response.status_code != HTTPStatus.OK:
                raise await self._refusal(response)
            await self._listen(response)

    async def _refusal(self, response: httpx.Response) -> BackendError:
        asked = response.headers.get("retry-after")
        wait_s = llm_errors.retry_after(asked, self._clock.now())
        said = await llm_http.body(response, _LARGEST_REFUSAL)
        return llm_errors.of_answer(response.status_code, said, wait_s)

    async def _listen(self, response: httpx.Response) -> None:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "text/event-stream":
            said = await llm_http.body(response, _LARGEST_REFUSAL)
            raise llm_errors.of_no_stream(kind, said)
        events = Events()
        async for piece in response.aiter_bytes():
            self._take(events.feed(piece))
            if self._answer.closed or self._answer.full:
                return
        self._take(events.end())

    def _take(self, events: Iterator[bytes]) -> None:
        """Comments are no events: they show that a proxy lives, not that the model does."""
        for event in events:
            self._answer.take(event)
            self._heard("writing" if self._answer.speaks else "thinking")

    def _heard(self, state: str) -> None:
        self._heard_at = self._clock.monotonic()
        if state != self._progress.state:
            self._progress = Progress(state=state)
            self._report(self._progress)

    async def _watch(self, attempt: anyio.CancelScope, tick_s: float) -> None:
        """Report while nothing happens, and end the attempt when its time is up."""
        while True:
            now = self._clock.monotonic()
            left = self._work.deadline - now
            patience_s = _TAIL_S if self._answer.complete else self._work.droid.idle_s
            idle_left = self._heard_at + patience_s - now
            if left <= 0 or idle_left <= 0:
                why = "did not finish in time" if left <= 0 else f"was silent for {patience_s:g} s"
                self._failure = self._verdict(llm_errors.fault(BackendTimeout, why))
                attempt.cancel()
                return
            await self._clock.sleep(min(tick_s, left, idle_left))
            self._report(self._progress)

    # ---------------------------------------------------------------------- its results

    def _verdict(self, cut_off: BackendError | None) -> BackendError | None:
        """How it ended; what follows the answer's end is only its token counts."""
        whole = cut_off is None or self._answer.complete
        error = self._answer.verdict() if whole else cut_off
        return None if error is None else self._told(error)

    def _told(self, error: BackendError) -> BackendError:
        """The error as it may be shown, with what is known of the attempt."""
        return type(error)(
            self._endpoint.hide(error.message),
            remedy=error.remedy,
            evidence=self._progress,
            retry_after_s=error.retry_after_s,
        )

    def _outcome(self) -> Outcome:
        text, warnings = texts.cut(texts.writable(self._answer.text))
        wanted = self._work.droid.model
        if wanted not in ("inherit", self._endpoint.model):
            warnings.append(f"answered by {self._endpoint.model}; the droid's spec names {wanted}")
        log.info("llm.answered", run_id=self._work.run_id, finish=self._answer.finish)
        return Outcome(
            text=text,
            usage=self._answer.usage,
            warnings=(UNSEEN, *self._answer.warnings(), *warnings),
        )
