"""What the llm backend makes of httpx's exceptions, pieces of a stream and lists of models."""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_mcp.backends import llm_check
from factory_mcp.backends.llm import LlmBackend
from factory_mcp.backends.llm_errors import EXCEPTIONS, of_exception
from factory_mcp.backends.llm_http import FAILURES
from factory_mcp.backends.llm_stream import Events
from factory_mcp.domain.errors import BackendError
from factory_mcp.ports import Check
from tests.backends.llm_talk import KEY, Talk
from tests.fakes import FakeClock
from tests.real.fake_model import Fail, FakeModel, Hang, Raw, Reply

# ------------------------------------------------------------------------------ exceptions


def _below(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _below(child)


@pytest.mark.requirement("LLM-14")
def test_every_exception_of_httpx_has_a_name_here() -> None:
    """All are caught; a new one that fits no row fails here. What they say is never shown."""
    public = {getattr(httpx, name) for name in httpx.__all__}
    raised = {thing for thing in public if isinstance(thing, type) and issubclass(thing, Exception)}
    assert raised <= {kind for failure in FAILURES for kind in _below(failure)}
    families = {httpx.HTTPError, httpx.RequestError, httpx.TransportError, httpx.ProtocolError}
    for kind in raised:
        error = of_exception(kind.__new__(kind, f"Bearer {KEY}"))
        assert isinstance(error, BackendError)
        assert KEY not in error.message
        named = {parent.__name__ for parent in kind.__mro__ if parent is not httpx.HTTPError}
        assert named & EXCEPTIONS.keys() or kind in families


@pytest.mark.requirement("LLM-14")
def test_a_name_that_nobody_knows_is_said() -> None:
    """The system's own reason stands in the message."""
    error = httpx.ConnectError("")
    error.__cause__ = OSError(-2, "Name or service not known")

    message = of_exception(error).message

    assert "the model's server cannot be reached (Name or service not known)" == message


# ----------------------------------------------------------------------------------- events


@pytest.mark.requirement("LLM-5")
@given(
    texts=st.lists(st.text(min_size=1), min_size=1, max_size=5),
    ends=st.sampled_from([b"\n", b"\r\n"]),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_events_are_the_same_however_their_bytes_are_cut(
    texts: Sequence[str], ends: bytes, cuts: Sequence[int]
) -> None:
    """The network may split a line, a character or an end of line."""
    sent = [json.dumps(text, ensure_ascii=True).encode() for text in texts]
    raw = b"".join(b"data: " + data + ends + ends for data in sent)
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    events = Events()

    pieces = [raw[a:b] for a, b in pairwise(places)]
    found = [event for piece in pieces for event in events.feed(piece)]

    assert sent == [*found, *events.end()]


# ----------------------------------------------------------------------------------- doctor


async def _checked(reply: Reply | None, model: str = "m") -> Check:
    """What doctor says of a server that answers so; without an answer it is away."""
    with FakeModel(lambda _: "", toolless=True) as server:
        server.models = reply or Fail(404)
        talk = Talk(server, FakeClock())
        if reply is None:
            server.stop()
        endpoint = talk.endpoint
        backend = LlmBackend(
            clock=talk.clock, endpoint=type(endpoint)(url=endpoint.url, model=model, key=KEY)
        )
        (check,) = await backend.check()
    assert KEY not in f"{check.detail} {check.fix}"
    return check


def _list(*names: str) -> Raw:
    return Raw(json.dumps({"data": [{"id": name} for name in names]}).encode(), 200, "text/json")


@pytest.mark.requirement("LLM-11")
@pytest.mark.parametrize(
    ("reply", "ok", "words"),
    [
        (_list("a", "m"), True, "/v1, model m"),
        (_list("m:latest"), True, "model m"),
        (_list("models/m"), True, "model m"),
        (_list("a", "b"), False, "Set FACTORY_MCP_LLM_MODEL to one that it has: a, b"),
        (_list(*"abcdefghij"), False, "a, b, c, d, e, f, g, h, …"),
        (_list(), True, "does not list its models"),
        (Fail(404), True, "does not list its models"),
        (Raw(b"{nope", 200, "text/json"), True, "does not list its models"),
        (Raw(b"[]", 200, "text/json"), True, "does not list its models"),
        (Fail(401, f"bad key {KEY}"), False, "Set FACTORY_MCP_LLM_KEY"),
        (Fail(503), False, "answered 503"),
        (Raw(b"x", 200, "text/json", length=9), False, "broke off"),
        (Raw(b"x" * (9 << 20), 200, "text/json"), True, "does not list its models"),
        (None, False, "cannot be reached (nothing listens there)"),
    ],
)
async def test_doctor_says_whether_the_model_can_be_asked(
    reply: Reply | None, words: str, *, ok: bool
) -> None:
    """Address and model; what to mend where something is wrong; the key in none of it."""
    check = await _checked(reply)

    assert (ok, "llm") == (check.ok, check.name)
    assert words in f"{check.detail} {check.fix}"


@pytest.mark.requirement("LLM-11")
async def test_doctor_does_not_wait_for_a_server_that_is_silent() -> None:
    """A red line like any other."""
    with FakeModel(lambda _: "", models=Hang()) as server:
        check = await llm_check.check(Talk(server).endpoint, within_s=0.05)

    assert "the model's server does not answer within 0.05 s" in check.detail
    assert not check.ok
