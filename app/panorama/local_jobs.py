"""Jobs in SQLite, for one machine."""

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

from panorama.errors import StoreAwayError, StoreError
from panorama.jobs import (
    FAILED,
    GIVEN_UP,
    LEASE_SECONDS,
    MAX_ATTEMPTS,
    QUEUED,
    STITCHING,
    Job,
    Lease,
)

BUSY_SECONDS = 10

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, photos INTEGER NOT NULL, state TEXT NOT NULL, stage TEXT NOT NULL,
    created REAL NOT NULL, error TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    token TEXT NOT NULL DEFAULT '', leased_until REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, created);
"""

COLUMNS = ", ".join(each.name for each in fields(Job))


class LocalJobs:
    """A database in STATE_DIR that web and vision of one machine share."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "jobs.sqlite"
        self._made = False

    def check(self) -> None:
        with self._transaction() as database:
            database.execute("SELECT 1 FROM jobs LIMIT 1")

    def add(self, job: Job) -> None:
        marks = ", ".join(f":{each.name}" for each in fields(Job))
        with self._transaction() as database:
            database.execute(f"INSERT INTO jobs ({COLUMNS}) VALUES ({marks})", asdict(job))  # noqa: S608

    def get(self, job_id: str) -> Job | None:
        with self._transaction() as database:
            row = database.execute(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()  # noqa: S608
        return Job(**row) if row else None

    def take(self) -> Lease | None:
        now, token = time.time(), secrets.token_hex(8)
        with self._transaction(write=True) as database:
            database.execute(
                "UPDATE jobs SET state = ?, error = ? "
                "WHERE state = ? AND leased_until < ? AND attempts >= ?",
                (FAILED, GIVEN_UP, STITCHING, now, MAX_ATTEMPTS),
            )
            row = database.execute(
                f"UPDATE jobs SET state = ?, token = ?, leased_until = ?, attempts = attempts + 1 "  # noqa: S608
                "WHERE id = (SELECT id FROM jobs "
                "WHERE state = ? OR (state = ? AND leased_until < ?) "
                f"ORDER BY created LIMIT 1) RETURNING {COLUMNS}",
                (STITCHING, token, now + LEASE_SECONDS, QUEUED, STITCHING, now),
            ).fetchone()
        return Lease(Job(**row), token) if row else None

    def heartbeat(self, lease: Lease, stage: str) -> None:
        with self._transaction(write=True) as database:
            database.execute(
                "UPDATE jobs SET leased_until = ?, stage = ? WHERE id = ? AND token = ?",
                (time.time() + LEASE_SECONDS, stage, lease.job.id, lease.token),
            )

    def finish(self, lease: Lease, job: Job) -> None:
        with self._transaction(write=True) as database:
            database.execute(
                "UPDATE jobs SET state = ?, stage = '', error = ?, width = ?, height = ?, "
                "token = '' WHERE id = ? AND token = ?",
                (job.state, job.error, job.width, job.height, job.id, lease.token),
            )

    def forget_older(self, seconds: float) -> list[str]:
        with self._transaction(write=True) as database:
            rows = database.execute(
                "DELETE FROM jobs WHERE created < ? AND state != ? RETURNING id",
                (time.time() - seconds, STITCHING),
            ).fetchall()
        return [row["id"] for row in rows]

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            # autocommit: transactions begin and end where they are written.
            database = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
            try:
                database.row_factory = sqlite3.Row
                if not self._made:
                    database.execute("PRAGMA journal_mode = WAL")
                    database.executescript(SCHEMA)
                    self._made = True
                # Write-ahead, and synced at every commit: a job accepted is a job kept.
                database.execute("PRAGMA synchronous = FULL")
                database.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                yield database
                database.execute("COMMIT")
            finally:
                database.close()
        except sqlite3.Error as error:
            # SQLITE_BUSY, SQLITE_FULL: Python 3.10 tells the text alone (sqlite3_errstr()).
            passes = str(error) in {"database is locked", "database or disk is full"}
            kind = StoreAwayError if passes else StoreError
            raise kind(f"cannot use {self._path}: {error}") from error
