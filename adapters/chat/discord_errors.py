"""Discord's error codes: which pass by themselves, what mends the final ones.

Codes as in docs.discord.com/developers/topics/opcodes-and-status-codes, 2026-08. A code that is
not here passes with HTTP 429 and 5xx, and is final with any other status.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.chat.refusals import Meaning

UNKNOWN_MESSAGE = 10008
EDITED_TOO_OFTEN = 30046  # a message older than an hour takes few edits; another may be sent
HAS_ITS_THREAD = 160004
ARCHIVED = 50083
ANEW = frozenset({UNKNOWN_MESSAGE, EDITED_TOO_OFTEN})  # that message can't be used any more

_PASSES = Meaning(passes=True)
_FINAL = Meaning()
_OURS = Meaning(remedy="this is a mistake of the bot's; report the code")
_NO_ACCESS = Meaning(
    remedy="let the bot's role see the channel (View Channel) and send there (Send Messages, Send"
    " Messages in Threads, Read Message History)",
)
_FILTERED = Meaning(
    remedy="the server's AutoMod or Discord's filter blocks the text; exempt the bot's role"
)

ERRORS: Mapping[int, Meaning] = {
    # what is not there any more; never posted elsewhere instead
    10003: Meaning(remedy="the channel or thread was deleted: nothing to mend"),
    10004: Meaning(remedy="the bot is no longer in that server: invite it again"),
    UNKNOWN_MESSAGE: _FINAL,
    10013: _FINAL,  # the person
    10015: _FINAL,  # the interaction's webhook: its 15 minutes are over
    10062: _FINAL,  # the interaction: answered after 3 s
    40060: _FINAL,  # acknowledged already
    50027: _FINAL,  # the interaction's token
    # too fast, or Discord's own trouble
    20016: _PASSES,  # slow mode
    20022: _PASSES,  # announcements
    20028: _PASSES,  # writes in this channel
    20029: _PASSES,  # writes in this server
    40062: _PASSES,
    40004: _PASSES,  # sending is switched off for a while
    110001: _PASSES,
    130000: _PASSES,  # overloaded
    EDITED_TOO_OFTEN: _FINAL,
    # what the bot may
    20026: Meaning(remedy="Discord holds the app for spam; see its mail and the Developer Portal"),
    40001: Meaning(remedy="reset the bot's token in the Developer Portal and set it"),
    40002: Meaning(remedy="verify the bot owner's account with Discord"),
    40333: Meaning(remedy="Cloudflare blocks this machine's address or its proxy's"),
    50001: _NO_ACCESS,
    50013: _NO_ACCESS,
    160002: Meaning(remedy="give the bot's role Read Message History"),
    50007: _FINAL,
    50278: _FINAL,
    50009: Meaning(remedy="the server's verification level keeps the bot out"),
    # the place
    50003: _OURS,
    50008: Meaning(remedy="the channel holds no messages: take it out of discord.allow.channels"),
    50024: Meaning(remedy="the channel holds no messages: take it out of discord.allow.channels"),
    ARCHIVED: Meaning(
        remedy="the thread is archived: give the bot's role Manage Threads, or open it again",
    ),
    HAS_ITS_THREAD: _FINAL,
    160005: Meaning(remedy="the thread is locked: nothing to mend"),
    160006: Meaning(remedy="the server has as many open threads as Discord allows: archive some"),
    160007: Meaning(remedy="the server has as many open threads as Discord allows: archive some"),
    # what was sent
    40005: Meaning(remedy="the file is larger than this server takes"),
    50005: _OURS,
    50006: _OURS,
    50035: _OURS,
    200000: _FILTERED,
    200001: _FILTERED,
    240000: _FILTERED,
}


def meaning_of(code: int, status: int) -> Meaning:
    known = ERRORS.get(code)
    if known is None or status >= 500:
        return _PASSES if status == 429 or status >= 500 else _FINAL
    return known
