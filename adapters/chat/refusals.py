"""What a platform's refusals mean to whom, and telling the operator of each once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

_TOLD = 2_000


@dataclass(frozen=True, slots=True)
class Meaning:
    """`passes`: another try may succeed. `may_be_done`: it may have been done all the same.

    `remedy` is for the operator; `sentence` for the person, where one can be told in private.
    """

    passes: bool = False
    may_be_done: bool = False
    remedy: str = ""
    sentence: str = ""


class Told:
    """Tells the operator of each final refusal that has a remedy, once for each place."""

    def __init__(self, *, adapter: str, event: str) -> None:
        self._adapter, self._event = adapter, event
        self._told = OrderedDict[tuple[str, str | int], None]()

    def tell(self, code: str | int, place: str, remedy: str, **about: str) -> None:
        """`event` with what it is `about`, where somebody can mend it."""
        if not remedy or (place, code) in self._told:
            return
        self._told[place, code] = None
        if len(self._told) > _TOLD:
            self._told.popitem(last=False)
        log.error(
            self._event, adapter=self._adapter, channel=place, error=code, remedy=remedy, **about
        )
