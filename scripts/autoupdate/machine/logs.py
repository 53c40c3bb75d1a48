"""The machine's log, sent elsewhere: rsyslog's business, which is told where."""

from pathlib import Path
from typing import Protocol

from autoupdate.errors import ProvisionError
from autoupdate.machine.programs import run

RSYSLOG = Path("/usr/sbin/rsyslogd")
RULES = Path("/etc/rsyslog.d")
_SECONDS = 60


class Packages(Protocol):
    """Where packages come from."""

    def install_packages(self, clauses: list[str]) -> None:
        """Let apt-get install what satisfies `clauses`; raises PostponedError."""


def forward(host: str, port: str, name: str, packages: Packages) -> None:
    """Send all of the machine's log to HOST:PORT, as syslog over UDP.

    Raises:
        PostponedError: rsyslog is not here and cannot be installed now.
        ProvisionError: rsyslog does not start, or its rule cannot be written.
    """
    if not RSYSLOG.exists():
        packages.install_packages(["rsyslog"])
    rule = f'*.* action(type="omfwd" target="{host}" port="{port}" protocol="udp")\n'
    try:
        (RULES / f"60-{name}.conf").write_text(rule)
    except OSError as error:
        raise ProvisionError(f"cannot forward logs to {host}: {error}") from error
    restarted = run(["systemctl", "restart", "rsyslog"], seconds=_SECONDS)
    if not restarted.succeeded:
        raise ProvisionError(f"cannot forward logs to {host}: {restarted.cause}")
