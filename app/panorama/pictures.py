"""Pictures: the photos of a job and its panorama, and the interface of what keeps them."""

from pathlib import Path
from typing import IO, Protocol

PANORAMA = "panorama.jpg"


def photo_name(number: int) -> str:
    """Return the name under which photo `number` (from 1) of a job is kept."""
    return f"photo-{number}"


class Pictures(Protocol):
    """Where pictures are kept, by job and name. Every method raises StoreError when it cannot."""

    def check(self) -> None:
        """Return if the store answers."""

    def put(self, job_id: str, name: str, picture: IO[bytes]) -> None:
        """Keep `picture`, read from where it stands to its end."""

    def fetch(self, job_id: str, name: str, path: Path) -> None:
        """Copy a picture to `path`."""

    def open(self, job_id: str, name: str) -> IO[bytes]:
        """Return a picture to read."""

    def forget(self, job_id: str) -> None:
        """Remove all pictures of a job."""

    def forget_older(self, seconds: float) -> None:
        """Remove the pictures of every job that got its last one more than `seconds` ago."""
