"""Fetching a model over the hub's own protocol, from a small hub on loopback."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from adapters.models.pull import MANIFEST, PullError, PullProgress, is_pulled, pull

REPOSITORY = "OpenVINO/Phi-3.5-mini-instruct-int4-ov"
COMMIT = "c0ffee"
WEIGHTS = bytes(range(256)) * 16_384  # 4 MiB
FILES = {"config.json": b'{"a": 1}', "openvino_model.bin": WEIGHTS, "sub/empty.txt": b""}


class Hub:
    """Redirects files to a content network that knows ranges; can cut and falsify."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.listed = {path: path for path in FILES}  # the names it tells
        self.cut_after: list[int] = []  # bytes served before the connection drops, in turn
        self.ranges: list[str] = []
        self.knows_ranges = True
        self.base_url = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get(f"/api/models/{REPOSITORY}/revision/main", self.revision)
        app.router.add_get(f"/api/models/{REPOSITORY}/tree/{COMMIT}", self.tree)
        app.router.add_get(f"/{REPOSITORY}/resolve/{COMMIT}/{{path:.+}}", self.resolve)
        app.router.add_get("/cdn/{path:.+}", self.content)
        return app

    async def revision(self, _: web.Request) -> web.Response:
        return web.json_response({"sha": COMMIT, "id": REPOSITORY})

    async def tree(self, _: web.Request) -> web.Response:
        rows: list[object] = [{"type": "directory", "path": "sub", "size": 0, "oid": "0"}]
        return web.json_response(rows + [self.row(*one) for one in FILES.items()])

    def row(self, path: str, content: bytes) -> dict[str, object]:
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324
        row: dict[str, object] = {
            "type": "file",
            "path": self.listed[path],
            "size": len(content),
            "oid": blob,
        }
        if path.endswith(".bin"):
            row["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
        return row

    async def resolve(self, request: web.Request) -> web.Response:
        raise web.HTTPFound(f"/cdn/{request.match_info['path']}")

    async def content(self, request: web.Request) -> web.StreamResponse:
        body = self.files[request.match_info["path"]]
        wanted = request.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if wanted:
            self.ranges.append(wanted)
        if not self.knows_ranges:
            start = 0
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(body) - start
        await response.prepare(request)
        if body is WEIGHTS and self.cut_after:
            await response.write(body[start : start + self.cut_after.pop(0)])
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(body[start:])
        return response


@asynccontextmanager
async def serving(hub: Hub) -> AsyncIterator[Hub]:
    async with TestServer(hub.app()) as server:
        hub.base_url = str(server.make_url("/"))
        yield hub


async def fetch(hub: Hub, folder: Path, seen: list[PullProgress] | None = None) -> Path:
    progress = seen.append if seen is not None else lambda _: None
    return await pull(
        "phi-3.5-mini", folder, base_url=hub.base_url, progress=progress, retry_wait_s=0.01
    )


def assert_whole(folder: Path) -> None:
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert not list(folder.rglob("*.part"))
    assert is_pulled(folder)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


async def test_a_model_arrives_whole_and_the_progress_adds_up(tmp_path: Path) -> None:
    seen: list[PullProgress] = []
    async with serving(Hub()) as hub:
        assert await fetch(hub, tmp_path / "m", seen) == tmp_path / "m"

    assert_whole(tmp_path / "m")
    total = sum(map(len, FILES.values()))
    assert {one.total_bytes for one in seen} == {total}
    assert seen[-1].done_bytes == total
    assert [one.done_bytes for one in seen] == sorted(one.done_bytes for one in seen)
    assert COMMIT in (tmp_path / "m" / MANIFEST).read_text()


async def test_dropped_connections_go_on_where_they_ended(tmp_path: Path) -> None:
    hub = Hub()
    hub.cut_after = [1_500_000, 0, 1_000_000]
    async with serving(hub):
        await fetch(hub, tmp_path)

    assert_whole(tmp_path)
    assert len(hub.ranges) >= 2
    assert all(int(one[6:-1]) > 0 for one in hub.ranges)


async def test_a_stopped_pull_is_taken_up_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "openvino_model.bin.part").write_bytes(WEIGHTS[:3_000_000])
    seen: list[PullProgress] = []
    async with serving(Hub()) as hub:
        await fetch(hub, tmp_path, seen)

    assert_whole(tmp_path)
    assert hub.ranges == ["bytes=3000000-"]
    assert max(one.resumed_bytes for one in seen) == 3_000_000


async def test_a_second_pull_fetches_nothing(tmp_path: Path) -> None:
    async with serving(Hub()) as hub:
        await fetch(hub, tmp_path)
        hub.files.clear()
        await fetch(hub, tmp_path)

    assert_whole(tmp_path)


async def test_a_server_without_ranges_starts_the_file_over(tmp_path: Path) -> None:
    (tmp_path / "openvino_model.bin.part").write_bytes(b"x" * 1000)
    hub = Hub()
    hub.knows_ranges = False
    async with serving(hub):
        await fetch(hub, tmp_path)

    assert_whole(tmp_path)


@pytest.mark.parametrize("path", ["openvino_model.bin", "config.json"])
async def test_a_file_with_a_wrong_hash_is_deleted_and_named(tmp_path: Path, path: str) -> None:
    hub = Hub()
    hub.files[path] = bytes(len(FILES[path]))
    async with serving(hub):
        with pytest.raises(PullError, match=rf"{path}.*deleted"):
            await fetch(hub, tmp_path)

    assert names_in(tmp_path).isdisjoint({path, f"{path}.part"})
    assert not is_pulled(tmp_path)


async def test_a_connection_that_never_holds_ends_in_one_sentence(tmp_path: Path) -> None:
    hub = Hub()
    hub.cut_after = [0] * 20
    async with serving(hub):
        with pytest.raises(PullError, match="pull again to go on"):
            await fetch(hub, tmp_path)


async def test_a_file_outside_the_models_folder_is_refused(tmp_path: Path) -> None:
    hub = Hub()
    hub.listed["config.json"] = "../evil"
    async with serving(hub):
        with pytest.raises(PullError, match="outside the model's folder"):
            await fetch(hub, tmp_path)


async def test_an_unknown_model_and_an_absent_hub_are_named(tmp_path: Path) -> None:
    with pytest.raises(PullError, match="no model 'gpt' in the catalogue; there are: "):
        await pull("gpt", tmp_path)
    with pytest.raises(PullError, match="can't be reached"):
        await pull("phi-3.5-mini", tmp_path, base_url="http://127.0.0.1:1", retry_wait_s=0.01)


async def test_a_hub_without_the_model_says_so(tmp_path: Path) -> None:
    async with TestServer(web.Application()) as server:
        with pytest.raises(PullError, match="no open model"):
            await pull("phi-3.5-mini", tmp_path, base_url=str(server.make_url("/")))
