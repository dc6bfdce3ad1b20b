"""The sockets that the server listens on, as asyncio serves them."""

import asyncio
import socket

from stepwell.cli.listening import listen


async def test_answers_in_several_writes_do_not_wait_for_acknowledgements() -> None:
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        found.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listening = listen("127.0.0.1", 7700)
    async with await asyncio.start_server(serve, sock=listening):
        _, writer = await asyncio.open_connection(*listening.getsockname())
        assert await asyncio.wait_for(found, 60) == 1
        writer.close()
