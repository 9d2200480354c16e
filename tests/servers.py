"""Servers on loopback that do not do what a tracker needs."""

import contextlib
import http.server
import socket
import threading
import time


@contextlib.contextmanager
def hanging():
    """Yield the address of a server that accepts connections and never answers."""
    accepted = []
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:

        def accept():
            with contextlib.suppress(OSError):  # closed at the end
                while True:
                    accepted.append(server.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    for connection in accepted:
        connection.close()


@contextlib.contextmanager
def answering(code: int, seconds: float = 0):
    """Yield the address of a server that answers every request with ``code`` and {}, after ``seconds``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(seconds)
            with contextlib.suppress(OSError):  # nobody waits for it any more
                self.send_response(code)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

        do_GET = do_POST = do_PUT = do_PATCH = answer

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
