"""`firstline models`: what is here, what answers, and every cell on demand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from adapters.models.hub import PullError
from adapters.models.pull import MANIFEST, pulled_folder
from adapters.models.scripted_server import ScriptedServer
from bot.models_list import Row, list_models, rows_of
from bot.settings import Settings, load_settings
from tests.contracts.backends import talk
from tests.twins.llama_server import LlamaServerTwin
from tests.twins.ollama import OllamaModel, OllamaTwin


def settings_of(folder: Path, text: str = "") -> Settings:
    config = folder / "firstline.toml"
    config.write_text(f'data_dir = "{folder}"\n{text}')
    return load_settings(config, environ={})


async def rows(folder: Path, text: str = "") -> dict[str, Row]:
    return {row.route or row.model: row for row in await rows_of(settings_of(folder, text))}


async def shown(settings: Settings, **options: object) -> str:
    out = io.StringIO()
    console = Console(file=out, width=200)
    assert await list_models(settings, console=console, **options) == 0  # type: ignore[arg-type]
    return out.getvalue()


async def test_a_route_to_a_server_tells_whether_it_answers_and_has_the_model(
    tmp_path: Path,
) -> None:
    models = [OllamaModel("phi3.5:latest"), OllamaModel("phi4-mini:latest")]
    async with (
        OllamaTwin(talk, models=models) as ollama,
        LlamaServerTwin(talk) as llama,
        ScriptedServer(talk) as api,
    ):
        found = await rows(
            tmp_path,
            f"""
            [models.routes.phi]
            backend = "ollama"
            model = "phi3.5"
            base_url = "{ollama}"
            [models.routes.missing]
            backend = "ollama"
            model = "phi4"
            base_url = "{ollama}"
            [models.routes.cpp]
            backend = "llama_server"
            base_url = "{llama}"
            [models.routes.api]
            backend = "openai_api"
            model = "scripted"
            base_url = "{api}"
            [models.routes.gone]
            backend = "openai_api"
            model = "phi-4"
            base_url = "http://127.0.0.1:1/v1"
            [roles]
            planner = ["phi"]
            small = ["phi"]
            """,
        )

    assert (found["phi"].here, found["phi"].reachable) == ("at the server", "yes")
    assert found["phi"].roles == ("planner", "small")
    assert found["missing"].here == "no: not at the server; run: ollama pull phi4"
    assert found["cpp"].reachable == "yes"
    assert found["api"].reachable == "yes"
    assert found["gone"].reachable.startswith("no: ")
    assert found["phi4-mini:latest"].route == ""  # in Ollama, and no route asks for it


async def test_what_was_pulled_is_listed_with_its_size_and_without_a_route(tmp_path: Path) -> None:
    folder = pulled_folder(tmp_path / "models", "phi-4-mini", "llama_cpp")
    folder.mkdir(parents=True)
    file = {"path": "a.gguf", "size": 2_490_000_000, "oid": "0"}
    manifest = {"name": "phi-4-mini", "repository": "r", "revision": "1", "files": [file]}
    (folder / MANIFEST).write_text(json.dumps(manifest))

    found = (await rows(tmp_path))["phi-4-mini"]

    assert (found.backend, found.here, found.route) == ("llama_cpp", "pulled, 2.5 GB", "")


async def test_a_local_route_without_weights_says_where_they_are_missed(tmp_path: Path) -> None:
    found = await rows(
        tmp_path,
        '[models.routes.near]\nbackend = "openvino"\nmodel = "phi-4-mini"\n',
    )

    assert found["near"].here.startswith("no: ")
    assert found["embedded"].placement == "local"


async def test_the_table_names_the_way_to_the_whole_matrix_which_has_every_backend(
    tmp_path: Path,
) -> None:
    settings = settings_of(tmp_path)

    assert "firstline models list --all" in await shown(settings)
    everything = await shown(settings, everything=True)
    assert "phi-3.5-moe" in everything
    assert "github_models" in everything


async def test_one_model_is_shown_with_the_reason_and_replacement_of_every_cell(
    tmp_path: Path,
) -> None:
    text = await shown(settings_of(tmp_path), name="phi3.5")

    assert "OpenVINO/Phi-3.5-mini-instruct-int4-ov" in text
    assert "since 2026-07-30" in text


async def test_an_unknown_name_gets_close_ones(tmp_path: Path) -> None:
    with pytest.raises(PullError, match=r"no model 'phi35mini'.*phi-3\.5-mini"):
        await shown(settings_of(tmp_path), name="phi35mini")


async def test_programs_get_json(tmp_path: Path) -> None:
    told = json.loads(await shown(settings_of(tmp_path), as_json=True, everything=True))

    assert {row["route"] for row in told["here"]} >= {"embedded", "ocr"}
    assert told["catalogue"]["phi-3.5-moe"]["cells"]["github_models"]["retired_on"] == "2026-07-30"
