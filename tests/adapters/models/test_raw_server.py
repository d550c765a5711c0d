"""The template a model's name tells."""

from __future__ import annotations

import pytest

from adapters.models.raw_server import family_of
from agents.prompts.templates import TemplateFamily


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("phi3:mini", "phi3"),
        ("phi3.5", "phi3"),
        ("microsoft/Phi-3-mini-128k-instruct", "phi3"),
        ("Phi-3.1-mini-4k-instruct-Q4_K_M.gguf", "phi3"),
        ("phi3:medium", "phi3_old"),
        ("phi3:14b-medium-4k-instruct-q4_0", "phi3_old"),
        ("microsoft/Phi-3-medium-128k-instruct", "phi3_old"),
        ("microsoft/Phi-3-small-8k-instruct", "phi3_small"),
        ("microsoft/Phi-3.5-vision-instruct", "phi3_vision"),
        ("Phi-3.5-MoE-instruct-Q4_K_M.gguf", "phi3_moe"),
        ("phi4", "phi4"),
        ("phi4:14b-q4_K_M", "phi4"),
        ("microsoft/Phi-4-reasoning", "phi4"),
        ("phi4-mini:3.8b", "phi4_mini"),
        ("microsoft/Phi-4-mini-instruct", "phi4_mini"),
        ("microsoft/Phi-4-multimodal-instruct", "phi4_multimodal"),
        ("qwen2.5-coder:0.5b", "chatml"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "chatml"),
        ("gemma3", None),
    ],
)
def test_a_models_name_tells_its_template(model: str, family: TemplateFamily | None) -> None:
    assert family_of(model) == family
