"""A stranger's file becomes clean pixels, or one sentence for its sender."""

from __future__ import annotations

import asyncio
import io
import resource
import time

import pytest
from PIL import Image

from adapters.images import ImageRefused, prepare_image
from tests import pictures

NOT_AN_IMAGE = "unknown"


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_each_known_format_is_shrunk_and_re_encoded(kind: str) -> None:
    made = await prepare_image(pictures.photo(900, 300, kind), max_side=300)

    assert (made.width, made.height) == (300, 100)
    assert opened(made.data).size == (300, 100)
    assert Image.MIME[opened(made.data).format or ""] == made.media_type


async def test_a_small_screenshot_keeps_every_pixel() -> None:
    screenshot = pictures.error_window()

    made = await prepare_image(screenshot)

    assert opened(made.data).tobytes() == opened(screenshot).tobytes()


async def test_equal_files_get_equal_hashes() -> None:
    first, second = [await prepare_image(pictures.shapes()) for _ in range(2)]

    assert first == second


async def test_metadata_is_gone_and_the_picture_stands_upright() -> None:
    made = await prepare_image(pictures.tagged_photo())

    assert (made.width, made.height) == (100, 200)
    assert b"SecretMaker" not in made.data
    assert not opened(made.data).getexif()


async def test_of_an_animation_the_first_frame_is_kept() -> None:
    made = await prepare_image(pictures.animation())

    frame = opened(made.data)
    assert getattr(frame, "n_frames", 1) == 1
    assert frame.convert("RGB").getpixel((5, 5)) == (255, 0, 0)


async def test_transparent_parts_become_white() -> None:
    clear = pictures.encoded(Image.new("RGBA", (20, 20), (0, 0, 0, 0)), "PNG")

    made = await prepare_image(clear)

    assert opened(made.data).getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + b"0" * (10 * 1024**2), "size .*limit=10"),
        (b"just some text, named holiday.png", NOT_AN_IMAGE),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', NOT_AN_IMAGE),
        (b"8BPS\0\1" + bytes(100), NOT_AN_IMAGE),
        (b"<!doctype html><title>Sign in</title>", NOT_AN_IMAGE),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio"),
        (b"\xff\xd8\xff" + b"not really a JPEG", "damaged"),
    ],
)
async def test_what_is_no_usable_image_gets_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(ImageRefused, match=sentence):
        await prepare_image(data)


async def test_a_truncated_image_is_called_damaged() -> None:
    whole = pictures.photo(800, 800, "PNG")

    with pytest.raises(ImageRefused, match="damaged"):
        await prepare_image(whole[: len(whole) // 2])


@pytest.mark.parametrize(("width", "height"), [(40_000, 40_000), (12_001, 10), (5_001, 5_000)])
async def test_a_pixel_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(ImageRefused, match=f"width={width}, height={height}"):
        await prepare_image(pictures.bomb(width, height))

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 20 * 1024


async def test_the_event_loop_runs_on_while_a_large_image_is_decoded() -> None:
    large = pictures.photo(4000, 4000)
    longest_s = 0.0

    async def beat() -> None:
        nonlocal longest_s
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            longest_s = max(longest_s, time.perf_counter() - before)

    heart = asyncio.create_task(beat(), name="heart")
    made = await prepare_image(large)
    heart.cancel()

    assert (made.width, made.height) == (1344, 1344)
    assert longest_s < 0.5


async def test_a_cancelled_decoding_leaves_no_process_behind() -> None:
    task = asyncio.create_task(prepare_image(pictures.photo(4000, 4000)), name="decode")
    await asyncio.sleep(0.05)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
