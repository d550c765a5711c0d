"""A worker that takes one ring, says so and then does nothing, until it is killed."""

from __future__ import annotations

import asyncio
import sys

from tests.contracts.doorbells import PLACES, heard


async def main(kind: str, url: str) -> None:
    async with PLACES[kind].bell_at(url, "doomed", idle_s=1.5) as bell:
        await bell.open()
        for ring in await heard(bell, within_s=20):
            print(ring.conversation, flush=True)
        await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
