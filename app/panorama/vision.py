"""One generation of the role `vision`: takes jobs, one at a time, and has them stitched."""

import signal
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType

from handoff import Generation
from panorama.build_info import NAME, VERSION
from panorama.errors import StoreError
from panorama.jobs import DONE, FAILED, HEARTBEAT_SECONDS, JobStore, Lease
from panorama.patience import wait_for_stores
from panorama.pictures import PANORAMA, Pictures, photo_name
from panorama.settings import Settings
from panorama.stitching import HelperMissingError, StitchError, check_helper, stitch
from panorama.stores import open_jobs, open_pictures

IDLE_SECONDS = 0.25  # between two looks at an empty queue
PAUSE_SECONDS = 5.0  # after a store that does not answer
EXPIRY_SECONDS = 3600.0


def run(settings: Settings, generation: Generation) -> int:
    """Take jobs until SIGTERM; the one in hand is finished. Returns the exit status."""
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    try:
        worker = Worker(settings, open_jobs(settings), open_pictures(settings), stopping)
        worker.prove(generation)
    except (StoreError, HelperMissingError) as error:
        generation.failed(str(error))
        return 1
    generation.workers(1)
    generation.ready(VERSION)
    if generation.wait_accepted():
        worker.work()
    return 0


class Worker:
    """Works through the queue, one job at a time."""

    def __init__(
        self, settings: Settings, store: JobStore, pictures: Pictures, stopping: threading.Event
    ) -> None:
        self._settings = settings
        self._store = store
        self._pictures = pictures
        self._stopping = stopping
        self._next_expiry = 0.0

    def prove(self, generation: Generation) -> None:
        """Raise StoreError or HelperMissingError if this worker could not do a job."""
        check_helper(self._settings)
        wait_for_stores(self._check_stores, generation)

    def _check_stores(self) -> None:
        self._store.check()
        self._pictures.check()

    def work(self) -> None:
        while not self._stopping.is_set():
            try:
                self._expire()
                lease = self._store.take()
                if lease:
                    self._do(lease)
                else:
                    self._stopping.wait(IDLE_SECONDS)
            except (StoreError, HelperMissingError) as error:
                # The lease of a job in hand runs out, and somebody takes it again.
                _log(f"{error}; trying again in {PAUSE_SECONDS:g} s")
                self._stopping.wait(PAUSE_SECONDS)

    def _do(self, lease: Lease) -> None:
        job = lease.job
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"{NAME}-") as scratch:
            folder = Path(scratch)
            try:
                width, height = self._stitch(lease, folder)
            except StitchError as error:
                ended = replace(job, state=FAILED, error=str(error))
            else:
                with (folder / PANORAMA).open("rb") as picture:
                    self._pictures.put(job.id, PANORAMA, picture)
                ended = replace(job, state=DONE, width=width, height=height)
        self._store.finish(lease, ended)
        outcome = ended.error or f"{ended.width} x {ended.height} pixels"
        _log(f"job {job.id} {ended.state} after {time.monotonic() - began:.1f} s: {outcome}")

    def _stitch(self, lease: Lease, folder: Path) -> tuple[int, int]:
        names = [photo_name(number) for number in range(1, lease.job.photos + 1)]
        told, last_stage = 0.0, ""

        def tick(stage: str) -> None:
            nonlocal told, last_stage
            if stage != last_stage or time.monotonic() > told + HEARTBEAT_SECONDS:
                told, last_stage = time.monotonic(), stage
                self._store.heartbeat(lease, stage)

        for name in names:
            tick("fetching")
            self._pictures.fetch(lease.job.id, name, folder / name)
        return stitch(self._settings, folder, names, PANORAMA, tick)

    def _expire(self) -> None:
        if time.monotonic() < self._next_expiry:
            return
        self._next_expiry = time.monotonic() + EXPIRY_SECONDS
        keep_seconds = self._settings.keep_days * 86400.0
        for job_id in self._store.forget_older(keep_seconds):
            self._pictures.forget(job_id)
        # Of uploads whose job was never queued: web was killed in between.
        self._pictures.forget_older(keep_seconds)


def _log(text: str) -> None:
    print(f"{NAME} vision: {text}", file=sys.stderr, flush=True)
