"""PDF: its text, or pictures of its first pages where it has none."""

from __future__ import annotations

import ctypes

import pypdfium2
from PIL import Image
from pypdfium2 import raw

from adapters.decoding.child import pictures
from adapters.decoding.child.wire import MAX_TEXT_CHARS, Job, Made, Refusal

MAX_PAGES = 50
MAX_CHARS_PER_PAGE = 100_000
LEAST_TEXT_CHARS = 16  # fewer in the whole file: it is a scan
ERRORS = (pypdfium2.PdfiumError, *pictures.ERRORS, ctypes.ArgumentError)
_LEAST_EDGE = 1.0  # points


def warm() -> None:
    pictures.warm()
    "x".encode("utf-16-le").decode("utf-16-le")  # what its strings are in
    document = pypdfium2.PdfDocument.new()
    page = document.new_page(20, 20)
    _picture(page, 20)
    _text(page)
    page.close()
    document.close()


def read(job: Job) -> Made:
    try:
        document = pypdfium2.PdfDocument(job.data)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            raise Refusal("locked") from error
        raise
    total = len(document)
    if total < 1:
        raise Refusal("damaged")
    texts, failed, chars = list[str](), 0, 0
    for number in range(min(total, MAX_PAGES)):
        try:
            page = document[number]
        except pypdfium2.PdfiumError:
            failed += 1
            continue
        texts.append(_text(page)[: MAX_TEXT_CHARS - chars])
        chars += len(texts[-1])
        page.close()
        if chars >= MAX_TEXT_CHARS:
            break
    if sum(len(text.strip()) for text in texts) >= LEAST_TEXT_CHARS:
        said = "\n\n".join(f"[page {at}]\n{text.strip()}" for at, text in enumerate(texts, 1))
        cut = chars >= MAX_TEXT_CHARS
        return Made("PDF", text=said, total=total, read=len(texts), cut=cut)
    if failed == min(total, MAX_PAGES):
        raise Refusal("damaged")
    shown = [_picture(document[at], job.max_side) for at in range(min(total, job.frames))]
    return Made("PDF", pictures=shown, total=total, read=len(shown))


def _text(page: pypdfium2.PdfPage) -> str:
    text = page.get_textpage()
    try:
        count = min(text.count_chars(), MAX_CHARS_PER_PAGE)
        return str(text.get_text_range(0, count)).replace("\r\n", "\n") if count > 0 else ""
    finally:
        text.close()


def _picture(page: pypdfium2.PdfPage, max_side: int) -> pictures.Encoded:
    """The page at the size a model sees; a page of any size costs the same pixels."""
    width, height = page.get_size()
    if not (width >= _LEAST_EDGE and height >= _LEAST_EDGE):  # NaN too
        raise Refusal("damaged")
    scale = max_side / max(width, height)
    if min(width, height) * scale < 1:
        raise Refusal("damaged")
    bitmap = page.render(scale=scale, may_draw_forms=False)
    image: Image.Image = bitmap.to_pil()
    return pictures.encoded(image, max_side, lossless=True)
