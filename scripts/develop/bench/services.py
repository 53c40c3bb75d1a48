"""The same application in three servers: this project's executable, gunicorn by HUP and by USR2."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import handoff
from develop.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 120
WORKERS, THREADS = 2, 32

# A page that takes long, which the sample service has no reason to have.
SLOW_PAGE = """\
@pages.get("/slow")
def slow() -> str:
    time.sleep(1.5)
    return "slow"


"""
BEFORE = '@pages.get("/healthz")'


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"bench: waited {PATIENCE_SECONDS} s in vain for {what}")
        time.sleep(0.01)


class Application:
    """The sample service with one page more, as sources and as two executables."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.source = folder / "source"
        for package in ("app/panorama", "scripts/handoff"):
            shutil.copytree(ROOT / package, self.source / Path(package).name)
        web = self.source / "panorama/web.py"
        text = web.read_text()
        if text.count(BEFORE) != 1:
            raise ValueError(f"{web} has not one line {BEFORE!r}")
        web.write_text(text.replace(BEFORE, SLOW_PAGE + BEFORE))
        (self.source / "bench_wsgi.py").write_text(
            "import os\nfrom panorama.settings import load\nfrom panorama.web import create_app\n"
            "app = create_app(load(os.environ))\n"
        )
        self.executables = [self._bundle(f"1.0-{number}") for number in (1, 2)]

    def _bundle(self, version: str) -> Path:
        output = self.folder / f"{self.name}-{version}"
        subprocess.run(
            [sys.executable, ROOT / "packaging/bundle", "--name", self.name, "--version", version,
             "--entry", "panorama.cli:main", "--requirements", ROOT / "app/requirements.lock",
             "--source", self.source / "panorama", "--source", self.source / "handoff",
             "--output", output, "--work", ROOT / "build"],
            check=True,
        )  # fmt: skip
        return output


class Service:
    """One running server. Subclasses say how it starts and restarts."""

    def __init__(self, application: Application, folder: Path) -> None:
        self.application = application
        self.folder = folder
        self.port = free_port()
        for name in ("run", "state", "cache"):
            (folder / name).mkdir(parents=True)
        self.environ = {
            "PATH": os.environ["PATH"],
            "SETTINGS_FILE": os.devnull,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "RUNTIME_DIR": str(folder / "run"),
            "STATE_DIR": str(folder / "state"),
            "CACHE_DIR": str(folder / "cache"),
            "WORKERS": str(WORKERS),
            "THREADS": str(THREADS),
        }
        self.process = self.start()
        wait_for(self._answers, "the first answer")

    def start(self) -> "subprocess.Popen[bytes]":
        raise NotImplementedError

    def restart(self) -> None:
        """Restart, and return when the new one serves."""
        raise NotImplementedError

    def main_pid(self) -> int:
        """Return the process that an init would have to know."""
        return self.process.pid

    def settle(self) -> None:
        """Wait until nothing drains any more."""

    def stop(self) -> None:
        os.kill(self.main_pid(), signal.SIGKILL)
        for child in _family(self.main_pid()):
            os.kill(child, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def popen(self, command: list[str], **environ: str) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command, env={**self.environ, **environ}, cwd=self.folder, stdout=log, stderr=log
            )

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5).close()
        except OSError:
            return False
        return True


class Slipway(Service):
    """The executable, replaced by another version before each restart."""

    def start(self) -> "subprocess.Popen[bytes]":
        self._restarts = 0
        self._installed = self.folder / self.application.name
        shutil.copy(self.application.executables[0], self._installed)
        return self.popen([str(self._installed), "web"])

    def restart(self) -> None:
        self._restarts += 1
        new = self._installed.with_suffix(".new")
        shutil.copy(self.application.executables[self._restarts % 2], new)
        new.rename(self._installed)
        handoff.restart(self.folder / "run/web.json", PATIENCE_SECONDS)

    def settle(self) -> None:
        wait_for(lambda: len(_children(self.process.pid)) == 1, "the last generation alone")


class Gunicorn(Service):
    """Plain gunicorn with the same settings, from the sources."""

    def start(self) -> "subprocess.Popen[bytes]":
        gunicorn = str(Path(sys.executable).with_name("gunicorn"))
        options = {
            "bind": f"127.0.0.1:{self.port}",
            "worker-class": "gthread",
            "workers": WORKERS,
            "threads": THREADS,
            "keep-alive": 75,
            "graceful-timeout": 90,
            "pid": "pid",
            "log-level": "warning",
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        path = str(self.application.source)
        return self.popen([gunicorn, *words, "bench_wsgi:app"], PYTHONPATH=path)

    def main_pid(self) -> int:
        wait_for((self.folder / "pid").exists, "gunicorn's pid file")
        return int((self.folder / "pid").read_text())


class GunicornHup(Gunicorn):
    """SIGHUP: the master starts new workers and ends the old ones."""

    def restart(self) -> None:
        before = set(_children(self.process.pid))
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(set(_children(self.process.pid)) - before) >= WORKERS, "new workers")
        wait_for(self._answers, "an answer")


class GunicornUsr2(Gunicorn):
    """SIGUSR2, then SIGTERM to the old master, as gunicorn's manual has it."""

    def restart(self) -> None:
        old = self.main_pid()
        os.kill(old, signal.SIGUSR2)
        second = self.folder / "pid.2"
        wait_for(second.exists, "the second master")
        new = int(second.read_text())
        wait_for(lambda: len(_children(new)) >= WORKERS, "its workers")
        # Nothing tells when they have loaded; the manual says to look at the log.
        time.sleep(1)
        os.kill(old, signal.SIGTERM)
        # The second USR2 is lost while the first master lives.
        wait_for(lambda: self.main_pid() == new, "the new master alone")


@contextmanager
def running(kind: type[Service], application: Application) -> Iterator[Service]:
    folder = application.folder / f"{kind.__name__}-{time.monotonic_ns()}"
    service = kind(application, folder)
    try:
        yield service
    finally:
        service.stop()


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def _family(pid: int) -> list[int]:
    found = _children(pid)
    return [each for child in found for each in (*_family(child), child)]
