"""The root file system that every machine begins with, and the mirror of its distribution.

Both are made once, in a minute, and kept in build/machines.
"""

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

LAB = Path(__file__).resolve().parents[3] / "build" / "machines"

# What stock images carry, as far as anybody here uses it.
STOCK = (
    "systemd", "systemd-sysv", "dbus", "python3", "openssh-client", "ca-certificates", "iproute2",
    "cloud-init", "procps", "passwd", "login",
)  # fmt: skip

# What they do not carry, and the mirror has, with all that it depends on: the package's own
# dependency, and what LOG_HOST takes.
ON_MIRROR = ("libtbb12", "rsyslog")
# And what the article's way of provisioning takes. Not every distribution has it.
OF_THE_ARTICLE = "awscli"

TOOLS = ("mmdebstrap", "systemd-nspawn", "ip", "nsenter", "dpkg-scanpackages")


def why_not() -> str:
    """Return why no machine can be booted here; "" if one can, as far as can be told."""
    if os.geteuid() != 0:
        return "not root"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return f"missing: {', '.join(missing)}"
    # In a container root often has no right to namespaces, or to mount.
    with tempfile.TemporaryDirectory() as folder:
        allowed = subprocess.run(
            ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "sh", "-ec", _TRY],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
    return "" if allowed.returncode == 0 else f"not allowed: {allowed.stderr.strip()}"


_TRY = """
mkdir lower upper work root
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work root
"""


def root_file_system() -> Path:
    """Return the machines' root file system, made at the first call."""
    return _made() / "root"


def mirror() -> Path:
    """Return a folder to be served as an apt repository."""
    return _made() / "mirror"


def _made() -> Path:
    release = platform.freedesktop_os_release()
    suite = release["VERSION_CODENAME"]
    components = "main,universe" if release["ID"] == "ubuntu" else "main"
    folder = LAB / suite
    stamp = folder / "made-of"
    wanted = " ".join((*STOCK, *ON_MIRROR, OF_THE_ARTICLE))
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "mirror").mkdir(parents=True)
    fetch = _FETCH.format(packages=" ".join(ON_MIRROR), more=OF_THE_ARTICLE, folder=folder)
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--components={components}",
         f"--include={','.join(STOCK)}", f"--customize-hook={fetch}", suite, folder / "root"],
        check=True,
    )  # fmt: skip
    # systemd-nspawn makes its own; whoever copies build/ must not read from /dev/zero.
    shutil.rmtree(folder / "root" / "dev")
    (folder / "root" / "dev").mkdir()
    index = subprocess.run(
        ["dpkg-scanpackages", "--multiversion", "."], cwd=folder / "mirror",
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    (folder / "mirror" / "Packages").write_bytes(index)
    # The last: what is cut short before is made anew.
    stamp.write_text(wanted)
    return folder


# For mmdebstrap's hook: apt as it is set up for the new system (mmdebstrap(1), HOOKS).
_FETCH = """set -e
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
apt-get -qq --yes --download-only install {packages}
if apt-cache show {more} >/dev/null; then apt-get -qq --yes --download-only install {more}; fi
cp "$1"/var/cache/apt/archives/*.deb '{folder}/mirror'
"""
