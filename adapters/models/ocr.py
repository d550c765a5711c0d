"""The honest end of the vision chain: reads the letters of an image and sees nothing else.

RapidOCR's loader fetches strings that look like URLs, so it is only ever given pixels.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import logging
import threading
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from agents.errors import BackendError
from agents.ports import Capabilities, Delta, Finish, ImageData, ModelRequest, Usage

NOTHING_READ = "No text could be read in the image."
LONE_LETTER_SCORE = 0.9
MAX_IMAGES = 8
MODEL_FILES = (
    "PP-OCRv6_det_small.onnx",
    "PP-OCRv6_rec_small.onnx",
    "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
)


class OcrBackend:
    """Text in images by RapidOCR; the engine loads at the first image."""

    def __init__(self, name: str = "ocr", *, threads: int | None = None) -> None:
        self._name, self._threads = name, threads
        self._lock = threading.Lock()  # one image at a time: the cores are shared
        self._engine: Any = None
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            context_tokens=1_000_000, max_images=MAX_IMAGES, streaming=False, reads_text_only=True
        )

    async def count_tokens(self, text: str) -> int:
        return len(text.split())  # nothing of the text is read, so nothing can be too long

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | Finish, None]:
        if self._closed:
            raise BackendError(self._name, "the reader was closed", retryable=True)
        images = [image for message in request.messages for image in message.images]
        if not images or request.schema is not None:
            detail = "reads images only, and gives plain text"
            raise BackendError(self._name, detail, retryable=True)
        if len(images) > MAX_IMAGES:
            detail = f"{len(images)} images given, at most {MAX_IMAGES} are read at once"
            raise BackendError(self._name, detail, retryable=True)
        texts = [await self._read_within(image, request) for image in images]
        text = texts[0] if len(texts) == 1 else _numbered(texts)
        words = len(text.split())
        yield Delta(text)
        yield Finish("stop", Usage(0, words))

    async def _read_within(self, image: ImageData, request: ModelRequest) -> str:
        limit_s = request.first_token_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.to_thread(self._read, image)
        except TimeoutError as error:
            detail = f"nothing was read within {limit_s:g} s"
            raise BackendError(self._name, detail, retryable=True) from error
        except (RuntimeError, ValueError, OSError) as error:
            detail = f"reading failed: {type(error).__name__}"
            raise BackendError(self._name, detail, retryable=True) from error

    def _read(self, image: ImageData) -> str:
        pixels = _pixels(image)
        with self._lock:
            if self._engine is None:
                self._engine = _load(self._name, self._threads)
            result = self._engine(pixels)
        if result.txts is None or result.boxes is None:
            return NOTHING_READ
        found = zip(result.boxes, result.txts, result.scores, strict=True)
        kept = [(box.tolist(), text) for box, text, score in found if is_text(text, score)]
        lines = in_reading_order([box for box, _ in kept], [text for _, text in kept])
        return "\n".join(lines) or NOTHING_READ

    async def aclose(self) -> None:
        self._closed = True
        self._engine = None


def is_text(text: str, score: float) -> bool:
    """Leave out shapes: a triangle is read as a lone V at 0.77, real letters score 0.98."""
    return len(text.strip()) > 1 or (bool(text.strip()) and score >= LONE_LETTER_SCORE)


def in_reading_order(boxes: Sequence[Sequence[Sequence[float]]], texts: Sequence[str]) -> list[str]:
    """Lines top to bottom, and the pieces of one line left to right.

    A piece belongs to the line whose first piece covers its middle.
    """
    pieces = sorted(
        (
            (min(y for _, y in box), max(y for _, y in box), min(x for x, _ in box), text)
            for box, text in zip(boxes, texts, strict=True)
        ),
        key=lambda piece: (piece[0] + piece[1]) / 2,
    )
    lines: list[list[tuple[float, float, float, str]]] = []
    for piece in pieces:
        middle = (piece[0] + piece[1]) / 2
        if lines and lines[-1][0][0] <= middle <= lines[-1][0][1]:
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return ["  ".join(one[3] for one in sorted(line, key=lambda one: one[2])) for line in lines]


def _numbered(texts: Sequence[str]) -> str:
    return "\n\n".join(f"Image {number}:\n{text}" for number, text in enumerate(texts, 1))


def _pixels(image: ImageData) -> Any:
    import numpy
    from PIL import Image

    with Image.open(io.BytesIO(image.data), formats=["PNG", "JPEG"]) as picture:
        return numpy.asarray(picture.convert("RGB"))[:, :, ::-1].copy()  # the engine reads BGR


def _load(name: str, threads: int | None) -> Any:
    """Build the reader from the models inside its wheel; it would fetch a missing one."""
    try:
        rapidocr = importlib.import_module("rapidocr")
    except ImportError as error:
        detail = "the reader is not installed; run: pip install 'firstline[ocr]'"
        raise BackendError(name, detail, retryable=True) from error
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    folder = Path(str(rapidocr.__file__)).parent / "models"
    paths = [folder / file for file in MODEL_FILES]
    if missing := [path.name for path in paths if not path.is_file()]:
        detail = f"model {missing[0]!r} is not inside the rapidocr package; install rapidocr 3.10"
        raise BackendError(name, detail, retryable=True)
    det, rec, cls = (str(path) for path in paths)
    params = {"Global.log_level": "error", "Det.model_path": det, "Rec.model_path": rec}
    params |= {"Cls.model_path": cls}
    if threads:
        params["EngineConfig.onnxruntime.intra_op_num_threads"] = str(threads)
    return rapidocr.RapidOCR(params=params)
