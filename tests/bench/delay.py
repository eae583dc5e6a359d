"""A TCP proxy that delivers everything late, as a distant server does: delay.py PORT SECONDS prints its own port."""

import asyncio
import sys


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    closed = loop.create_future()
    while octets := await reader.read(1 << 18):
        loop.call_later(delay_s, writer.write, octets)
        # As much as a connection of 1 Gbit/s has on its way; without a bound a fast server would fill the memory.
        while writer.transport.get_write_buffer_size() > 8 * 1024**2:
            await asyncio.sleep(delay_s / 10)
    loop.call_later(delay_s * 2, closed.set_result, None)
    await closed
    writer.close()


async def _main(port: int, delay_s: float) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        await asyncio.gather(_carry(reader, far_writer, delay_s), _carry(far_reader, writer, delay_s))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
