"""The processes of a server: a parent that keeps the port open, and workers, which it can replace."""

import asyncio
import os
import socket
import time

import uvicorn
from uvicorn.supervisors import multiprocess

from src.system.errors import UserError

SETTINGS = "REPRISE_SERVE"  # the variable that names the file of settings
TOKEN = "REPRISE_TOKEN"
STARTUP_FAILURE = 3  # exit code of a worker that uvicorn does not start again
START = 120  # seconds in which a worker must have loaded its models
GRACE = 1  # seconds for the request of an accepted connection, which uvicorn would close at once
DRAIN = 60  # seconds in which a worker that ends answers what it has accepted


class Server(uvicorn.Server):
    """A server that answers the requests of connections which it has accepted just before its end."""

    async def shutdown(self, sockets=None) -> None:
        for server in self.servers:
            server.close()  # other workers accept from now on
        await asyncio.sleep(GRACE)
        await super().shutdown(sockets)


class Worker(multiprocess.Process):
    """A worker for whose answer nobody waits once it is dead; uvicorn's own would wait for `START`."""

    @property
    def server(self) -> Server:
        self._server = self._server or Server(self.config)
        return self._server

    def _healthcheck(self, timeout: float) -> bool | None:
        end = time.monotonic() + timeout
        try:
            self.parent_conn.send(b"ping")
            while self.process.is_alive() and time.monotonic() < end:
                if self.parent_conn.poll(0.1):
                    return self.parent_conn.recv()
        except (OSError, EOFError):
            pass
        return None


def run_server(host: str, port: int, workers: int) -> int:
    """Listen until Ctrl-C or SIGTERM and return the exit code.

    SIGHUP replaces the workers by new ones, which read the settings again; no request is lost.
    """
    config = uvicorn.Config(
        "src.serving.app:create", factory=True, host=host, port=port, workers=workers, access_log=False,
        log_level="warning", timeout_graceful_shutdown=DRAIN, timeout_worker_healthcheck=START,
        timeout_keep_alive=30, server_header=False,
    )  # fmt: skip
    if host not in ("127.0.0.1", "localhost", "::1") and not os.environ.get(TOKEN):
        print(f"warning: {host} can be reached from elsewhere and {TOKEN} is not set", flush=True)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        raise UserError(f"host={host} port={port}: {error.strerror}; choose another port") from None
    with listening:
        listening.set_inheritable(True)
        multiprocess.Process = Worker
        processes = multiprocess.Multiprocess(config, [listening])
        processes.run()
    return 1 if any(one.exitcode == STARTUP_FAILURE for one in processes.processes) else 0
