"""A webhook of this machine's own, and the Prefect block that sends to it."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

SECRET = "hunter2-in-the-path"


class Message(NamedTuple):
    """What arrived."""

    path: str
    subject: str
    body: str


class Webhook(NamedTuple):
    """An address that takes messages, and those that have come."""

    address: str
    messages: "queue.Queue[Message]"

    def next(self) -> Message:
        """The next message; waits for it."""
        return self.messages.get(timeout=90)


@contextlib.contextmanager
def listening() -> Iterator[Webhook]:
    """A webhook while the body runs."""
    messages: queue.Queue[Message] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            messages.put(Message(self.path, content["subject"], content["body"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Keep the tests' output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Webhook(f"http://127.0.0.1:{server.server_port}", messages)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def save_block(prefect: str, name: str, address: str) -> str:
    """A block that sends to a webhook, with a secret in its address; what CL_NOTIFY calls it."""
    in_prefect(
        prefect,
        f"""
from prefect.blocks.notifications import CustomWebhookNotificationBlock
CustomWebhookNotificationBlock(
    name={name!r},
    url={address + "/{{token}}"!r},
    json_data={{"subject": "{{{{subject}}}}", "body": "{{{{body}}}}"}},
    secrets={{"token": {SECRET!r}}},
).save({name!r})
""",
    )
    return f"custom-webhook/{name}"


def in_prefect(prefect: str, program: str) -> str:
    """What a program prints that talks to a Prefect server."""
    environment = {**os.environ, "PREFECT_API_URL": prefect}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
