"""One generation of the role `web`: gunicorn, keeping the handoff protocol."""

import os
import sys
from typing import Any

import gunicorn.app.base
import gunicorn.arbiter
import gunicorn.workers.gthread
from flask import Flask

from handoff import Generation
from handoff.children import end_with_parent
from panorama.build_info import NAME, VERSION
from panorama.errors import StoreError
from panorama.patience import wait_for_stores
from panorama.settings import Settings
from panorama.web import create_app, studio

# Load balancers keep idle connections for reuse up to 60 s (AWS's default). A
# server that closes one sooner loses the request that is just being sent on it.
KEEPALIVE_SECONDS = 75

# A worker that gives no sign of life for so long is replaced.
WORKER_TIMEOUT_SECONDS = 60


class Worker(gunicorn.workers.gthread.ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's, but for connections on which nothing has come yet when it is told to stop.

    Browsers and load balancers open some in advance. gunicorn closes those that
    are a few seconds old then; the request that is just being sent on one is lost.
    """

    alive: bool  # not told to stop

    def finish_request(self, conn: Any, fs: Any) -> None:
        waits = not fs.cancelled() and fs.exception() is None
        if self.alive or not waits or fs.result() is not gunicorn.workers.gthread._DEFER:
            super().finish_request(conn, fs)
            return
        # Waits for its first request as it would in a worker that stays.
        self.alive = True
        try:
            super().finish_request(conn, fs)
        finally:
            self.alive = False


class UnhealthyError(Exception):
    """A worker is loaded but does not answer its own health check."""


def run(settings: Settings, generation: Generation) -> int:
    """Serve until SIGTERM. Returns the exit status."""
    if generation.bound_to not in {None, settings.address}:
        generation.failed(
            f"HOST and PORT now say {settings.address}, but the socket is bound to "
            f"{generation.bound_to} and cannot move in a restart; stop and start the service"
        )
        return 1
    # A stopping worker answers one last request on each kept-alive connection,
    # for as long as a client may believe that it is open; the grace bounds it.
    if not {"STOP_KEEPALIVE_LINGER", "_DEFER"} <= set(dir(gunicorn.workers.gthread)):
        raise ImportError("this gunicorn is not the one that restarts were tried with")
    gunicorn.workers.gthread.STOP_KEEPALIVE_LINGER = KEEPALIVE_SECONDS
    generation.workers(settings.workers)
    _Server(settings, generation).run()
    return 0


class _Server(gunicorn.app.base.BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, settings: Settings, generation: Generation) -> None:
        self._settings = settings
        self._generation = generation
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "worker_class": Worker,
            "workers": self._settings.workers,
            "threads": self._settings.threads,
            "keepalive": KEEPALIVE_SECONDS,
            "graceful_timeout": self._settings.grace,
            "timeout": WORKER_TIMEOUT_SECONDS,
            # Signs of life are writes to a file: in /run they never wait for a disk.
            "worker_tmp_dir": str(self._settings.runtime_dir),
            # Both generations of a restart would share it.
            "control_socket_disable": True,
            "proc_name": f"{NAME} web",
            "loglevel": "warning",
            # The leader's sudden death is its workers' too.
            "post_fork": lambda _arbiter, worker: end_with_parent(worker.ppid),
            "post_worker_init": self._prove,
            "child_exit": self._refuse_dying_workers,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        try:
            return create_app(self._settings)
        except Exception as error:
            self._generation.failed(f"{type(error).__name__}: {error}")
            raise

    def _prove(self, worker: Any) -> None:
        """Prove this worker before it accepts: gunicorn calls this just before its loop."""
        if self._generation.accepted:
            # It takes the place of one that ended. Were it to fail because a store hiccups,
            # gunicorn would end them all.
            return
        try:
            if os.getpid() != worker.pid:
                raise UnhealthyError("a worker has forked while it was loaded")
            with worker.wsgi.app_context():
                # First: of the reason /healthz tells strangers less.
                wait_for_stores(studio().check, self._generation, worker.notify)
            check_health(worker.wsgi)
        except StoreError as error:
            self._generation.failed(str(error))
            # The reason is told; gunicorn's traceback would only bury it.
            sys.exit(gunicorn.arbiter.Arbiter.WORKER_BOOT_ERROR)
        except Exception as error:
            self._generation.failed(f"{type(error).__name__}: {error}")
            raise
        self._generation.ready(VERSION)
        if not self._generation.wait_accepted(worker.notify):
            sys.exit(0)

    def _refuse_dying_workers(self, _arbiter: Any, worker: Any) -> None:
        """In the leader: a worker has ended (gunicorn's child_exit), which it would replace."""
        if not self._generation.accepted:
            self._generation.failed(f"worker {worker.pid} ended before it was let in")


def check_health(app: Flask) -> None:
    """Ask `app` for its health in-process, as a client would over the network.

    Raises:
        UnhealthyError: the answer is not 200, or is of another version.
    """
    answer = app.test_client().get("/healthz")
    if answer.status_code != 200:
        raise UnhealthyError(f"GET /healthz: {answer.status}: {answer.text[:300]}")
    version = answer.get_json()["version"]
    if version != VERSION:
        raise UnhealthyError(f"GET /healthz: version {version}, this build is {VERSION}")
