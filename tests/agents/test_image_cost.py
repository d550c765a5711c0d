"""What an image costs: the table measured against the model's own code, and real headers."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adapters.models.crops import crops_of
from adapters.models.scripted import Say, ScriptedBackend
from agents.errors import PromptTooLong
from agents.ports import Capabilities, ImageData, ModelRequest, PromptMessage, complete
from agents.prompts.image_cost import cost_of, image_tokens, max_image_tokens, size_of

CROPS = (1, 4, 9, 16)
# Checked on real engines: ONNX Runtime GenAI and the model's own processor (num_crops 1, 4, 9, 16).
MEASURED = {
    (336, 336): (313, 757, 1489, 2509),
    (1024, 1024): (313, 757, 1489, 2509),
    (640, 480): (313, 757, 1489, 1921),
    (1280, 720): (313, 757, 1045, 2353),
    (1920, 1080): (313, 757, 1045, 2353),
    (1080, 1920): (313, 757, 1057, 2377),
    (2480, 3508): (313, 757, 1489, 1933),
    (3000, 500): (313, 745, 1033, 2485),
}
JPEG = b"\xff\xd8\xff"
sides = st.integers(1, 12_000)
crops = st.integers(1, 36)


@pytest.mark.parametrize(
    ("size", "num_crops", "tokens"),
    [
        (size, num_crops, tokens)
        for size, row in MEASURED.items()
        for num_crops, tokens in zip(CROPS, row, strict=True)
    ],
)
def test_an_image_costs_what_was_measured(
    size: tuple[int, int], num_crops: int, tokens: int
) -> None:
    assert image_tokens(*size, num_crops) == tokens


@settings(max_examples=300, deadline=None)
@given(sides, sides, crops)
def test_no_image_costs_more_than_the_bound_and_more_crops_never_cost_less(
    width: int, height: int, num_crops: int
) -> None:
    tokens = image_tokens(width, height, num_crops)

    assert 2 * 144 + 25 <= tokens <= max_image_tokens(num_crops)
    assert tokens <= image_tokens(width, height, num_crops + 1)


@settings(max_examples=300, deadline=None)
@given(sides, sides, crops, st.integers(2, 9))
def test_only_the_shape_counts_and_lying_is_never_dearer_than_standing(
    width: int, height: int, num_crops: int, times: int
) -> None:
    tokens = image_tokens(width, height, num_crops)

    assert image_tokens(width * times, height * times, num_crops) == tokens
    if width >= height:
        assert tokens <= image_tokens(height, width, num_crops)


def test_the_bound_is_reached() -> None:
    assert image_tokens(336, 16 * 336, 16) == max_image_tokens(16) == 2653
    assert image_tokens(10, 1000, 4) == max_image_tokens(4) == 781


@settings(max_examples=300, deadline=None)
@given(st.integers(32, 4096), st.integers(32, 4096), st.sampled_from(CROPS))
def test_whole_numbers_give_what_the_models_own_floating_point_gives(
    width: int, height: int, num_crops: int
) -> None:
    """As its image processor computes it (HD_transform, then num_img_tokens)."""
    ratio = max(width, height) / min(width, height)
    scale = 1
    while scale * math.ceil(scale / ratio) <= num_crops:
        scale += 1
    across = scale - 1
    down = max(math.ceil(int(across * 336 / ratio) / 336), 1)
    if width < height:
        across, down = down, across

    assert image_tokens(width, height, num_crops) == (across * down + 1) * 144 + 1 + (down + 1) * 12


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_an_image_without_a_size_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="has no size"):
        image_tokens(*size, 4)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": b"\xff\xc0 no frame"}])
@pytest.mark.parametrize("size", [(1, 1), (640, 480), (97, 1344)])
def test_a_jpegs_size_is_read_from_its_header(
    size: tuple[int, int], options: dict[str, object], mode: str
) -> None:
    assert size_of(encoded(size, "JPEG", mode, **options)) == size


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_pngs_size_is_read_from_its_header(mode: str) -> None:
    assert size_of(encoded((1344, 7), "PNG", mode)) == (1344, 7)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda rest: JPEG + rest)))
def test_any_bytes_have_a_size_or_none(data: bytes) -> None:
    size = size_of(ImageData(data, "image/jpeg"))

    assert size is None or min(size) > 0


def test_an_image_costs_what_its_size_says_and_the_most_when_it_says_nothing() -> None:
    by_crops = Capabilities(8192, max_images=1, image_tokens=2653, num_crops=4)
    fixed = Capabilities(8192, max_images=1, image_tokens=576)
    banner = encoded((3000, 500), "PNG", "RGB")

    assert cost_of(banner, by_crops) == 745
    assert cost_of(ImageData(b"", "image/png"), by_crops) == max_image_tokens(4)
    assert cost_of(banner, fixed) == 576


async def test_a_backend_refuses_by_what_the_very_image_costs() -> None:
    own = Capabilities(745 + 8 + 1, max_images=1, image_tokens=781, num_crops=4)
    backend = ScriptedBackend("eyes", [Say("fine")], capabilities=own)

    def ask(width: int, height: int) -> ModelRequest:
        image = encoded((width, height), "PNG", "RGB")
        return ModelRequest((PromptMessage("user", "", (image,)),), max_tokens=1)

    with pytest.raises(PromptTooLong, match="prompt of 765 tokens is over the limit of 753"):
        await complete(backend, ask(640, 480))
    assert (await complete(backend, ask(3000, 500)))[0] == "fine"


@pytest.mark.parametrize(
    ("settings_file", "num_crops"),
    [('{"num_crops": 16, "num_img_tokens": 144}', 16), ("{}", 4), ("no JSON", 4), (None, 4)],
)
def test_the_models_folder_tells_its_crops(
    tmp_path: Path, settings_file: str | None, num_crops: int
) -> None:
    if settings_file is not None:
        (tmp_path / "preprocessor_config.json").write_text(settings_file)

    assert crops_of(tmp_path) == num_crops


def encoded(size: tuple[int, int], kind: str, mode: str, **options: object) -> ImageData:
    into = io.BytesIO()
    Image.new(mode, size).save(into, kind, **options)
    return ImageData(into.getvalue(), "image/png" if kind == "PNG" else "image/jpeg")
