"""Every type that is read, and what each refusal tells."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adapters.decoding import kinds
from adapters.decoding.child.pictures import spread
from adapters.decoding.errors import FileRefused
from adapters.decoding.files import Decoded, decode_file
from adapters.decoding.sandbox import Sandbox
from tests import documents, pictures

ENTITIES = '<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(bwrap="/nowhere/bwrap") as opened:
        yield opened


def colours(found: Decoded) -> list[tuple[int, ...]]:
    """The middle of each picture, to the nearest of black and white in each channel."""
    seen = []
    for picture in found.pictures:
        shown = Image.open(io.BytesIO(picture.data)).convert("RGB")
        pixel = shown.getpixel((shown.width // 2, shown.height // 2))
        assert isinstance(pixel, tuple)
        seen.append(tuple(255 * (channel > 127) for channel in pixel))
    return seen


async def refused(data: bytes, sandbox: Sandbox, claimed: str = "") -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        await decode_file(data, sandbox, claimed=claimed)
    return caught.value


async def test_of_an_animation_key_frames_are_shown_in_order(sandbox: Sandbox) -> None:
    found = await decode_file(pictures.animation(), sandbox)

    assert colours(found) == [(255, 0, 0), (0, 0, 255)]
    assert (found.kind, found.total) == ("GIF", 2)


@pytest.mark.parametrize("kind", ["mp4", "webm"])
async def test_of_a_video_key_frames_are_shown_in_order(kind: str, sandbox: Sandbox) -> None:
    found = await decode_file(documents.video(kind), sandbox)

    assert colours(found) == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


async def test_a_photograph_saved_as_png_is_kept_small(sandbox: Sandbox) -> None:
    chaos = Image.merge("RGB", [Image.effect_noise((1600, 1200), 90) for _ in "RGB"])

    (photo,) = (await decode_file(pictures.encoded(chaos, "PNG"), sandbox)).pictures

    assert photo.media_type == "image/jpeg"
    assert len(photo.data) <= 2 * 1024 * 1024


async def test_a_pdf_is_read_as_text_page_by_page(sandbox: Sandbox) -> None:
    found = await decode_file(documents.pdf("Invoice 4711: 42 euros", "Thank you!"), sandbox)

    assert found.text == "[page 1]\nInvoice 4711: 42 euros\n\n[page 2]\nThank you!"
    assert found.pictures == ()


async def test_a_scanned_pdf_is_shown_as_pictures_of_its_first_pages(sandbox: Sandbox) -> None:
    page = pictures.encoded(Image.new("RGB", (300, 200), "red"), "JPEG")

    found = await decode_file(documents.scanned_pdf(*[page] * 6), sandbox)

    assert colours(found) == [(255, 0, 0)] * 4
    assert (found.text, found.total, found.read) == ("", 6, 4)


async def test_a_text_document_is_read_with_its_tables(sandbox: Sandbox) -> None:
    cell = "<w:tc><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:tc>"
    row = f"<w:tbl><w:tr>{cell.format('a')}{cell.format('b')}</w:tr></w:tbl>"
    table = f'<w:document xmlns:w="x"><w:body>{row}</w:body></w:document>'

    plain = await decode_file(documents.docx("Dear <team>,", "it works & stays."), sandbox)
    cells = await decode_file(documents.docx(more={"word/document.xml": table}), sandbox)

    assert (plain.kind, plain.text) == ("DOCX", "Dear <team>,\nit works & stays.\n")
    assert cells.text == "a | b | \n"


async def test_a_spreadsheet_is_read_as_rows_of_values(sandbox: Sandbox) -> None:
    found = await decode_file(documents.xlsx([["Item", "Sum"], ["Chair", 80]]), sandbox)

    assert (found.kind, found.text) == ("XLSX", "[sheet Sheet1]\nItem\tSum\nChair\t80\n")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Grüße".encode(), "Grüße"),
        ("Grüße".encode("utf-16"), "Grüße"),
        ("Grüße".encode("utf-8-sig"), "Grüße"),
        ("Grüße".encode("cp1252"), "Grüße"),
        (b"a,b\n1,2\n", "a,b\n1,2\n"),
    ],
)
async def test_text_is_read_in_the_usual_encodings(
    data: bytes, text: str, sandbox: Sandbox
) -> None:
    assert (await decode_file(data, sandbox, claimed="text/csv")).text == text


async def test_a_long_text_is_cut_and_says_so(sandbox: Sandbox) -> None:
    found = await decode_file(b"word " * 200_000, sandbox)

    assert (len(found.text), found.cut) == (400_000, True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"ID3\x04" + bytes(60), "audio"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio"),
        (b"\0\0\0\x20ftypM4A " + bytes(60), "audio"),
        (documents.sound(), "audio"),
        (documents.archive({"a.txt": "hello"}), "unknown"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(60), "unknown"),
        (b"\x00\x01\x02binary", "unknown"),
        (b"<?xml version='1.0'?><!-- x --><svg/>", "unknown"),
        (b"\0\0\0\x20ftypheic" + bytes(60), "unknown"),
        (b"%PDF-1.7 and no more", "damaged"),
        (documents.video()[:500], "damaged"),
        (documents.pdf("a long enough secret", media_box="0 0 0 0")[:300], "damaged"),
        (documents.docx("x", head=ENTITIES), "entities"),
        (documents.docx("x", more={"inner.zip": b"PK\x03\x04"}), "nested"),
        (documents.docx("x", more={"../../etc/passwd": "x"}), "nested"),
        (documents.docx("x", more={"word/big.xml": bytes(60_000_000)}), "bomb"),
        (documents.docx("x", more={f"word/{n}.xml": "" for n in range(2_001)}), "bomb"),
        (documents.docx(" "), "blank"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
async def test_what_is_not_read_is_refused_with_its_reason(
    data: bytes, reason: str, sandbox: Sandbox
) -> None:
    assert (await refused(data, sandbox)).reason == reason


async def test_a_document_with_a_password_is_named_so(sandbox: Sandbox) -> None:
    zipped = bytearray(documents.docx("secret"))
    at = zipped.index(b"PK\x01\x02")
    while at >= 0:
        zipped[at + 8] |= 1  # the flag of encryption in the directory
        at = zipped.find(b"PK\x01\x02", at + 1)

    assert (await refused(bytes(zipped), sandbox)).reason == "locked"


@pytest.mark.parametrize("claimed", ["image/png", "audio/mpeg", "application/pdf; x=y"])
async def test_text_that_is_said_to_be_something_else_is_refused(
    claimed: str, sandbox: Sandbox
) -> None:
    page = b"<!doctype html><title>Sign in</title>"

    assert (await refused(page, sandbox, claimed)).reason == "mismatch"


async def test_a_name_that_lies_about_a_picture_changes_nothing(sandbox: Sandbox) -> None:
    found = await decode_file(pictures.shapes(), sandbox, claimed="application/pdf")

    assert found.kind == "PNG"


async def test_a_large_document_of_its_type_names_both_sizes(sandbox: Sandbox) -> None:
    error = await refused(b"a" * (6 * 1024 * 1024), sandbox)

    assert (error.reason, dict(error.fields)) == ("size", {"size": "6", "limit": "5"})


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_of_one_kind_or_none(data: bytes) -> None:
    kind = kinds.kind_of(data)

    assert kind is None or kinds.family_of(kind)
    assert kind is None or kinds.other_name(data) in ("", kinds.other_name(data))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 20))
def test_chosen_frames_are_in_order_and_hold_both_ends(total: int, wanted: int) -> None:
    chosen = spread(total, wanted)

    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(total, wanted)
    assert chosen[0] == 0
    assert wanted == 1 or chosen[-1] == total - 1
