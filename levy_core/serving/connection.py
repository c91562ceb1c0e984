"""The connection of a request: a model learns through it that nobody waits for its answer any more."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from threading import Event
from typing import Any

from levy_core.serving.workload import CLIENT_LEFT

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class WatchedConnections:
    """An ASGI application that is another one, whose requests carry ``CLIENT_LEFT`` into every task and thread that computes them.

    A server tells that a client has left only to those who go on receiving after the body, which a framework does not do while
    it computes.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        left = Event()
        watching: asyncio.Task[Message] | None = None

        async def wait_until_left() -> Message:
            while (message := await receive())["type"] != "http.disconnect":
                pass
            left.set()
            return message

        async def pass_on() -> Message:
            nonlocal watching
            if watching is None:
                message = await receive()
                if message["type"] == "http.request" and not message.get("more_body", False):
                    watching = asyncio.create_task(wait_until_left())
                return message
            return await asyncio.shield(watching)  # the application may give up waiting; the watch goes on

        CLIENT_LEFT.set(left)  # the server runs each request in a context of its own
        try:
            await self._app(scope, pass_on, send)
        finally:
            if watching is not None:
                watching.cancel()
