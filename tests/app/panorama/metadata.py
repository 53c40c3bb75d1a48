"""Where a machine in AWS gets its credentials from."""

import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

from project import ROOT
from waiting import wait_for

from develop.localcloud import LocalCloud
from develop.ports import free_port
from handoff.children import end_with_parent


class Metadata:
    """An instance-metadata server that comes and goes: without it there are no credentials."""

    def __init__(self, folder: Path, cloud: LocalCloud) -> None:
        self._folder = folder
        self._port = free_port()
        self._server: subprocess.Popen[bytes] | None = None
        document = {
            "instance_id": "i-1",
            "user_data": "",
            "role": "a-role",
            "credentials": {
                "AccessKeyId": cloud.environ["AWS_ACCESS_KEY_ID"],
                "SecretAccessKey": cloud.environ["AWS_SECRET_ACCESS_KEY"],
                "Token": "a-token",
            },
        }
        folder.mkdir()
        (folder / "127.0.0.1.json").write_text(json.dumps(document))
        self.environ = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{self._port}",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def start(self, delay: str = "0") -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "develop.lab.metadata_server", "127.0.0.1", str(self._port),
             str(self._folder), delay],
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")}, stderr=subprocess.DEVNULL,
            preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509  # one call
        )  # fmt: skip
        wait_for(self._listens, "the metadata server")

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self._port)) == 0

    def stop(self) -> None:
        if self._server:
            self._server.kill()
            self._server.wait()
            self._server = None
