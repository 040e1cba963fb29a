"""Serves localstripe on loopback: a Stripe imitation written by others, to judge ours by.

    python localstripe_server.py PORT [--seed N]

PORT 0 takes any free port. The first line on stdout is `listening on http://127.0.0.1:PORT`.
The server ends when its standard input does, so it never outlives the process that started it.
Nothing is read from or written to disk; the same seed and the same requests give the same ids.
"""

import argparse
import asyncio
import random
import sys
import threading

from aiohttp import web
from localstripe.resources import store
from localstripe.server import app


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    random.seed(arguments.seed)
    # It would otherwise rewrite one pickle of everything, shared by all servers of this machine, at every write.
    store.dump_to_disk = lambda: None
    asyncio.run(serve(arguments.port))


async def serve(port):
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await standard_input_end()
    finally:
        await runner.cleanup()


async def standard_input_end():
    """Waits on a thread, because an event loop cannot watch every kind of standard input."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def drain():
        while sys.stdin.buffer.read(4096):
            pass
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=drain, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    main()
