"""Nothing of a stop string is ever shown, however the text is cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.models.stops import StopScanner

letters = st.text("ab|", max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.lists(letters, max_size=8), st.lists(st.text("ab|", min_size=1, max_size=4), max_size=3))
def test_the_text_before_the_first_stop_string_is_shown(
    pieces: list[str], stops: list[str]
) -> None:
    scanner = StopScanner(stops)
    text = "".join(pieces)

    shown = "".join(map(scanner.feed, pieces)) + scanner.rest()

    ends = [text.find(stop) for stop in stops if stop in text]
    assert not any(stop in shown for stop in stops)
    assert text.startswith(shown)
    assert scanner.hit == bool(ends)
    assert ends or shown == text
