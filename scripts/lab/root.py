"""The root file system that every machine begins with, and the mirror of its distribution.

Both are made once, in a minute, and kept in build/lab.
"""

import os
import platform
import shutil
import subprocess
from pathlib import Path

LAB = Path(__file__).resolve().parents[2] / "build" / "lab"

# What stock images carry, as far as anybody here uses it.
STOCK = (
    "systemd", "systemd-sysv", "dbus", "python3", "openssh-client", "ca-certificates", "iproute2",
    "cloud-init", "procps", "passwd", "login",
)  # fmt: skip

# What they do not carry, and the mirror has, with all that it depends on: the package's own
# dependency, what LOG_HOST takes, and what the article's way of provisioning takes.
ON_MIRROR = ("libtbb12", "rsyslog", "awscli")

TOOLS = ("mmdebstrap", "systemd-nspawn", "ip", "nsenter", "dpkg-scanpackages")


def why_not() -> str:
    """Return why no machine can be booted here; "" if one can, as far as can be told."""
    if os.geteuid() != 0:
        return "not root"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return f"missing: {', '.join(missing)}"
    # In a container root often has no right to namespaces.
    allowed = subprocess.run(
        ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "true"],
        capture_output=True, check=False,
    )  # fmt: skip
    return "" if allowed.returncode == 0 else f"no namespaces: {allowed.stderr.decode().strip()}"


def root_file_system() -> Path:
    """Return the machines' root file system, made at the first call."""
    return _made() / "root"


def mirror() -> Path:
    """Return a folder to be served as an apt repository."""
    return _made() / "mirror"


def _made() -> Path:
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    folder = LAB / suite
    stamp = folder / "made-of"
    wanted = " ".join((*STOCK, *ON_MIRROR))
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "mirror").mkdir(parents=True)
    # Of a hook's environment: apt as it is set up for the new system (mmdebstrap(1), HOOKS).
    fetch = (
        f"APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq --yes --download-only install "
        f"{' '.join(ON_MIRROR)} && cp \"$1\"/var/cache/apt/archives/*.deb '{folder}/mirror'"
    )
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(STOCK)}",
         f"--customize-hook={fetch}", suite, folder / "root"],
        check=True,
    )  # fmt: skip
    index = subprocess.run(
        ["dpkg-scanpackages", "--multiversion", "."], cwd=folder / "mirror",
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    (folder / "mirror" / "Packages").write_bytes(index)
    # The last: what is cut short before is made anew.
    stamp.write_text(wanted)
    return folder
