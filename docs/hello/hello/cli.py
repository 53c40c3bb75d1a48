"""A web service that says hello, and restarts gracefully.

The role ``web`` is all that it has. Machines that run it are told ``ROLES=web``.
"""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from handoff import Generation, HandoffError, RestartError, Role, Supervisor, restart, settings_file

GREETING = "hello"

# build.json says which build this is: its version, and the NAME that it was made under.
UNPACKED = Path(__file__).parent.parent  # the folder that the executable unpacks itself into
BUILD = json.loads((UNPACKED / "build.json").read_text())
NAME, VERSION = BUILD["name"], BUILD["version"]
RESTART_SECONDS = 120.0


def settings() -> dict[str, str]:
    """Return the environment over the settings file, which the init does not read."""
    file = Path(os.environ.get("SETTINGS_FILE", f"/etc/default/{NAME}"))
    try:
        return {**settings_file.read(file), **os.environ}
    except FileNotFoundError:
        return dict(os.environ)
    except settings_file.SettingsFileError as error:
        sys.exit(f"{NAME}: {error}")


SETTINGS = settings()
ADDRESS = f"{SETTINGS.get('HOST', '0.0.0.0')}:{SETTINGS.get('PORT', '8000')}"  # noqa: S104
STATUS_FILE = Path(SETTINGS.get("RUNTIME_DIR", f"/run/{NAME}")) / "web.json"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/healthz":
            text = json.dumps({"status": "ok", "version": VERSION})
        else:
            text = f"{GREETING} from {VERSION}\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_request(self, *_: object) -> None:
        """Write no line for each request."""


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for the requests that are under way


def main() -> int:
    """Run one command of the contract. Returns the exit status."""
    words = sys.argv[1:]
    try:
        if words == ["web"]:
            generation = Generation.from_environ(os.environ)
            return prove_and_serve(generation) if generation else supervise()
        if words == ["check"]:  # this module, and so all that it needs, has been imported
            print(f"{NAME} {VERSION} can serve here")
            return 0
        if words == ["restart", "--wait", "web"]:
            print(f"web serves {restart(STATUS_FILE, RESTART_SECONDS)}")
            return 0
    except (HandoffError, RestartError, OSError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    print(f"usage: {NAME} web | check | restart --wait web | --version", file=sys.stderr)
    return 2


def supervise() -> int:
    STATUS_FILE.parent.mkdir(parents=True, exist_ok=True)
    return Supervisor(Role("web", [sys.argv[0], "web"], STATUS_FILE, ADDRESS)).run()


def prove_and_serve(generation: Generation) -> int:
    try:
        return serve(generation)
    except Exception as error:  # whatever it is, the version before serves on
        generation.failed(f"{type(error).__name__}: {error}")
        return 1


def serve(generation: Generation) -> int:
    if generation.bound_to not in {None, ADDRESS}:
        generation.failed(f"bound to {generation.bound_to}, not to {ADDRESS}: stop, then start")
        return 1
    [listener] = generation.listeners()
    # Two generations wait for the same connections: who comes too late must not block.
    listener.setblocking(False)
    server = Server(listener.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    itself = [sys.executable, "-IS", str(UNPACKED / "__main__.py"), "web"]
    generation.supervisor(itself, {"SLIPWAY_EXECUTABLE": sys.argv[0]})
    generation.ready(VERSION)
    if not generation.wait_accepted():
        return 1
    server.serve_forever()
    server.server_close()
    return 0
