"""The llm backend in the product: who falls back to it, and who never does."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from factory_mcp.app import App, build
from factory_mcp.domain.model import LOCAL, CallRequest, Envelope, Status
from tests.backends.llm_talk import KEY
from tests.house import settings
from tests.real.droid_program import GUARD_S
from tests.real.fake_model import Fail, FakeModel


@asynccontextmanager
async def product(tmp_path: Path, model: FakeModel) -> AsyncGenerator[App]:
    """The product without a droid program, but with a model."""
    env = {
        "FACTORY_MCP_DROID_BIN": str(tmp_path / "no-droid"),
        "FACTORY_MCP_LLM_URL": model.url,
        "FACTORY_MCP_LLM_MODEL": "fake",
        "FACTORY_MCP_LLM_KEY": KEY,
    }
    app = build(settings(tmp_path, **env))
    with anyio.fail_after(GUARD_S):
        async with app.serving():
            yield app


async def call(app: App, droid: str) -> Envelope:
    """A call that waits for its end."""
    request = CallRequest(principal=LOCAL, droid=droid, task="explain the cache")
    return await app.calls.call(request, GUARD_S, None)


def attempts(answer: Envelope) -> list[str]:
    """What was tried, a word each."""
    return [f"{attempt.backend} {attempt.code}" for attempt in answer.attempts]


@pytest.mark.requirement("LLM-15")
async def test_a_droid_that_only_reads_is_answered_by_the_model(tmp_path: Path) -> None:
    """With its tokens, and with a word on what it has not seen; what it learnt is kept."""
    answer_text = 'A cache.\n```context\n{"cache": "lru"}\n```'
    with FakeModel(lambda _: answer_text, toolless=True) as model:
        async with product(tmp_path, model) as app:
            answer = await call(app, "knowledge")
            checks = await app.checks()

    assert (Status.DONE, "llm") == (answer.status, answer.backend)
    assert ["droid_cli backend_missing", "llm ok"] == attempts(answer)
    assert answer.usage is not None
    assert (100, 10) == (answer.usage.input_tokens, answer.usage.output_tokens)
    assert "has not seen the workspace" in answer.text
    assert answer.context_id is not None
    assert [True] == [check.ok for check in checks if check.name == "llm"]


@pytest.mark.requirement("LLM-15")
async def test_a_droid_that_changes_things_is_never_given_to_a_model(tmp_path: Path) -> None:
    """It could only pretend."""
    with FakeModel(lambda _: "done!", toolless=True) as model:
        async with product(tmp_path, model) as app:
            answer = await call(app, "code")

    assert (Status.HANDOFF, ["droid_cli backend_missing"]) == (answer.status, attempts(answer))
    assert [] == model.requests


@pytest.mark.requirement("LLM-15")
@pytest.mark.requirement("LLM-8")
async def test_a_model_that_fails_ends_in_a_handoff_that_names_the_mend(tmp_path: Path) -> None:
    """And not the key, however the provider words it."""
    reply = Fail(401, f"Incorrect API key provided: {KEY}")
    with FakeModel(lambda _: reply, toolless=True) as model:
        async with product(tmp_path, model) as app:
            answer = await call(app, "architect")

    assert (Status.HANDOFF, "backend_unauthorized") == (answer.status, answer.code)
    assert ["droid_cli backend_missing", "llm backend_unauthorized"] == attempts(answer)
    assert "To mend llm: Set FACTORY_MCP_LLM_KEY" in answer.text
    assert KEY not in repr(answer)
