"""The demo's plot: three versions travel through the seven steps to three machines.

Version 1 is this tree. Version 2 changes it while clients keep asking and a
job is under way. Version 3 imports but cannot serve: every machine puts
version 2 back by itself.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from develop.demo import photos, processes
from develop.demo.client import Client
from develop.demo.machine import Machine
from develop.demo.processes import DemoError
from develop.demo.transcript import Transcript
from develop.demo.upload import Job, upload
from develop.demo.versions import ROOT, Edit, Tree
from develop.localcloud import LocalCloud

BUCKET = "demo"
INTERVAL_SECONDS = 2
MACHINES = (("web-1", "web"), ("web-2", "web"), ("vision-1", "vision"))
RESULT = ROOT / "build" / "demo-panorama.jpg"

# Nothing here takes so long; what does is stuck, and the demo says on what.
PATIENCE_SECONDS = 120

VERSION_2 = Edit("app/panorama/templates/base.html", "</footer>", ", with horizons</footer>")
# A slip of the pen that no import notices: neither role can open its store.
VERSION_3 = Edit("app/panorama/stores.py", "if settings.queue_url:", "if settings.queue_uri:")


def main() -> int:
    """Run the demo. Returns the exit status."""
    # Whoever ends it, what it started ends too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="slipway-demo-"))
    try:
        with ExitStack() as cleanup:
            try:
                Demo(folder, cleanup).run()
            except (KeyboardInterrupt, SystemExit):
                print("\ndemo: interrupted; ends what it started …", file=sys.stderr)
                raise
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: all that it started has ended", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(folder)
    return 0


class Demo:
    """Holds what the acts share: the cloud, the machines, the clients, the transcript."""

    def __init__(self, folder: Path, cleanup: ExitStack) -> None:
        self._folder = folder
        self._cleanup = cleanup
        self._say = Transcript()
        self._name = os.environ["NAME"]
        self._key = folder / "signing-key"
        self._cloud_environ: dict[str, str] = {}
        self._queue_url = ""
        self._machines: list[Machine] = []
        self._client = Client([])

    def run(self) -> None:
        first, second, third = versions_from_here()
        self._say.title("Slipway: three machines, two of web and one of vision, on this computer")
        self._open_cloud()
        self._publish_first(first)
        self._start_machines(first)
        self._stitch()
        self._update_under_load(second)
        self._publish_broken(third, serving=second)
        self._sum_up(second)

    # The acts

    def _open_cloud(self) -> None:
        cloud = self._cleanup.enter_context(LocalCloud(BUCKET))
        self._cloud_environ = cloud.environ
        self._queue_url = cloud.queue_url
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f"]
        subprocess.run([*keygen, str(self._key)], check=True)
        self._s3 = cloud.client("s3")

    def _publish_first(self, version: str) -> None:
        name, package = self._name, f"{self._name}-server.deb"
        self._say.step("1", f"write code, test, commit: this tree is version {version}")
        tree = self._tree(version)
        self._say.step("2", "one executable, nothing to install beside a modern Linux")
        tree.make("build")  # make has done it before it started the demo
        self._say.line(f"{name} {tree.size(name)}, stitch {tree.size('stitch')}", timed=False)
        self._say.step("3", "a .deb with the executables, Upstart jobs and systemd units")
        tree.make("package")
        self._say.line(f"{package} {tree.size(package)}")
        self._say.step("4", "to a private, versioned S3 bucket, signed with an SSH key")
        tree.make("deploy")
        self._say.line(f"s3://{BUCKET}/stable/{package}")

    def _start_machines(self, version: str) -> None:
        self._say.step("5", f"a HEAD request every {INTERVAL_SECONDS} s: three machines start")
        principal = f"{self._name}-release"
        trusted = (
            f'{principal} namespaces="{principal}" {self._key.with_suffix(".pub").read_text()}'
        )
        settings = {
            "BUCKET": BUCKET,
            "INTERVAL": str(INTERVAL_SECONDS),
            "QUEUE_URL": self._queue_url,
            "BUCKET_URL": f"s3://{BUCKET}/photos",
        }
        # As from an init: nothing of the operator's environment but the way to the cloud.
        environ = {"PATH": os.environ["PATH"], **self._cloud_environ}
        updater = self._folder / version / "build" / f"{self._name}-autoupdate"
        for name, role in MACHINES:
            machine = Machine(self._folder / name, name, role, self._name)
            machine.provision(settings, trusted)
            self._cleanup.callback(machine.stop)
            machine.start_updater(updater, environ)
            self._machines.append(machine)
        self._say.step("6", "changed: download, verify, install with dpkg")
        self._wait_for_version(version)

    def _stitch(self) -> None:
        self._say.step("", "the service at work")
        folder = self._folder / "photos"
        folder.mkdir()
        count = len(photos.take_photos(folder))
        job = self._upload(self._machines[0])
        self._finish(job, f"{count} photos uploaded to web-1")
        RESULT.parent.mkdir(exist_ok=True)
        job.save(RESULT)
        self._say.line(f"saved in {RESULT.relative_to(ROOT)}", timed=False)

    def _update_under_load(self, version: str) -> None:
        tree = self._tree(version, VERSION_2)
        self._client = Client([m.port for m in self._machines if m.role == "web"])
        self._cleanup.callback(self._client.stop)
        self._client.start()
        self._say.step("7", f"SIGUSR2: {version} is published while clients keep asking")
        tree.make("deploy")
        self._say.line("signed and published")
        job = self._upload(self._machines[0])
        self._wait_for_version(version)
        self._finish(job, "photos uploaded before the restarts")

    def _publish_broken(self, version: str, *, serving: str) -> None:
        tree = self._tree(version, VERSION_3)
        self._say.step("", f"{version} imports, but cannot serve")
        tree.make("deploy")
        self._say.line("signed and published")
        for machine in self._machines:

            def took_back(machine: Machine = machine) -> bool:
                return self._took_back(machine, version)

            self._wait(machine, took_back, f"{machine.name} takes {version} back")
            self._say.line(f"{machine.name} took it back, and serves {serving}")
        job = self._upload(self._machines[1])
        self._finish(job, "photos uploaded afterwards to web-2")

    def _sum_up(self, version: str) -> None:
        self._client.stop()
        self._say.step("", "make status")
        for line in self._fleet_status().splitlines():
            self._say.line(line, timed=False)
        for machine in self._machines:
            if not (machine.serves(version) and machine.kept_its_pid()):
                raise DemoError(f"{machine.name} ends as {machine.status()}, not on {version}")
        lost = len(self._client.lost)
        self._say.title(
            f"{self._client.sent:,} requests sent, {lost} lost; every process that was started "
            "serves still"
        )
        if lost:
            raise DemoError(f"{lost} requests lost, the first: {self._client.lost[0]}")

    # Parts of acts

    def _tree(self, version: str, edit: Edit | None = None) -> Tree:
        """Copy this repository, change it by `edit`, and build the package of `version`."""
        variables = {
            "NAME": self._name,
            "VERSION": version,
            "BUCKET": BUCKET,
            "SIGNING_KEY": str(self._key),
            "MAINTAINER": "Demo <demo@example.org>",
        }
        environ = {**os.environ, **self._cloud_environ}
        tree = Tree.copy(self._folder / version, variables, environ)
        if edit:
            self._say.step("", f"a change, as the next commit, {version}: {edit}")
            edit.apply(tree.path)
            tree.make("package")
            self._say.line("built and packaged")
        return tree

    def _wait(self, machine: Machine, condition: Callable[[], bool], what: str) -> None:
        processes.wait_for(condition, what, PATIENCE_SECONDS, machine.log)

    def _wait_for_version(self, version: str) -> None:
        for machine in self._machines:

            def serves(machine: Machine = machine) -> bool:
                for each in self._machines:
                    each.start_role_once_installed()
                return machine.serves(version)

            self._wait(machine, serves, f"{machine.name} serves {version}")
            self._say.line(f"{machine.name} serves {version}")

    def _took_back(self, machine: Machine, version: str) -> bool:
        """Tell whether the machine's own report says that it put the version before back."""
        answer = self._s3.get_object(Bucket=BUCKET, Key=f"fleet/{machine.name}.json")
        report = json.load(answer["Body"])
        return bool(report["release"] == version and report["state"] == "undone")

    def _upload(self, machine: Machine) -> Job:
        folder = self._folder / "photos"
        return upload(f"http://127.0.0.1:{machine.port}", sorted(folder.iterdir()))

    def _finish(self, job: Job, what: str) -> None:
        state = job.wait(PATIENCE_SECONDS)
        self._say.line(f"{what}: a panorama of {state['width']} x {state['height']} pixels")

    def _fleet_status(self) -> str:
        # Exit status 3 says that a machine is not on the current release: here that is the point.
        return subprocess.run(
            [sys.executable, "-m", "operate", "status"],
            cwd=ROOT / "scripts",
            env={
                **os.environ,
                **self._cloud_environ,
                "BUCKET": BUCKET,
                "SIGNING_KEY": str(self._key),
            },
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        ).stdout


def versions_from_here() -> tuple[str, str, str]:
    """Return this tree's version and the next two, as two more commits would make them."""
    version = (ROOT / "build" / "version").read_text().strip()
    match = re.match(r"(.*)-(\d+)", version)
    if not match:
        raise DemoError(f"build/version says {version!r}, which does not end in -N")
    upstream, commits = match[1], int(match[2])
    return version, f"{upstream}-{commits + 1}", f"{upstream}-{commits + 2}"
