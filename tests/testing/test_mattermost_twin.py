from __future__ import annotations

import aiohttp

from bot.testing.mattermost import MattermostTwin
from bot.testing.mattermost.world import MAX_POST_RUNES


async def test_a_bot_of_any_make_is_told_and_answers(mattermost_twin: MattermostTwin) -> None:
    server = mattermost_twin
    user, channel = server.add_user("alice"), server.add_channel("general")
    bearer = {"Authorization": f"Bearer {server.token}"}
    async with aiohttp.ClientSession(server.url, headers=bearer) as session:
        async with session.ws_connect("/api/v4/websocket") as socket:
            data = {"token": server.token}
            await socket.send_json({"seq": 1, "action": "authentication_challenge", "data": data})
            assert (await socket.receive_json())["status"] == "OK"
            assert (await socket.receive_json())["event"] == "hello"
            root = await server.say(user, channel, "Hello", mention_bot=True)
            assert (await socket.receive_json())["event"] == "posted"
        body = {"channel_id": channel, "root_id": root, "message": "Hi", "pending_post_id": "p1"}
        for _ in range(2):
            async with session.post("/api/v4/posts", json=body) as posted:
                assert posted.status == 201

    assert server.replies(channel) == ["Hi"]


async def test_the_server_refuses_as_the_real_one_does(mattermost_twin: MattermostTwin) -> None:
    channel = mattermost_twin.add_channel("general")
    bearer = {"Authorization": f"Bearer {mattermost_twin.token}"}
    long = {"channel_id": channel, "message": "x" * (MAX_POST_RUNES + 1)}
    async with aiohttp.ClientSession(mattermost_twin.url) as session:
        async with session.get("/api/v4/users/me") as stranger:
            assert stranger.status == 401
        async with session.post("/api/v4/posts", json=long, headers=bearer) as refused:
            assert refused.status == 400
        async with session.delete("/api/v4/posts/none", headers=bearer) as gone:
            assert gone.status == 404
