"""The uploader: sends photos to a web server and waits for the panorama."""

import json
import secrets
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from develop.demo.processes import DemoError

TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Job:
    """One job, as the uploader sees it."""

    server: str  # http://HOST:PORT
    id: str

    def state(self) -> dict[str, str]:
        with urllib.request.urlopen(
            f"{self.server}/api/panoramas/{self.id}", timeout=TIMEOUT_SECONDS
        ) as response:
            answer: dict[str, str] = json.load(response)
        return answer

    def wait(self, seconds: float) -> dict[str, str]:
        """Return the job's last state once it is done.

        Raises:
            DemoError: it failed, or is not done within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while (state := self.state())["state"] != "done":
            if state["state"] == "failed" or time.monotonic() > deadline:
                raise DemoError(f"no panorama of job {self.id}: {state}")
            time.sleep(0.1)
        return state

    def save(self, path: Path) -> None:
        with urllib.request.urlopen(
            f"{self.server}/panoramas/{self.id}.jpg", timeout=TIMEOUT_SECONDS
        ) as response:
            path.write_bytes(response.read())


def upload(server: str, photos: list[Path]) -> Job:
    """Send `photos` as a browser's form would (RFC 7578) and return the job."""
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="photos"; '
        f'filename="{photo.name}"\r\nContent-Type: image/jpeg\r\n\r\n'.encode()
        + photo.read_bytes()
        + b"\r\n"
        for photo in photos
    ]
    request = urllib.request.Request(
        f"{server}/api/panoramas",
        data=b"".join(parts) + f"--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            return Job(server, json.load(response)["id"])
    except urllib.error.HTTPError as error:
        raise DemoError(f"{server} refused the photos: {error.read().decode()}") from error
