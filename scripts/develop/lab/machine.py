"""One machine: systemd as process 1 on an overlay of the root file system."""

import errno
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from develop.lab.root import root_file_system
from handoff.children import end_with_parent

BOOT_SECONDS = 60
CGROUPS = Path("/sys/fs/cgroup")

CLOUD_CONFIG = """\
datasource_list: [Ec2]
datasource: {Ec2: {strict_id: false, max_wait: 120, timeout: 10,
  metadata_urls: ["http://169.254.169.254"]}}
network: {config: disabled}
locale: C.UTF-8
"""
# The metadata address must be on the link.
NETWORK = """\
[Match]
Name=host0
[Network]
Address={address}/24
Gateway={gateway}
LinkLocalAddressing=no
IPv6AcceptRA=no
[Route]
Destination={metadata_address}/32
Scope=link
"""


class LabError(Exception):
    """The lab cannot do what it was asked; the message says why."""


def remove_cgroup(folder: Path) -> None:
    """Remove it once the kernel is done with the processes that were in it."""
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            return folder.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


@dataclass(frozen=True)
class Instance:
    """What EC2 knows of a machine."""

    id: str
    user_data: str
    role: str  # the name of the IAM role of its instance profile


class Machine:
    """Off until it is booted; what it wrote is kept until it is removed."""

    def __init__(self, folder: Path, namespace: str, name: str, address: str) -> None:
        self.address = address
        self.root = folder / "root"
        self._folder = folder
        self._namespace = namespace
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        self._init_pid = 0

    def lay_out(self, *, gateway: str, metadata_address: str, sources: str) -> None:
        for each in ("upper", "work", "root"):
            (self._folder / each).mkdir(parents=True)
        layers = f"lowerdir={root_file_system()},upperdir={self._folder}/upper"
        mount = ["mount", "-t", "overlay", "overlay", "-o"]
        subprocess.run([*mount, f"{layers},workdir={self._folder}/work", self.root], check=True)
        self.write("etc/cloud/cloud.cfg.d/99-lab.cfg", CLOUD_CONFIG)
        # Sorted before what cloud-init and the stock image bring.
        network = NETWORK.format(
            address=self.address, gateway=gateway, metadata_address=metadata_address
        )
        self.write("etc/systemd/network/05-host0.network", network)
        # The host's own would be asked in vain, 10 s a name.
        (self.root / "etc/resolv.conf").unlink(missing_ok=True)
        self.write("etc/resolv.conf", "nameserver 127.0.0.1\n")
        shutil.rmtree(self.root / "etc/apt/sources.list.d")
        self.write("etc/apt/sources.list", sources)
        subprocess.run(
            ["systemctl", f"--root={self.root}", "--quiet", "enable",
             "systemd-networkd", "systemd-networkd-wait-online"],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def journal(self, units: str) -> str:
        """Return the last that `units`, a pattern, have logged, or why that cannot be read."""
        done = self.run("journalctl", "--output=short-precise", "--lines=30", f"--unit={units}")
        return done.stdout + done.stderr

    def console(self) -> str:
        return (self._folder / "console.log").read_text(errors="replace")

    def boot(self) -> None:
        """Boot until systemd answers; units may still be starting.

        Raises:
            LabError: it does not come up.
        """
        self._init_pid = 0
        own = [each / self._name for each in (CGROUPS / "systemd", CGROUPS / "unified", CGROUPS)
               if (each / "cgroup.procs").exists()]  # fmt: skip
        for each in own:
            each.mkdir(exist_ok=True)

        parent_pid = os.getpid()

        def enter() -> None:
            # Two machines below one cgroup would be in each other's way.
            for each in own:
                (each / "cgroup.procs").write_text(str(os.getpid()))
            end_with_parent(parent_pid)

        with (self._folder / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self._namespace}", "systemd-nspawn", "--quiet",
                 "--boot", f"--directory={self.root}", f"--machine={self._name}",
                 "--register=no", "--keep-unit", "--network-bridge=br0", "--resolv-conf=off",
                 "--link-journal=no", "--console=read-only"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                preexec_fn=enter,  # noqa: PLW1509  # no threads of ours
            )  # fmt: skip
        deadline = time.monotonic() + BOOT_SECONDS
        while not self._has_booted(self._process):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"{self._name} does not boot: {self.console()[-2000:]}")
            time.sleep(0.02)

    def _has_booted(self, nspawn: "subprocess.Popen[bytes]") -> bool:
        try:
            found = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
        except FileNotFoundError:
            return False
        # nspawn's first child lives in the host's namespaces, and is gone in a moment.
        ours = Path("/proc/self/ns/pid").readlink()
        for pid in map(int, found):
            if Path(f"/proc/{pid}/ns/pid").readlink() != ours:
                self._init_pid = pid
        init = Path(f"/proc/{self._init_pid}/root/run/systemd/private")
        return bool(self._init_pid) and init.is_socket()

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            # --root: where this runs in a chroot, the namespace's root is not the machine's.
            ["nsenter", "--target", str(self._init_pid), "--all", "--root", "--", *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def property(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).stdout.strip()

    def kill(self) -> None:
        """Cut the power, as far as processes notice."""
        if self._init_pid:
            os.kill(self._init_pid, signal.SIGKILL)
        elif self._process:
            self._process.kill()
        self.wait_until_off()

    def shut_down(self) -> None:
        """Begin to shut down, as EC2 does when it ends an instance."""
        self.run("systemctl", "--no-block", "poweroff")

    def wait_until_off(self) -> None:
        if self._process:
            self._process.wait()
        self._init_pid = 0

    def reboot(self) -> None:
        """Reboot gracefully; nspawn ends and is started again."""
        self.run("systemctl", "--no-block", "reboot")
        self.wait_until_off()
        self.boot()

    def remove(self) -> None:
        if self._process and self._process.poll() is None:
            self.kill()
        subprocess.run(["umount", self.root], check=True)
        shutil.rmtree(self._folder)
        for each in ("systemd", "unified", ""):
            top = CGROUPS / each / self._name
            for folder in sorted(top.rglob("*/"), reverse=True):
                if folder.is_dir():
                    remove_cgroup(folder)
            if top.exists():
                remove_cgroup(top)
