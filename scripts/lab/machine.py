"""A real machine inside this one: Debian, systemd as process 1, cloud-init, a network of its own.

Needs root, mmdebstrap, systemd-nspawn and ip. The root file system is made once
and kept below build/lab; a machine is an overlay on it, and gone afterwards.

Example::

    with Cloud(folder, user_data) as cloud, cloud.machine() as machine:
        machine.boot()
        machine.run("cloud-init", "status", "--wait")
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from project import BUILD
from waiting import wait_for

SUITE = "bookworm"
# What stock images carry, and what the package depends on: this network has no mirror.
PACKAGES = (
    "systemd,systemd-sysv,dbus,python3,openssh-client,ca-certificates,iproute2,cloud-init,procps,"
    "libtbb12,libstdc++6,passwd,login"
)
NEEDED = ("mmdebstrap", "systemd-nspawn", "ip", "nsenter")

CLOUD_ADDRESS, MACHINE_ADDRESS, METADATA_ADDRESS = "10.77.0.1", "10.77.0.10", "169.254.169.254"

CLOUD_CONFIG = """\
datasource_list: [Ec2]
datasource: {Ec2: {strict_id: false, max_wait: 20, timeout: 5,
  metadata_urls: ["http://169.254.169.254"]}}
network: {config: disabled}
locale: C.UTF-8
"""
# The metadata address must be on the link.
NETWORK = f"""\
[Match]
Name=host0
[Network]
Address={MACHINE_ADDRESS}/24
Gateway={CLOUD_ADDRESS}
LinkLocalAddressing=no
IPv6AcceptRA=no
[Route]
Destination={METADATA_ADDRESS}/32
Scope=link
"""


def why_not() -> str:
    """Return why no machine can be booted here; "" if one can."""
    if os.geteuid() != 0:
        return "not root"
    missing = [tool for tool in NEEDED if not shutil.which(tool)]
    return f"missing: {', '.join(missing)}" if missing else ""


def root_file_system() -> Path:
    """Return the machines' root file system, made at the first call."""
    base = BUILD / "lab" / SUITE
    if not base.exists():
        base.parent.mkdir(parents=True, exist_ok=True)
        new = base.with_name(f".{SUITE}.new")
        shutil.rmtree(new, ignore_errors=True)
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}"]
        subprocess.run([*command, SUITE, new], check=True)
        new.rename(base)
    return base


class Cloud:
    """A network namespace with instance metadata and an S3 server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.namespace = f"slipway-{os.getpid()}"
        self.endpoint = f"http://{CLOUD_ADDRESS}:5000"
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Cloud":
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        for words in (
            "link set lo up",
            "link add br0 type bridge",
            "link set br0 up",
            f"addr add {CLOUD_ADDRESS}/24 dev br0",
            f"addr add {METADATA_ADDRESS}/32 dev br0",
        ):
            subprocess.run(["ip", "-n", self.namespace, *words.split()], check=True)
        moto = str(Path(sys.executable).with_name("moto_server"))
        self.start(moto, "-H", CLOUD_ADDRESS, "-p", "5000")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        subprocess.run(["ip", "netns", "del", self.namespace], check=True)

    def serve_user_data(self, user_data: Path) -> None:
        server = str(Path(__file__).with_name("metadata_server.py"))
        self.start(sys.executable, server, METADATA_ADDRESS, str(user_data))

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start a server, or a client, on this side of the network."""
        with (self.folder / "cloud.log").open("ab") as log:
            process = subprocess.Popen(self._inside(command), stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def run(self, *command: str, **how: Any) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self._inside(command), text=True, capture_output=True, check=False, **how
        )

    def _inside(self, command: tuple[str, ...]) -> list[str]:
        # `ip netns exec` would hide the cgroups.
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *command]

    @contextmanager
    def machine(self) -> Iterator["Machine"]:
        machine = Machine(self)
        try:
            yield machine
        finally:
            machine.remove()


class Machine:
    """One machine, off until it is booted."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._name = cloud.namespace
        self._folder = cloud.folder / "machine"
        self.root = self._folder / "root"
        for each in ("upper", "work", "root"):
            (self._folder / each).mkdir(parents=True)
        layers = f"lowerdir={root_file_system()},upperdir={self._folder}/upper"
        mount = ["mount", "-t", "overlay", "overlay", "-o"]
        subprocess.run([*mount, f"{layers},workdir={self._folder}/work", self.root], check=True)
        self.write("etc/cloud/cloud.cfg.d/99-lab.cfg", CLOUD_CONFIG)
        # Sorted before what cloud-init and the stock image bring.
        self.write("etc/systemd/network/05-host0.network", NETWORK)
        (self.root / "etc/resolv.conf").unlink(missing_ok=True)
        self.write("etc/resolv.conf", "nameserver 127.0.0.1\n")
        subprocess.run(
            ["systemctl", f"--root={self.root}", "--quiet", "enable",
             "systemd-networkd", "systemd-networkd-wait-online"],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._init_pid = 0

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def boot(self) -> None:
        cgroups = [Path("/sys/fs/cgroup") / each for each in ("systemd", "unified", "")]
        own = [each / self._name for each in cgroups if (each / "cgroup.procs").exists()]
        for each in own:
            each.mkdir(exist_ok=True)

        def enter() -> None:
            # Two machines below one cgroup would be in each other's way.
            for each in own:
                (each / "cgroup.procs").write_text(str(os.getpid()))
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)

        with (self._folder / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self._name}", "systemd-nspawn", "--quiet", "--boot",
                 f"--directory={self.root}", f"--machine={self._name[:12]}", "--register=no",
                 "--keep-unit", "--network-bridge=br0", "--resolv-conf=off", "--link-journal=no",
                 "--console=pipe"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                preexec_fn=enter,  # noqa: PLW1509  # no threads of ours
            )  # fmt: skip
        wait_for(self._has_booted, "the machine's systemd")

    def _has_booted(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._folder / "console.log").read_text()
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        found = children.read_text().split()
        if not found:
            return False
        self._init_pid = int(found[-1])
        return Path(f"/proc/{self._init_pid}/root/run/systemd/private").is_socket()

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["nsenter", "-t", str(self._init_pid), "-a", "--", *command],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def property(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).stdout.strip()

    def kill(self) -> None:
        """Cut the power, as far as processes notice."""
        assert self._process
        os.kill(self._init_pid, signal.SIGKILL)
        self._process.wait()

    def reboot(self) -> None:
        """Reboot gracefully; nspawn ends and is started again."""
        assert self._process
        self.run("systemctl", "reboot")
        self._process.wait()
        self.boot()

    def remove(self) -> None:
        if self._process and self._process.poll() is None:
            self.kill()
        subprocess.run(["umount", self.root], check=True)
        shutil.rmtree(self._folder)
        for each in ("systemd", "unified", ""):
            top = Path("/sys/fs/cgroup") / each / self._name
            for folder in sorted(top.rglob("*/"), reverse=True):
                if folder.is_dir():
                    folder.rmdir()
            if top.exists():
                time.sleep(0.1)
                top.rmdir()
