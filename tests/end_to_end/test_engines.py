"""`firstline chat` on every engine of this process: one setting chooses it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from tests.contracts.engines import engine_params
from tests.end_to_end.chat_process import ask
from tests.pictures import encoded
from tests.tiny.gguf import tiny_gguf
from tests.tiny.hf import tiny_hf
from tests.tiny.onnx_graph import tiny_onnx_graph
from tests.tiny.openvino_vision import tiny_openvino_vision

pytestmark = pytest.mark.timeout(120)
# Words at random: the planner's own prompt is long for a model this small, and its answer
# may run out of tokens, which is then the stated end.
SETTINGS = """
[planner]
max_steps = 2
max_answer_tokens = 64
[models.routes.tiny]
backend = "{engine}"
path = "{path}"
template = "{template}"
context_tokens = 4096
{more}
[roles]
{role} = ["tiny"]
"""
ENGINES: dict[str, Callable[[], Path]] = {
    "mlx": partial(tiny_hf, "phi3.5"),
    "llama_cpp": partial(tiny_gguf, "phi3.5"),
    "transformers": partial(tiny_hf, "phi3.5"),
    "onnx_genai": partial(tiny_onnx_graph, "phi3.5"),
}


@pytest.mark.parametrize("engine", engine_params(ENGINES))
async def test_a_question_is_answered_in_words_by_the_chosen_engine(
    tmp_path: Path, engine: str
) -> None:
    settings = SETTINGS.format(
        engine=engine, path=ENGINES[engine](), template="phi3", more="", role="planner"
    )

    answer = await ask(tmp_path, settings, "What time is it?")

    assert "Traceback" not in answer.err
    assert answer.out.strip(), answer.err
    if answer.code:
        assert "(turn " in answer.out, "a stated end, with the turn's name"


async def test_a_picture_is_described_by_the_vision_engine(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(encoded(Image.new("RGB", (64, 64), "red"), "PNG"))
    settings = SETTINGS.format(
        engine="openvino",
        path=tiny_openvino_vision(),
        template="phi3_vision",
        more="max_images = 1",
        role="vision",
    )
    settings = settings.replace("[roles]", '[models.routes.script]\nbackend = "scripted"\n[roles]')

    answer = await ask(
        tmp_path, settings + 'planner = ["script"]\n', "What is this?", "--image", "red.png"
    )

    assert answer.code == 0, answer.err
    assert len(answer.out.split()) > 10, "the model's words"
