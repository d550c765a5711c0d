"""From a route's preset to its address, its key, its placement, and a service that is closed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from agents.errors import RouteRetired
from agents.ports import ModelRequest, PromptMessage, complete
from agents.routing import Route
from bot.cli import app
from bot.known_models import catalogue_backend
from bot.models_list import list_models
from bot.routes import every_route
from bot.settings import RouteSection, Settings, SettingsError, load_settings
from tests.contracts.backends import talk
from tests.twins.foundry import FoundryTwin
from tests.twins.vllm import VllmTwin

RESOURCE = "https://ours.openai.azure.com"
AZURE_KEY = "azure-key-canary"


def loaded(folder: Path, route: str, **environ: str) -> Settings:
    config = folder / "firstline.toml"
    config.write_text(f'[models.routes.far]\nbackend = "openai_api"\n{route}\n')
    return load_settings(config, environ=environ)


def section(folder: Path, route: str, **environ: str) -> RouteSection:
    return loaded(folder, route, **environ).routes["far"]


async def route_of(settings: Settings) -> Route:
    return (await every_route(settings))["far"]


def test_a_preset_brings_its_address_and_its_usual_variable(tmp_path: Path) -> None:
    far = section(tmp_path, 'preset = "nvidia"\nmodel = "m"', NVIDIA_API_KEY="nvapi-1")

    assert far.base_url == "https://integrate.api.nvidia.com/v1"
    assert far.api_key is not None
    assert far.api_key.get_secret_value() == "nvapi-1"
    assert far.placement == "cloud"


def test_a_key_that_was_named_wins_over_the_usual_variable(tmp_path: Path) -> None:
    far = section(
        tmp_path,
        'preset = "nvidia"\nmodel = "m"\napi_key_env = "OURS"',
        NVIDIA_API_KEY="usual",
        OURS="named",
    )

    assert far.api_key is not None
    assert far.api_key.get_secret_value() == "named"


def test_a_route_without_a_preset_takes_nobodys_key(tmp_path: Path) -> None:
    far = section(tmp_path, 'base_url = "http://h/v1"\nmodel = "m"', OPENAI_API_KEY="sk")

    assert far.api_key is None


@pytest.mark.parametrize(
    ("route", "url", "placement"),
    [
        ('preset = "vllm"', "http://127.0.0.1:8000/v1", "local"),
        ('preset = "llama_server"', "http://127.0.0.1:8080/v1", "local"),
        ('preset = "vllm"\nbase_url = "http://10.0.0.7:8000"', "http://10.0.0.7:8000/v1",
         "self_hosted"),
        ('preset = "nim"\nbase_url = "http://nim:8000/v1"', "http://nim:8000/v1", "self_hosted"),
        (f'preset = "foundry"\nbase_url = "{RESOURCE}"', f"{RESOURCE}/openai/v1", "cloud"),
        ('preset = "foundry"\nbase_url = "https://10.0.0.8/openai/v1"',
         "https://10.0.0.8/openai/v1", "cloud"),
    ],
)  # fmt: skip
def test_address_and_placement_follow(tmp_path: Path, route: str, url: str, placement: str) -> None:
    far = section(tmp_path, f'{route}\nmodel = "m"', AZURE_OPENAI_API_KEY=AZURE_KEY)

    assert (far.base_url, far.placement) == (url, placement)


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ('preset = "nvidia"', "set NVIDIA_API_KEY"),
        (f'preset = "foundry"\nbase_url = "{RESOURCE}"', "set AZURE_OPENAI_API_KEY"),
        ('preset = "foundry"\nauth = "entra"', "base_url: is needed"),
        ('preset = "nim"\nauth = "entra"', 'goes with preset "foundry" only'),
        (f'preset = "foundry"\nbase_url = "{RESOURCE}"\nauth = "entra"\napi_key = "k"', "not both"),
        (f'preset = "foundry"\nbase_url = "{RESOURCE}/openai/deployments/x"\napi_key = "k"',
         "served below /openai/v1"),
        ('preset = "foundry"\nbase_url = "http://ours.openai.azure.com"\napi_key = "k"',
         "needs https"),
        ('preset = "watsonx"', "preset"),
    ],
)  # fmt: skip
def test_a_preset_that_is_not_whole_says_what_is_missing(
    tmp_path: Path, route: str, words: str
) -> None:
    with pytest.raises(SettingsError, match=words.replace("(", r"\(")):
        section(tmp_path, f'{route}\nmodel = "m"')


def test_a_preset_belongs_to_openai_api(tmp_path: Path) -> None:
    config = tmp_path / "firstline.toml"
    config.write_text('[models.routes.far]\nbackend = "ollama"\npreset = "vllm"\nmodel = "m"\n')

    with pytest.raises(SettingsError, match="is for backend openai_api"):
        load_settings(config, environ={})


def test_entra_leaves_the_key_in_the_environment_alone(tmp_path: Path) -> None:
    route = f'preset = "foundry"\nbase_url = "{RESOURCE}"\nauth = "entra"\nmodel = "m"'

    assert section(tmp_path, route, AZURE_OPENAI_API_KEY=AZURE_KEY).api_key is None


def test_a_preset_is_the_catalogues_backend_whatever_the_host(tmp_path: Path) -> None:
    assert catalogue_backend(section(tmp_path, 'preset = "nim"\nmodel = "m"')) == "nim"


CLOSED = [
    ('preset = "github_models"\nmodel = "Phi-3.5-vision-instruct"', "2026-07-30", "multimodal"),
    ('preset = "github_models"\nmodel = "any"', "2026-07-30", "Phi-4-mini-instruct"),
    ('preset = "azure_serverless"\nmodel = "Phi-3.5-mini-instruct"', "2025-08-30", "phi-4-mini"),
    ('preset = "azure_serverless"\nmodel = "Phi-4"', "2026-08-26", "phi-4 on foundry"),
]


@pytest.mark.parametrize(("route", "date", "instead"), CLOSED)
async def test_a_closed_service_fails_at_load_with_date_and_replacement(
    tmp_path: Path, route: str, date: str, instead: str
) -> None:
    settings = loaded(tmp_path, route, GITHUB_TOKEN="t")

    with pytest.raises(RouteRetired, match=date) as caught:
        await (await route_of(settings)).load()
    assert instead in str(caught.value)


async def test_a_closed_services_address_gets_no_packet(tmp_path: Path) -> None:
    asked = asyncio.Event()
    server = await asyncio.start_server(lambda *_: asked.set(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    settings = loaded(tmp_path, f'preset = "github_models"\nbase_url = "{url}"\nmodel = "m"')

    with pytest.raises(RouteRetired):
        await (await route_of(settings)).load()
    await list_models(settings, as_json=True, console=Console(quiet=True))
    server.close()
    await server.wait_closed()

    assert not asked.is_set()


def test_check_config_fails_for_a_closed_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp-canary")
    loaded(tmp_path, CLOSED[0][0])

    done = CliRunner().invoke(app, ["check-config", "--config", str(tmp_path / "firstline.toml")])

    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert "FAULT: models.routes.far" in said
    assert "2026-07-30" in said
    assert "phi-4-multimodal on foundry" in said
    assert "ghp-canary" not in said


async def test_a_foundry_route_answers_by_its_settings_alone(tmp_path: Path) -> None:
    async with FoundryTwin(talk, model="our-phi-4", api_key=AZURE_KEY) as url:
        route = f'preset = "foundry"\nbase_url = "{url}"\nmodel = "our-phi-4"'
        settings = loaded(tmp_path, route, AZURE_OPENAI_API_KEY=AZURE_KEY)
        backend = await (await route_of(settings)).load()
        text, _ = await complete(backend, ModelRequest((PromptMessage("user", "count"),), 64))
        await backend.aclose()

    assert text.startswith("one two three")
    assert backend.capabilities.constrained
    assert AZURE_KEY in settings.secrets()


async def test_models_list_asks_with_the_services_own_header_and_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FoundryTwin(talk, api_key=AZURE_KEY) as url:
        settings = loaded(
            tmp_path,
            f'preset = "foundry"\nbase_url = "{url}"\nmodel = "ours"',
            AZURE_OPENAI_API_KEY=AZURE_KEY,
        )
        await list_models(settings, as_json=True)

    [row] = [row for row in json.loads(capsys.readouterr().out)["here"] if row["route"] == "far"]
    assert row["reachable"] == "yes"
    assert "not at the server" not in row["here"]


async def test_models_list_names_a_model_that_a_server_does_not_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with VllmTwin(talk) as url:
        settings = loaded(tmp_path, f'preset = "vllm"\nbase_url = "{url}"\nmodel = "other"')
        await list_models(settings, as_json=True)

    [row] = [row for row in json.loads(capsys.readouterr().out)["here"] if row["route"] == "far"]
    assert "use 'scripted'" in row["reachable"]
