"""The embedders a user can name: a model2vec folder, and an OpenAI-compatible address."""

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factory_mcp.domain.search_errors import EmbedderUnusable
from factory_mcp.stores.embed import BUNDLED, StaticEmbedder
from factory_mcp.stores.embed_endpoint import BATCH, BODY, EndpointEmbedder
from factory_mcp.stores.embed_folder import FILES, FolderEmbedder
from factory_mcp.stores.embedders import embedder_of
from factory_mcp.stores.host import SystemClock
from factory_mcp.stores.sql.contexts import ContextTables
from factory_mcp.stores.sql.database import Database
from factory_mcp.stores.sql.search import SearchTables
from factory_mcp.stores.sql.sqlite import open_database
from tests.contracts.samples import Samples
from tests.embedding_server import EmbeddingServer
from tests.fakes import FakeClock, SeededRng
from tests.keys import sealing
from tests.servers.authority import Authority

KEY = "canary-key-0123456789"
make = Samples()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of the user's own; the bundled one under another name."""
    return Path(shutil.copytree(BUNDLED, tmp_path / "my-model"))


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as made:
        yield made


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database]:
    opened = await open_database(tmp_path / "factory.db", sealing())
    yield opened
    await opened.close()


def endpoint(server: EmbeddingServer, **changes: Any) -> EndpointEmbedder:
    fields: dict[str, Any] = {"key": KEY, "clock": FakeClock(), "rng": SeededRng(), **changes}
    return EndpointEmbedder(server.url, "a-model", **fields)


def error_of(embedder: EndpointEmbedder | FolderEmbedder, *texts: str) -> EmbedderUnusable:
    with pytest.raises(EmbedderUnusable) as caught:
        embedder.embed(texts or ["a word"])
    assert KEY not in f"{caught.value!r} {caught.value.remedy}"
    return caught.value


# -------------------------------------------------------------------------------- a folder


@pytest.mark.requirement("INDEX-11")
def test_a_folder_embeds_as_its_model_does(folder: Path) -> None:
    """Unit length, zero where no word is known, any text."""
    texts = ["a note", "", "\ud800 \0"]
    made = FolderEmbedder(folder).embed(texts)
    np.testing.assert_allclose(StaticEmbedder().embed(texts), made, atol=1e-6)
    check = FolderEmbedder(folder).check()
    assert check.ok
    assert "my-model@" in check.detail
    assert "256 dimensions" in check.detail


@pytest.mark.requirement("INDEX-11")
def test_a_folder_of_another_size_will_do(folder: Path) -> None:
    """Whatever its model's dimensions; its vectors are made unit length."""
    from model2vec import StaticModel  # noqa: PLC0415 — its only use

    small = folder.with_name("small")
    model = StaticModel.from_pretrained(folder, dimensionality=64, normalize=False)
    model.save_pretrained(small)
    made = FolderEmbedder(small).embed(["one note", "another"])
    assert (2, 64) == made.shape
    np.testing.assert_allclose([1, 1], np.linalg.norm(made, axis=1), rtol=1e-5)


@pytest.mark.requirement("INDEX-11")
def test_a_folders_id_follows_from_what_is_in_it(folder: Path) -> None:
    """The same copied elsewhere, another one after any change."""
    first = FolderEmbedder(folder).id
    copy = shutil.copytree(folder, folder.parent / "copies" / "my-model")
    assert first == FolderEmbedder(Path(copy)).id
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_length": 100}))
    assert first != FolderEmbedder(folder).id


@pytest.mark.requirement("INDEX-11")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [None, b"", b"\0\1\2", b"[]", b"{}"])
def test_a_wrong_folder_is_told(folder: Path, name: str, damage: bytes | None) -> None:
    """A file that is missing, empty, or of another kind; nothing is fetched instead."""
    if damage is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(damage)
    embedder = FolderEmbedder(folder)
    if (name, damage) == ("config.json", b"{}"):  # all of it may be left to defaults
        assert embedder.embed(["a word"]).any()
        return
    error = error_of(embedder)
    assert "FACTORY_MCP_EMBEDDER must name a model2vec folder" in error.remedy
    assert str(folder) in error.message
    check = embedder.check()
    assert (False, error.remedy) == (check.ok, check.fix)


# ------------------------------------------------------------------------------ an address


@pytest.mark.requirement("INDEX-12")
def test_an_address_embeds(server: EmbeddingServer) -> None:
    """In batches, with model and key; put in order, made unit length; blank texts are zero."""
    texts = [f"note {number}" for number in range(BATCH + 2)]
    texts[1], texts[2] = "  ", "\ud800"
    made = endpoint(server).embed(texts)
    expected = StaticEmbedder().embed([text.replace("\ud800", "?") for text in texts])
    expected[1] = 0
    np.testing.assert_allclose(expected, made, atol=1e-5)
    assert [BATCH, 2] == [len(asked["input"]) for _, _, asked in server.asked]
    path, headers, asked = server.asked[0]
    assert ("/v1/embeddings", f"Bearer {KEY}") == (path, headers["authorization"])
    assert "a-model" == asked["model"]
    assert all(text.strip() for text in asked["input"])


@pytest.mark.requirement("INDEX-12")
def test_an_address_says_who_it_is(server: EmbeddingServer) -> None:
    """Its id changes with model and address; it is tried for `doctor`; no key, no header."""
    ours = endpoint(server, key=None)
    assert "a-model@" in ours.id
    others = EndpointEmbedder(server.url, "b", clock=FakeClock(), rng=SeededRng())
    elsewhere = EndpointEmbedder("http://x/v1", "a-model", clock=FakeClock(), rng=SeededRng())
    assert 3 == len({ours.id, others.id, elsewhere.id})
    check = ours.check()
    assert check.ok
    assert "a-model at 127.0.0.1" in check.detail
    assert "authorization" not in {name.lower() for name in server.asked[0][1]}


def _row(*numbers: Any, index: int = 0) -> bytes:
    return json.dumps({"data": [{"index": index, "embedding": list(numbers)}]}).encode()


@pytest.mark.requirement("INDEX-12")
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no vectors"),
        (b"<html>", "no vectors"),
        (b"\xff\xfe", "no vectors"),
        (b"[]", "no vectors"),
        (b"null", "no vectors"),
        (b"{}", "no vectors"),
        (b"[" * 100_000, "no vectors"),
        (b'{"data": 3}', "no vectors"),
        (b'{"data": [3]}', "no vectors"),
        (_row("x"), "no vectors"),
        (_row([1, 2], [3]), "no vectors"),
        (b'{"data": []}', "one vector for each"),
        (_row(float("nan")), "one vector for each"),
        (_row(1e60), "one vector for each"),
        (_row([1.0]), "one vector for each"),
        (_row(), "0 numbers"),
        (_row(*[0.5] * 4097), "4097 numbers"),
        (b" " * (BODY + 1), "too long"),
    ],
)
def test_what_is_no_vector_is_told(server: EmbeddingServer, body: bytes, says: str) -> None:
    """Whatever the server answers, it is EmbedderUnusable."""
    server.says(200, body)
    error = error_of(endpoint(server))
    assert says in error.message
    assert error.remedy


@pytest.mark.requirement("INDEX-12")
@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "_KEY"), (404, "_MODEL"), (429, "limits"), (500, "_MODEL")]
)
def test_a_refusal_is_told_with_what_to_do(
    server: EmbeddingServer, status: int, remedy: str
) -> None:
    """And shows neither key nor text; a redirect is not followed."""
    server.says(status, f"{KEY} secret text".encode())
    error = error_of(endpoint(server), "secret text")
    assert f"{status}" in error.message
    assert "secret text" not in error.message
    assert remedy in error.remedy
    assert not endpoint(server).check().ok


@pytest.mark.requirement("INDEX-12")
def test_a_server_that_fails_is_left_alone_for_a_while(server: EmbeddingServer) -> None:
    """Then it is asked again, and is back."""
    clock = FakeClock()
    embedder = endpoint(server, clock=clock)
    server.says(503, b"")
    error_of(embedder)
    server.says()
    assert "left alone" in error_of(embedder).message
    assert 1 == len(server.asked)
    clock.advance(1.2)
    assert embedder.embed(["a word"]).any()
    assert embedder.embed(["a word"]).any()


@pytest.mark.requirement("INDEX-12")
@pytest.mark.parametrize("way", ["hold", "drip"])
def test_a_server_that_does_not_come_to_an_end_is_not_waited_for(
    server: EmbeddingServer, way: str
) -> None:
    """Silent, or a byte now and then."""
    setattr(server, way, True)
    error = error_of(endpoint(server, clock=SystemClock(), wait_s=0.3))
    assert "did not answer" in error.message or "too slowly" in error.message


@pytest.mark.requirement("INDEX-12")
@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "https://127.0.0.1:1/v1"])
def test_nobody_there_is_told(url: str) -> None:
    """Refused, with and without TLS."""
    embedder = EndpointEmbedder(url, "a-model", KEY, clock=FakeClock(), rng=SeededRng())
    assert "did not answer" in error_of(embedder).message


@pytest.mark.requirement("INDEX-12")
def test_an_address_shows_a_certificate_of_our_authority(tmp_path: Path) -> None:
    """Of another one it is not sent a word."""
    folders = [tmp_path / name for name in ("ours", "other")]
    for each in folders:
        each.mkdir()
    ours, other = map(Authority, folders)
    with EmbeddingServer(certificate=ours.server()) as server:
        assert endpoint(server, authorities=ours.file).embed(["a word"]).any()
        assert "did not answer" in error_of(endpoint(server, authorities=other.file)).message
        assert 1 == len(server.asked)


@pytest.mark.requirement("INDEX-12")
def test_vectors_of_another_size_than_before_are_refused(server: EmbeddingServer) -> None:
    """Somebody has changed the model behind the name."""
    embedder = endpoint(server)
    embedder.embed(["a word"])
    server.says(200, _row(0.6, 0.8))
    assert "2 numbers" in error_of(embedder).message


@pytest.mark.requirement("INDEX-12")
@pytest.mark.parametrize("status", [429, 500])
async def test_a_search_goes_on_by_keywords(
    server: EmbeddingServer, database: Database, status: int
) -> None:
    """And says so; with the server back it goes by meaning."""
    to, clock = ContextTables(database), FakeClock()
    cards = (await to.append(make.node(summary="Card charges go through Stripe.", data={}))).node.id
    search = SearchTables(database, endpoint(server, clock=clock))
    server.says(status, b"")
    found = await search.search("acme", "stripe", limit=3)
    assert (("vector_index",), [cards]) == (found.partial, [hit.node.id for hit in found.hits])
    server.says()
    clock.advance(2)
    found = await search.search("acme", "how do customers pay", limit=3)
    assert ((), [cards]) == (found.partial, [hit.node.id for hit in found.hits])


@pytest.mark.requirement("INDEX-11")
def test_the_embedder_is_the_one_that_was_named(folder: Path) -> None:
    """Nothing, a folder, or an address."""
    known: dict[str, Any] = {"clock": FakeClock(), "rng": SeededRng()}
    named: Callable[[Path | str | None], object] = lambda where: embedder_of(  # noqa: E731
        where, model="m", key="k", **known
    )
    assert StaticEmbedder is type(named(None))
    assert FolderEmbedder is type(named(folder))
    assert EndpointEmbedder is type(named("http://127.0.0.1:1/v1"))


@pytest.mark.requirement("INDEX-13")
def test_nothing_heavy_is_imported_before_the_first_search() -> None:
    """Neither numpy nor Weaviate's client, though all is wired."""
    program = (
        "import sys\n"
        "from factory_mcp.stores.sql.projected import ProjectedSearch\n"
        "from factory_mcp.stores.sql.projection import Projection\n"
        "from factory_mcp.stores.embedders import embedder_of\n"
        "from factory_mcp.stores.weaviate.index import WeaviateIndex\n"
        "print([name for name in ('numpy', 'weaviate', 'grpc', 'httpx') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "[]" == done.stdout.strip()
