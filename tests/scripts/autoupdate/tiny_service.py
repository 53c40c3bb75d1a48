#!/usr/bin/python3 -IS
"""A service that keeps the contract and does nothing else: what tests install.

`build_package` (package_maker.py) replaces the two capitalised texts below. In
a restart the process takes these texts from the file that is then on disk, as
a supervisor would execute that file: hundreds of restarts cost no interpreter.
"""

import os
import sys

VERSION = "@VERSION@"
FAULT = "@FAULT@"  # what is wrong with this build


def check() -> int:
    # What it unpacks goes where it is told, and nowhere else.
    with open(os.environ["CACHE_DIR"] + "/unpacked", "w") as file:  # noqa: PTH123
        file.write(VERSION)
    # The machine may be one whose settings are all in the environment.
    if not os.path.exists(os.environ["SETTINGS_FILE"]):  # noqa: PTH110
        print("SETTINGS_FILE is not there")
        return 1
    if FAULT == "check hangs":
        os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "1000")
        os.execlp("sleep", "sleep", "1000")
    if FAULT == "check is killed":
        os.kill(os.getpid(), 9)
    if FAULT == "check fails":
        print("cannot import horizon: no module of that name")
    return FAULT == "check fails"


def serve(role: str) -> int:
    # Not above: a check, of which there are hundreds, needs none of these.
    import json
    import select
    import signal
    import socket
    import time

    version, fault = VERSION, FAULT

    def publish(state: str, error: str = "") -> None:
        path = f"{os.environ['RUNTIME_DIR']}/{role}"
        document = {"role": role, "pid": os.getpid(), "version": version, "state": state}
        since = f"{time.time():.6f}Z"
        with open(f"{path}.new", "w") as file:  # noqa: PTH123
            json.dump({**document, "since": since, "error": error}, file)
        os.rename(f"{path}.new", f"{path}.json")  # noqa: PTH104

    def restart() -> None:
        nonlocal version, fault
        publish("restarting")
        on_disk: dict[str, str] = {"__name__": "on disk"}
        with open(sys.argv[0]) as file:  # noqa: PTH123
            exec(file.read(), on_disk)  # noqa: S102
        if on_disk["FAULT"] == "restart fails":
            publish("failed", "GET /healthz: 500: no such table: jobs")
        elif on_disk["FAULT"] == "dies":
            sys.exit(1)
        elif on_disk["FAULT"] != "never ready":
            version, fault = on_disk["VERSION"], on_disk["FAULT"]
            publish("ready")

    def answer(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.recv(4096)
            status = "500 Oh no" if fault == "unhealthy" else "200 OK"
            body = json.dumps({"status": "ok", "version": version})
            client.sendall(f"HTTP/1.0 {status}\r\n\r\n{body}".encode())

    # A signal's number goes into the pipe, and ends the wait below whenever it comes.
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    publish("starting")
    waits_for: list[int | socket.socket] = [woken]
    if role == "web":
        waits_for.append(socket.create_server(("127.0.0.1", int(os.environ["PORT"]))))
    publish("ready")
    while True:
        for each in select.select(waits_for, [], [])[0]:
            if isinstance(each, socket.socket):
                answer(each)
            elif os.read(each, 1)[0] == signal.SIGTERM:
                return 0
            else:
                restart()


if __name__ == "__main__":
    sys.exit(check() if sys.argv[1] == "check" else serve(sys.argv[1]))
