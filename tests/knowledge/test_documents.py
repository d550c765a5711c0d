"""Documents as sections under their headings, and cut to what an embedder reads."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from adapters.decoding.sandbox import Sandbox
from adapters.knowledge.chunks import cut
from adapters.knowledge.documents import Document, Section, from_markdown, from_text
from adapters.knowledge.folder import Unread, read_files
from tests.documents import docx, pdf, scanned_pdf
from tests.pictures import photo

MARKDOWN = """intro
# Title
one
## Part `a`
two
```
# no heading
```
# Other
three
"""
RST = """.. _top:

=====
Title
=====

See :doc:`the guide </guide>` and :class:`~app.models.Thing`.

Part
----

.. note::
    :class: wide

    Mind ``this``.

Deeper
~~~~~~
three
"""


def words(text: str) -> int:
    return len(text.split())


def test_markdown_headings_make_sections_and_those_in_code_do_not() -> None:
    found = from_markdown("a.md", MARKDOWN)

    assert found.title == "Title"
    assert [each.path for each in found.sections] == [
        (),
        ("Title",),
        ("Title", "Part a"),
        ("Other",),
    ]
    assert "# no heading" in found.sections[2].text


def test_restructured_text_is_read_by_its_underlines_and_without_its_markup() -> None:
    found = from_text("a.rst", RST)

    assert [each.path for each in found.sections] == [
        ("Title",),
        ("Title", "Part"),
        ("Title", "Part", "Deeper"),
    ]
    assert found.sections[0].text == "See the guide and app.models.Thing."
    assert "Mind `this`." in found.sections[1].text
    assert ":class:" not in found.sections[1].text


@given(st.text("ab#\n=-`.: *~", max_size=300))
def test_any_text_is_a_document_that_loses_no_letter(text: str) -> None:
    for read in (from_markdown, from_text):
        found = read("x", text)
        told = "".join("".join(s.path) + s.text for s in found.sections)
        assert told.count("a") >= 0
        if read is from_markdown and not any(line.startswith("#") for line in text.splitlines()):
            assert told.count("a") == text.count("a")


@given(st.lists(st.text("abc ", min_size=1, max_size=200), min_size=1, max_size=5))
def test_no_passage_is_longer_than_asked_for(texts: list[str]) -> None:
    document = Document("x", "Title", "", tuple(Section(("Title",), text) for text in texts))
    for chunk in cut(document, words, max_tokens=80):
        assert words(chunk.whole) <= 80
        assert chunk.heading == "Title"


async def test_a_folder_gives_its_documents_and_the_reason_for_each_other_file(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.md").write_text("# A\ntext")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.pdf").write_bytes(pdf("How to file expenses"))
    (tmp_path / "c.docx").write_bytes(docx("Quarterly goals"))
    (tmp_path / "locked.docx").write_bytes(with_password(docx("secret")))
    (tmp_path / "scanned.pdf").write_bytes(scanned_pdf(photo(200, 100)))
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 nothing behind it")
    (tmp_path / "empty.md").write_text("")
    (tmp_path / "huge.txt").write_bytes(b"x" * (21 * 1024 * 1024))
    (tmp_path / ".secret.md").write_text("# hidden")
    (tmp_path / "program.exe").write_bytes(b"MZ")
    (tmp_path / "outside.md").symlink_to("/etc/hostname")
    async with Sandbox() as sandbox:
        found = [each async for each in read_files(tmp_path, sandbox, base_url="https://d.example")]

    documents = {each.name: each for each in found if isinstance(each, Document)}
    unread = {each.name: each.reason for each in found if isinstance(each, Unread)}
    assert sorted(documents) == ["a.md", "c.docx", "sub/b.pdf"]
    assert documents["sub/b.pdf"].url == "https://d.example/sub/b.pdf"
    assert "expenses" in documents["sub/b.pdf"].sections[0].text
    assert sorted(unread) == ["broken.pdf", "empty.md", "huge.txt", "locked.docx", "scanned.pdf"]
    assert unread["locked.docx"] == "is protected by a password"
    assert "scanned pages" in unread["scanned.pdf"]
    assert unread["huge.txt"] == "larger than 20 MB"


def with_password(zipped: bytes) -> bytes:
    """The flag of encryption set in the directory of the archive."""
    changed = bytearray(zipped)
    at = changed.index(b"PK\x01\x02")
    while at >= 0:
        changed[at + 8] |= 1
        at = changed.find(b"PK\x01\x02", at + 1)
    return bytes(changed)
