from __future__ import annotations

from tests.adapters.chat.slack_bot import running
from tests.previews import Previews


async def test_the_recorder_of_the_whole_run_notices_a_send_that_unfolds_links() -> None:
    recorder = Previews()
    async with running() as bench:
        await bench.slack.say("U1", "C1", "hello", mention_bot=True)
        await bench.adapter.reply((await bench.heard())[0]).open(None)
        [sent] = [args for _, method, args in bench.slack.web.calls if method == "chat.postMessage"]
    recorder.watch("chat.postMessage", sent)
    recorder.watch("chat.postMessage", {"text": "https://example.com"})

    assert recorder.sends == 2
    assert len(recorder.careless) == 1
