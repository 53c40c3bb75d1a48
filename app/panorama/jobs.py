"""Jobs: what web asks of vision, and the interface of what keeps them."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Protocol

# A worker says this often that a job is still in its hands; one that does not
# for LEASE_SECONDS is dead, and another takes the job.
HEARTBEAT_SECONDS = 5
LEASE_SECONDS = 30

# A job during which so many workers died is what kills them.
MAX_ATTEMPTS = 3
GIVEN_UP = f"the stitching was interrupted {MAX_ATTEMPTS} times; try fewer or smaller photos"

QUEUED, STITCHING, DONE, FAILED = "queued", "stitching", "done", "failed"


@dataclass(frozen=True)
class Job:
    """One panorama to be made."""

    photos: int  # how many
    id: str = field(
        default_factory=lambda: secrets.token_hex(16)
    )  # unguessable: it is the only key
    state: str = QUEUED
    stage: str = ""  # of the helper, while state is "stitching"
    created: float = field(default_factory=time.time)  # seconds since 1970
    error: str = ""  # for the uploader
    width: int = 0  # pixels
    height: int = 0


@dataclass(frozen=True)
class Lease:
    """A job in a worker's hands, and the proof that it is."""

    job: Job
    token: str


class JobStore(Protocol):
    """Where jobs are kept. Every method raises StoreError when it cannot."""

    def check(self) -> None:
        """Return if the store answers."""

    def add(self, job: Job) -> None:
        """Queue `job`; its photos are already stored."""

    def get(self, job_id: str) -> Job | None:
        """Return the job as it stands."""

    def take(self) -> Lease | None:
        """Lease the oldest job that nobody works on; wait a moment for one at most."""

    def heartbeat(self, lease: Lease, stage: str) -> None:
        """Keep the lease, and say how far the work is."""

    def finish(self, lease: Lease, job: Job) -> None:
        """End the work: `job` is done or failed. Nothing happens if the lease was lost."""

    def forget_older(self, seconds: float) -> list[str]:
        """Remove jobs older than `seconds` that nobody works on; return their IDs."""
