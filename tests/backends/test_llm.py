"""The llm backend against a real HTTP server on this machine."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anyio
import pytest

from factory_mcp.backends.llm_attempt import UNSEEN
from factory_mcp.backends.texts import LARGEST
from factory_mcp.domain.errors import BackendRejected, BackendTimeout
from factory_mcp.domain.model import Progress, SideEffects, Usage
from tests.backends.llm_talk import KEY, THINKER, Talk, chunk, stream
from tests.fakes import FakeClock
from tests.real.droid_program import GUARD_S
from tests.real.fake_model import Fail, FakeModel, Hang, Raw, Reply, Slow, text_of

SAID = chunk("hello")
STOP = chunk(finish="stop")


@pytest.fixture
def talk() -> Iterator[Talk]:
    with FakeModel(lambda _: "hello", toolless=True) as model:
        yield Talk(model)


# -------------------------------------------------------------------------- what it does


@pytest.mark.requirement("LLM-1")
async def test_prompt_and_task_arrive_and_the_answer_comes_back_with_its_tokens(talk: Talk) -> None:
    """What neither JSON nor a store can take is replaced on both ways."""
    talk.says(
        stream(
            chunk("he"),
            chunk("l\ud800lo\u2028"),
            STOP,
            {"usage": {"prompt_tokens": 7, "completion_tokens": 2}},
        )
    )

    outcome = await talk.run(prompt="design\0 it \ud800")

    asked = talk.model.requests[0]
    assert ("hel\ufffdlo\u2028", Usage(input_tokens=7, output_tokens=2)) == (
        outcome.text,
        outcome.usage,
    )
    assert ("fake", True) == (asked.body["model"], asked.body["stream"])
    assert f"Bearer {KEY}" == {k.lower(): v for k, v in asked.headers.items()}["authorization"]
    assert ["system", "user"] == [message["role"] for message in asked.messages]
    assert text_of(asked.messages[0]).startswith("You design.\n\nYou run without any tool")
    assert "design\ufffd it \ufffd" == text_of(asked.messages[1])


@pytest.mark.requirement("LLM-2")
async def test_an_answer_says_that_nobody_looked_at_the_workspace(talk: Talk) -> None:
    """And which model gave it, where the spec names another; no session, no side effects."""
    plain = await talk.run()
    other = await talk.run(replace(THINKER, model="sonnet"))

    assert (UNSEEN,) == plain.warnings
    assert (UNSEEN, "answered by fake; the droid's spec names sonnet") == other.warnings
    assert (None, SideEffects.NONE, ()) == (
        plain.session_id,
        plain.side_effects,
        plain.changed_paths,
    )


@pytest.mark.requirement("LLM-1")
async def test_a_server_that_knows_no_token_counts_is_asked_without(talk: Talk) -> None:
    """None are invented then."""
    unknown = {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}
    talk.says(Raw(json.dumps(unknown).encode(), 422, "application/json"), stream(SAID, STOP))

    outcome = await talk.run()

    assert ("hello", Usage()) == (outcome.text, outcome.usage)
    assert [True, False] == ["stream_options" in asked.body for asked in talk.model.requests]


@pytest.mark.requirement("LLM-10")
async def test_a_session_is_not_resumed(talk: Talk) -> None:
    """There is none; a new conversation would pretend to know the old one."""
    error = await talk.error(session_id="s")

    assert (BackendRejected, []) == (type(error), talk.model.requests)
    assert "Leave session_id out" in error.remedy


@pytest.mark.requirement("LLM-9")
async def test_a_prompt_that_leaves_no_room_is_not_sent(talk: Talk) -> None:
    """Some servers would cut it in silence; without a known window it is theirs to say."""
    error = await talk.error(endpoint={"context_tokens": 2000}, prompt="x" * 4500)
    outcome = await talk.run(endpoint={"context_tokens": 2000}, prompt="x" * 3500)

    assert "backend_context_too_long" == error.code
    assert ("hello", 1) == (outcome.text, len(talk.model.requests))


# ----------------------------------------------------------------- what a provider refuses


@pytest.mark.requirement("LLM-3")
@pytest.mark.parametrize(
    ("reply", "code", "counts", "retry"),
    [
        (Fail(400), "backend_rejected", False, False),
        (Fail(401), "backend_unauthorized", False, False),
        (Fail(402), "backend_quota", False, False),
        (Fail(403), "backend_unauthorized", False, False),
        (Fail(404), "backend_missing", False, False),
        (Fail(404, "The model `m` does not exist"), "backend_wrong_model", False, False),
        (Fail(404, 'model "m" not found, try pulling it'), "backend_wrong_model", False, False),
        (Fail(400, "maximum context length is 8192"), "backend_context_too_long", False, False),
        (Fail(400, "exceeds the available context size"), "backend_context_too_long", False, False),
        (Fail(408), "backend_unavailable", True, True),
        (Fail(409), "backend_unavailable", True, True),
        (Fail(425), "backend_unavailable", True, True),
        (Fail(429), "backend_overloaded", True, False),
        (Fail(429, "insufficient_quota"), "backend_quota", False, False),
        (Fail(418), "backend_rejected", False, False),
        (Fail(500), "backend_unavailable", True, True),
        (Fail(503), "backend_unavailable", True, True),
        (Fail(529), "backend_overloaded", True, False),
        (Fail(301), "backend_missing", False, False),
        (Raw(b"<html>502</html>", 502, "text/html"), "backend_unavailable", True, True),
        (
            Raw(b'[{"error": {"message": "no"}}]', 400, "text/json"),
            "backend_rejected",
            False,
            False,
        ),
        (Raw(b"{}", 200, "application/json"), "backend_garbage", True, False),
        (Raw(b"hello", 200, "text/plain"), "backend_garbage", True, False),
        (
            Raw(b'{"error": {"code": 429, "message": "slow"}}', 200, "application/json"),
            "backend_overloaded",
            True,
            False,
        ),
    ],
)
async def test_each_refusal_has_its_class(
    talk: Talk, reply: Reply, code: str, *, counts: bool, retry: bool
) -> None:
    """Whose fault it is and whether to ask again; the provider is asked once, whatever it says."""
    talk.says(reply)

    error = await talk.error()

    assert (code, counts, retry) == (error.code, error.counts, error.retry)
    assert (1, Progress(state="thinking")) == (len(talk.model.requests), error.evidence)


@pytest.mark.requirement("LLM-4")
@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("Fri, 15 Jan 2027 08:00:09 GMT", 9),  # the clock of the tests stands at 08:00:00
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
        ("soon", None),
        ("inf", None),
        (None, None),
    ],
)
async def test_a_wait_that_is_asked_for_is_handed_on(
    talk: Talk, asked: str | None, seconds: float | None
) -> None:
    """The chain decides whether to wait for it."""
    talk.says(Fail(429, headers={"retry-after": asked} if asked else {}))

    assert seconds == (await talk.error()).retry_after_s


@pytest.mark.requirement("LLM-8")
async def test_the_key_goes_nowhere_else(talk: Talk) -> None:
    """Not to where a redirect points, and not into a message that quotes it."""
    with FakeModel(lambda _: "caught", toolless=True) as elsewhere:
        talk.says(Fail(307, headers={"location": f"{elsewhere.url}/chat/completions"}))
        redirected = await talk.error()
        talk.says(Fail(401, f"Incorrect API key provided: {KEY}"))
        quoted = await talk.error()

    assert ("backend_missing", []) == (redirected.code, elsewhere.requests)
    assert (
        "the model's server answered 401: Incorrect API key provided: [REDACTED]" == quoted.message
    )
    assert KEY not in repr(talk.endpoint)


@pytest.mark.requirement("LLM-8")
async def test_no_proxy_gets_what_stays_on_this_machine(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy could not reach our loopback anyway."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    assert "hello" == (await talk.run()).text


@pytest.mark.requirement("LLM-3")
@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("http://127.0.0.1:9", "backend_unavailable", "cannot be reached (nothing listens there)"),
        ("https://127.0.0.1:{port}", "backend_missing", "no TLS that can be trusted"),
        ("ftp://127.0.0.1", "backend_missing", "not http or https"),
    ],
)
async def test_a_server_that_is_not_there_is_named(
    talk: Talk, url: str, code: str, words: str
) -> None:
    """Refused, without TLS, or no address at all."""
    error = await talk.error(endpoint={"url": url.format(port=talk.model.port)})

    assert code == error.code
    assert words in error.message


# ------------------------------------------------------------------- how an answer arrives


@pytest.mark.requirement("LLM-5")
@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (stream(SAID, end=""), "backend_unavailable"),
        (stream(SAID, STOP, length=9999), "hello"),  # only its end was missing
        (stream(SAID, length=9999, end=""), "backend_unavailable"),
        (stream("data: {nope\n\n"), "backend_garbage"),
        (stream("data: [1]\n\n"), "backend_garbage"),
        (stream(f"data: {'[' * 100_000}\n\n"), "backend_garbage"),
        (Raw(b"data: \xff\n\n"), "backend_garbage"),
        (Raw(b"data: " + b"x" * (2 << 20)), "backend_garbage"),
        (Raw(b"data: x\n" * (200 << 10)), "backend_garbage"),
        (stream(SAID, {"error": {"message": "the engine fell over"}}), "backend_unavailable"),
        (stream({"error": {"message": "Overloaded", "type": "x"}}), "backend_overloaded"),
        (stream({"error": "prompt is too long"}), "backend_context_too_long"),
        (Raw(b""), "backend_unavailable"),
        # What is unusual but sound.
        (stream(": keep-alive\n\n", "event: x\nid: 1\n", SAID, STOP), "hello"),
        (stream(SAID, STOP, end=""), "hello"),
        (stream(SAID, end='data:{"choices": [{"finish_reason": "stop"}]}'), "hello"),
        (
            Raw(
                b'data: {"choices": [{"delta":\r\ndata: {"content": "hello"}}]}\r\n'
                b"\r\ndata: [DONE]\r\n\r\n"
            ),
            "hello",
        ),
        (stream(chunk([{"type": "text", "text": "hello"}]), STOP), "hello"),
        (
            stream({"choices": None, "usage": {"prompt_tokens": "x"}}, "data:\n\n", SAID, STOP),
            "hello",
        ),
        (stream({"choices": [{"index": 1, "delta": {"content": "no"}}]}, SAID, STOP), "hello"),
    ],
)
async def test_a_stream_is_an_answer_or_an_error(talk: Talk, reply: Reply, code: str) -> None:
    """Whatever is cut, malformed or endless is never taken for an answer."""
    talk.says(reply)
    if code == "hello":
        assert code == (await talk.run()).text
    else:
        assert code == (await talk.error()).code


@pytest.mark.requirement("LLM-6")
@pytest.mark.parametrize(
    ("events", "ended"),
    [
        (
            [SAID, chunk(finish="length")],
            "partial: the answer was cut at the model's limit of tokens",
        ),
        ([SAID], "partial: why the answer ended is not known (finish_reason None)"),
        (
            [SAID, chunk(finish=["odd"])],
            "partial: why the answer ended is not known (finish_reason ['odd'])",
        ),
        ([SAID, chunk(finish="content_filter")], "backend_rejected"),
        ([SAID, chunk(finish="tool_calls")], "backend_garbage"),
        ([chunk(tool_calls=[{"index": 0}]), STOP], "backend_garbage"),
        ([SAID, chunk(finish="insufficient_system_resource")], "backend_unavailable"),
        ([chunk(refusal="I will not"), STOP], "backend_rejected"),
        ([chunk(reasoning_content="hm"), chunk(" ", "length")], "backend_garbage"),
        ([STOP], "backend_garbage"),
    ],
)
async def test_how_an_answer_ended_is_told(talk: Talk, events: list[Any], ended: str) -> None:
    """A cut answer is called partial; a withheld or an empty one is no answer."""
    talk.says(stream(*events))
    if ended.startswith("partial"):
        assert (UNSEEN, ended) == (await talk.run()).warnings
    else:
        assert ended == (await talk.error()).code


@pytest.mark.requirement("LLM-5")
async def test_an_oversize_answer_is_cut_and_says_so(talk: Talk) -> None:
    """No more of it is read than is kept."""
    talk.says(stream(*[chunk("x" * (900 << 10))] * 6, hold=True))

    outcome = await talk.run()

    assert LARGEST == len(outcome.text)
    assert "partial: the answer had" in outcome.warnings[-1]


# -------------------------------------------------------------------------------- its time


@pytest.mark.requirement("LLM-7")
@pytest.mark.parametrize(
    ("reply", "state", "seconds", "why"),
    [
        (Hang(), "starting", 300, "was silent for 300 s"),
        (
            stream(SAID, ": keep-alive\n\n" * 9, end="", hold=True),
            "writing",
            300,
            "was silent for 300 s",
        ),
        (stream(SAID, end="", hold=True), "writing", 400, "did not finish in time"),
        (Raw(b"", 500, hold=True), "thinking", 300, "was silent for 300 s"),
    ],
)
async def test_silence_and_the_deadline_end_an_attempt(
    talk: Talk, reply: Reply, state: str, seconds: float, why: str
) -> None:
    """It is reported every ten seconds until then, and the connection is closed."""
    clock = talk.clock = FakeClock()
    talk.says(reply)
    idle_s = 300 if seconds == 300 else 1000
    errors: list[Any] = []

    async def attempt() -> None:
        droid = replace(THINKER, idle_s=idle_s)
        errors.append(await talk.error(droid, deadline=clock.monotonic() + 400))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(attempt)
        await anyio.to_thread.run_sync(talk.model.wait_until_asked)
        await talk.until(state)
        for _ in range(round(seconds / 10)):
            before = len(talk.reports.seen)
            clock.advance(10)
            with anyio.fail_after(GUARD_S):
                while not errors and len(talk.reports.seen) == before:  # noqa: ASYNC110 — as until
                    await anyio.sleep(0.001)

    assert (BackendTimeout, f"the model's server {why}") == (type(errors[0]), errors[0].message)
    assert state == errors[0].evidence.state
    assert talk.model.gone.wait(GUARD_S)


@pytest.mark.requirement("LLM-7")
async def test_a_server_that_does_not_hang_up_after_its_answer_costs_five_seconds(
    talk: Talk,
) -> None:
    """The answer is whole; only its token counts could still come."""
    clock = talk.clock = FakeClock(auto=True)
    began = clock.monotonic()
    talk.says(stream(SAID, STOP, end="", hold=True))

    outcome = await talk.run(replace(THINKER, idle_s=1e9))

    assert "hello" == outcome.text
    assert clock.monotonic() - began >= 5


@pytest.mark.requirement("LLM-7")
async def test_what_it_does_is_reported_as_it_changes(talk: Talk) -> None:
    """Thinking comes before writing."""
    talk.says(Slow(["a", "b"], 0.01))

    await talk.run()

    assert ["starting", "thinking", "writing"] == talk.states


@pytest.mark.requirement("LLM-13")
def test_httpx_is_not_imported_before_it_is_used() -> None:
    """It would slow every start of the server."""
    program = "import sys, factory_mcp.app; print('httpx' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "False" == done.stdout.strip()
