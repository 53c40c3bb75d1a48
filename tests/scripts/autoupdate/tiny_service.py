#!/usr/bin/python3 -IS
"""A service that keeps the contract and does nothing else: what tests install.

`build_package` (package_maker.py) replaces the two capitalised texts below.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])

VERSION = "@VERSION@"
FAULT = "@FAULT@"  # what is wrong with this build


def main() -> int:
    command = sys.argv[1]
    if command == "check":
        return check()
    if command == "prove":  # asked by the version that serves
        return prove()
    return serve(command)


def check() -> int:
    # What it unpacks goes where it is told, and nowhere else.
    Path(os.environ["CACHE_DIR"], "unpacked").write_text(VERSION)
    # The machine may be one whose settings are all in the environment.
    if not Path(os.environ["SETTINGS_FILE"]).exists():
        print("SETTINGS_FILE is not there")
        return 1
    if FAULT == "check hangs":
        subprocess.Popen(["sleep", "1000"])
        time.sleep(1000)
    if FAULT == "check fails":
        print("cannot import horizon: no module of that name")
    return FAULT == "check fails"


def prove() -> int:
    if FAULT == "never ready":
        time.sleep(1000)
    if FAULT == "restart fails":
        print("GET /healthz: 500: no such table: jobs")
    return FAULT == "restart fails"


def serve(role: str) -> int:
    if FAULT == "dies":
        return 1
    publish(role, "starting")
    listener = None
    if role == "web":
        listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
        listener.settimeout(0.02)
    publish(role, "ready")
    while True:
        received = signal.sigtimedwait([signal.SIGUSR2, signal.SIGTERM], 0 if listener else 0.05)
        if received and received.si_signo == signal.SIGTERM:
            return 0
        if received:
            restart(role)
        if listener:
            answer(listener)


def restart(role: str) -> None:
    publish(role, "restarting")
    proof = subprocess.run([sys.argv[0], "prove"], stdout=subprocess.PIPE, text=True, check=False)
    if proof.returncode == 0:
        os.execv(sys.argv[0], sys.argv)
    publish(role, "failed", proof.stdout.strip())


def answer(listener: socket.socket) -> None:
    try:
        client, _ = listener.accept()
    except TimeoutError:
        return
    with client:
        client.recv(4096)
        status = "500 Oh no" if FAULT == "unhealthy" else "200 OK"
        body = json.dumps({"status": "ok", "version": VERSION})
        client.sendall(f"HTTP/1.0 {status}\r\n\r\n{body}".encode())


def publish(role: str, state: str, error: str = "") -> None:
    path = Path(os.environ["RUNTIME_DIR"], f"{role}.json")
    document = {"role": role, "pid": os.getpid(), "version": VERSION, "state": state}
    since = f"{time.time():.6f}Z"
    new = path.with_suffix(".new")
    new.write_text(json.dumps({**document, "since": since, "error": error}))
    new.rename(path)


sys.exit(main())
