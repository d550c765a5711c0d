"""From a route's settings to the template its prompts are rendered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.models.pull import MANIFEST
from agents.errors import BackendError, RouteRetired
from bot.known_models import capabilities_of, catalogue_backend, weights_of
from bot.routes import build_chains, every_route
from bot.settings import RouteSection, load_settings

FOUNDRY = "https://ours.openai.azure.com/openai/v1/"


async def why_it_cannot_load(folder: Path, route: str) -> str:
    config = folder / "firstline.toml"
    config.write_text(
        f'data_dir = "{folder}"\n[models.routes.near]\n{route}\n[roles]\nplanner = ["near"]\n'
    )
    [route_made] = (await build_chains(load_settings(config, environ={})))["planner"]
    with pytest.raises(BackendError) as caught:
        await route_made.load()
    return str(caught.value)


async def test_an_unknown_template_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    why = await why_it_cannot_load(
        tmp_path, 'backend = "openvino"\nmodel = "phi-4-mini"\ntemplate = "phi5"'
    )

    assert "template 'phi5' is not known" in why
    assert "phi4_multimodal" in why


async def test_a_local_model_without_files_is_named(tmp_path: Path) -> None:
    why = await why_it_cannot_load(tmp_path, 'backend = "openvino"\nmodel = "phi-4-mini"')

    assert "'phi-4-mini' does not exist" in why or "not installed" in why


def test_what_the_operator_left_open_comes_from_the_catalogue() -> None:
    eyes = capabilities_of(RouteSection(backend="onnx_genai", model="phi-3.5-vision"))
    cloud = capabilities_of(
        RouteSection(backend="openai_api", base_url=FOUNDRY, model="Phi-4-mini-instruct")
    )

    assert (eyes.context_tokens, eyes.max_images, eyes.num_crops) == (8192, 2, 16)
    assert (cloud.context_tokens, cloud.max_images) == (131_072, 0)


def test_what_the_operator_set_stays() -> None:
    section = RouteSection(
        backend="openvino", model="phi-3.5-vision", context_tokens=2048, max_images=0
    )

    can = capabilities_of(section)

    assert (can.context_tokens, can.max_images, can.image_tokens, can.num_crops) == (
        2048,
        0,
        0,
        None,
    )


def test_a_model_the_catalogue_does_not_know_gets_safe_guesses() -> None:
    section = RouteSection(backend="openai_api", base_url="http://127.0.0.1:1/v1", model="ours")

    assert capabilities_of(section).context_tokens == 4096


def test_a_retired_model_on_a_living_service_names_its_replacement() -> None:
    section = RouteSection(backend="openai_api", base_url=FOUNDRY, model="Phi-3.5-MoE-instruct")

    can = capabilities_of(section)

    assert str(can.retired_on) == "2025-08-30"
    assert can.replacement == "phi-4 on foundry"


@pytest.mark.parametrize(
    ("url", "backend"),
    [
        ("https://models.github.ai/inference", "github_models"),
        ("https://ours.services.ai.azure.com/models", "azure_serverless"),
        ("https://ours.services.ai.azure.com/openai/v1", "foundry"),
        ("https://integrate.api.nvidia.com/v1", "nvidia"),
        ("https://notopenai.azure.com.example.org/v1", "vllm"),
    ],
)
def test_a_service_is_known_by_its_host(url: str, backend: str) -> None:
    section = RouteSection(backend="openai_api", base_url=url, model="m")

    assert catalogue_backend(section) == backend


async def test_a_closed_service_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    why = await why_it_cannot_load(
        tmp_path,
        'backend = "openai_api"\nmodel = "Phi-3.5-MoE-instruct"\n'
        'base_url = "https://models.github.ai/inference"',
    )

    assert "retired on 2026-07-30" in why
    assert "use phi-4 on foundry" in why


async def test_a_model_nobody_knows_on_a_closed_service_is_retired_too(tmp_path: Path) -> None:
    config = tmp_path / "firstline.toml"
    config.write_text(
        '[models.routes.hub]\nbackend = "openai_api"\nmodel = "x"\n'
        'base_url = "https://models.github.ai/inference"\n'
    )
    route = (await every_route(load_settings(config, environ={})))["hub"]

    with pytest.raises(RouteRetired):
        await route.load()


async def test_a_model_too_big_for_the_memory_is_refused_with_the_figure(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "huge"
    folder.mkdir(parents=True)
    with (folder / "openvino_model.bin").open("wb") as weights:
        weights.truncate(10**13)  # a sparse file: it takes no room

    why = await why_it_cannot_load(tmp_path, 'backend = "openvino"\nmodel = "huge"')

    assert "needs about 10000.2 GB of memory" in why
    assert "free some, take a smaller model" in why


def test_pulled_weights_are_found_by_the_models_name(tmp_path: Path) -> None:
    folder = tmp_path / "llama_cpp" / "phi-3.5-mini"
    folder.mkdir(parents=True)
    (folder / "any.gguf").touch()
    section = RouteSection(backend="llama_cpp", model="phi-3.5-mini")

    assert weights_of(section, tmp_path) == tmp_path / "phi-3.5-mini"
    (folder / MANIFEST).touch()
    assert weights_of(section, tmp_path) == folder / "any.gguf"
