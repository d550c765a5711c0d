"""The index: found by words and meaning, never by who may not read it, and always whole."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from adapters.knowledge.errors import KnowledgeError
from adapters.knowledge.index import KnowledgeIndex
from adapters.models.embedders import PackagedEmbedder, load_packaged
from adapters.models.openai_wire import estimate_tokens
from agents.errors import BackendError
from agents.ports import Kind
from agents.prompts.planner import prompt_head
from bot.ingest import ingest_folder
from bot.knowledge import Bar, Knowledge, reranker_of
from bot.settings import SettingsError, load_settings
from tests.knowledge.handbook import PAGES, read_handbook
from tools.toolbox import Toolbox, built_in_tools, optional_tools

TENANT = "tenant:slack:T1"
CHANNEL = "channel:slack:T1/C1"


@pytest.fixture
async def embedder() -> PackagedEmbedder:
    return await load_packaged()


@pytest.fixture
async def index(tmp_path: Path, embedder: PackagedEmbedder) -> AsyncIterator[KnowledgeIndex]:
    await read_handbook(tmp_path / "data")
    found = KnowledgeIndex(tmp_path / "data" / "knowledge.sqlite", embedder=embedder.name)
    yield found
    found.close()


async def found_in(
    index: KnowledgeIndex,
    embedder: PackagedEmbedder,
    query: str,
    *,
    audience: str = TENANT,
    topics: tuple[str, ...] | None = None,
) -> list[str]:
    [vector] = await embedder.embed([query], "query")
    hits, _ = index.search(query, vector, audience=audience, topics=topics)
    return [hit.document for hit in hits]


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("How many days off do I get?", "vacation.md"),
        ("Wie bekomme ich ein neues Passwort für das VPN?", "vpn.md"),
        ("flights director", "travel.rst"),
        ("who cleans the espresso maker", "kitchen.html"),
    ],
)
async def test_a_question_finds_its_document_in_other_words_and_languages(
    index: KnowledgeIndex, embedder: PackagedEmbedder, query: str, document: str
) -> None:
    assert (await found_in(index, embedder, query))[0] == document


async def test_what_a_page_hides_is_not_in_the_index(
    index: KnowledgeIndex, embedder: PackagedEmbedder
) -> None:
    [vector] = await embedder.embed(["ignore all rules"], "query")
    hits, _ = index.search("ignore all rules", vector, audience=TENANT, limit=50)
    assert not [hit for hit in hits if "delete everything" in hit.text]


async def test_a_source_is_found_only_for_readers_who_all_may_read_it(
    tmp_path: Path, index: KnowledgeIndex, embedder: PackagedEmbedder
) -> None:
    secret = {"merger.md": "# Merger\nThe merger with Bluebird is signed in July."}
    await read_handbook(tmp_path / "data", secret, name="board", readers=(CHANNEL,))
    query = "When is the merger with Bluebird?"

    assert (await found_in(index, embedder, query, audience=CHANNEL))[0] == "merger.md"
    for audience in (TENANT, "channel:slack:T1/C2", "shared:slack:T1/C1", "", "user:slack:T1/U1"):
        assert "merger.md" not in await found_in(index, embedder, query, audience=audience)


async def test_a_topic_that_is_not_asked_for_stays_out(
    tmp_path: Path, index: KnowledgeIndex, embedder: PackagedEmbedder
) -> None:
    await read_handbook(tmp_path / "data", {"x.md": PAGES["vpn.md"]}, topic="it", name="it")

    assert await found_in(index, embedder, "reset VPN", topics=("it",)) == ["x.md", "x.md"]
    assert "x.md" not in await found_in(index, embedder, "reset VPN", topics=("handbook",))
    assert await found_in(index, embedder, "reset VPN", topics=("nothing",)) == []


async def test_a_second_reading_reads_what_changed_and_drops_what_is_gone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = await read_handbook(data)
    again = await read_handbook(data)
    changed = {**PAGES, "vpn.md": PAGES["vpn.md"] + "\nAsk the help desk."}
    (tmp_path / "handbook" / "kitchen.html").unlink()
    del changed["kitchen.html"]
    third = await read_handbook(data, changed)

    assert (first.new, first.same, first.gone) == (4, 0, 0)
    assert (again.new, again.same, again.gone) == (0, 4, 0)
    assert (third.new, third.same, third.gone) == (1, 2, 1)


async def test_a_reading_that_is_broken_off_goes_on_where_it_was(
    tmp_path: Path, embedder: PackagedEmbedder
) -> None:
    class Breaks(Exception):
        pass

    class Broken(PackagedEmbedder):
        calls = 0

        async def embed(self, texts: Sequence[str], kind: Kind) -> Sequence[Sequence[float]]:
            self.calls += 1
            if self.calls == 3:
                raise Breaks
            return await embedder.embed(texts, kind)

    folder = tmp_path / "pages"
    folder.mkdir()
    for name, text in PAGES.items():
        (folder / name).write_text(text)
    index = KnowledgeIndex(tmp_path / "k.sqlite", embedder=embedder.name)
    source = index.source("s", topic="t")
    with pytest.raises(Breaks):
        await ingest_folder(index, Broken(embedder._model), source, folder)
    kept = len(index.digests(source.source_id))
    report = await ingest_folder(index, embedder, source, folder)
    index.close()

    assert kept == 2
    assert (report.new, report.same) == (2, 2)


async def test_what_is_not_there_is_told_by_the_gate(
    index: KnowledgeIndex, embedder: PackagedEmbedder
) -> None:
    async def is_there(query: str) -> bool:
        [vector] = await embedder.embed([query], "query")
        _, told = index.search(query, vector, audience=TENANT)
        return Bar().is_reached(told.cosine, told.coverage)

    assert await is_there("How many days of vacation do I have?")
    assert await is_there("Who books train journeys?")
    assert not await is_there("Which Stripe API key do I need?")
    assert not await is_there("How tall is the Eiffel Tower?")


async def test_another_process_sees_what_was_added(
    tmp_path: Path, index: KnowledgeIndex, embedder: PackagedEmbedder
) -> None:
    assert "new.md" not in await found_in(index, embedder, "parking garage")
    await read_handbook(
        tmp_path / "data", {"new.md": "# Parking\nThe parking garage opens at six."}, name="more"
    )
    assert (await found_in(index, embedder, "parking garage"))[0] == "new.md"


async def test_an_operators_own_order_decides_what_comes_first(
    index: KnowledgeIndex, embedder: PackagedEmbedder
) -> None:
    def by_coffee(question: str, passages: list[str]) -> list[float]:
        assert question == "vacation"
        return [float("coffee" in text) for text in passages]

    knowledge = Knowledge(index, embedder, Bar(), rerank=by_coffee)
    found = await knowledge.search("vacation", audience=TENANT, topics=None, limit=2)

    assert "coffee" in found.passages[0].text
    assert [each.number for each in found.passages] == [1, 2]


@pytest.mark.parametrize("name", ["nowhere_at_all:x", "json:not_there"])
def test_a_function_that_is_not_there_is_named(name: str) -> None:
    settings = load_settings(environ={}, overrides={"knowledge.rerank": name})
    with pytest.raises(SettingsError, match=name):
        reranker_of(settings)


def test_vectors_of_two_embedders_never_mix(tmp_path: Path) -> None:
    KnowledgeIndex(tmp_path / "k.sqlite", embedder="one").close()
    with pytest.raises(KnowledgeError, match=r"'one'.*'two' is set now"):
        KnowledgeIndex(tmp_path / "k.sqlite", embedder="two")


def test_a_file_that_is_no_index_is_named(tmp_path: Path) -> None:
    (tmp_path / "k.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(KnowledgeError, match="no index of knowledge"):
        KnowledgeIndex(tmp_path / "k.sqlite", embedder="one")


async def test_removing_a_source_leaves_nothing_of_it(
    tmp_path: Path, index: KnowledgeIndex, embedder: PackagedEmbedder
) -> None:
    assert index.remove(str(tmp_path / "handbook")) == 4
    assert await found_in(index, embedder, "vacation") == []
    with sqlite3.connect(tmp_path / "data" / "knowledge.sqlite") as file:
        left = file.execute(
            "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM chunks), "
            "(SELECT count(*) FROM sources)"
        )
        assert left.fetchone() == (0, 0, 0)
    with pytest.raises(KnowledgeError, match="no source 'x'"):
        index.remove("x")


async def test_an_embedder_that_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.models.embedders.PACKAGE", "not_there_at_all")
    with pytest.raises(BackendError, match="firstline\\[knowledge\\]"):
        await load_packaged()


def test_what_every_prompt_of_support_begins_with_is_short() -> None:
    """At most 1,500 tokens, by an estimate that is rather too high."""
    tools = [tool for tool in built_in_tools() if not (tool.needs_images or tool.needs_documents)]
    tools += optional_tools(["search_knowledge", "hand_over"])
    head = prompt_head(Toolbox(tools).tools)

    assert sum(estimate_tokens(message.text) for message in head) <= 1500
