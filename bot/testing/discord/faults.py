"""What may go wrong on the fake Discord; the names are those of `bot.testing.faults`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.testing.discord.twin import DiscordTwin


class DiscordFaults:
    def __init__(self, discord: DiscordTwin) -> None:
        self._discord = discord

    def slow(self, seconds: float) -> None:
        self._discord.gate.latency_s = seconds

    def limited(self, call: str, retry_after_s: float, *, times: int = 1) -> None:
        verb, path = _parts(call)
        wait = {"Retry-After": str(int(retry_after_s) + 1), "X-RateLimit-Scope": "user"}
        body = {"retry_after": retry_after_s}
        self._discord.refuse(verb, path, 429, body=body, headers=wait, times=times)

    def refused(self, call: str, error: int, *, status: int = 403, times: int = 1) -> None:
        """`error` is a JSON error code, such as 50001 (missing access)."""
        verb, path = _parts(call)
        body = {"message": "refused", "code": error}
        self._discord.refuse(verb, path, status, body=body, times=times)

    def page(self, call: str, status: int = 503, *, times: int = 1) -> None:
        verb, path = _parts(call)
        self._discord.refuse(verb, path, status, body="<h1>Oops</h1>", times=times)

    def cut(self, call: str, *, times: int = 1) -> None:
        """Of sends and edits; the path is not looked at."""
        self._discord.gate.cut_after[_parts(call)[0]] += times

    def twice(self, *, times: int = 1) -> None:
        self._discord.gateway.order.twice += times

    def swapped(self, *, times: int = 1) -> None:
        self._discord.gateway.order.swapped += times

    async def disconnect(self, code: int | None = None) -> None:
        """By operation 7, or by a close code of the gateway."""
        if code is None:
            await self._discord.gateway.tell(7)
        else:
            await self._discord.gateway.close_all(code)

    async def drop(self) -> None:
        self._discord.drop_connections()

    def zombie(self) -> None:
        """From now on heartbeats are not answered."""
        self._discord.gateway.withhold_acks = True

    def expired_files(self) -> None:
        """Every address of an attachment that was told so far is dead."""
        cdn = self._discord.world.cdn
        before, lived_s = cdn.clock, cdn.lives_s
        cdn.clock = lambda: before() + lived_s + 1


def _parts(call: str) -> tuple[str, str]:
    verb, _, path = call.partition(" ")
    return verb, path
