"""Names and bounds that both sides of the protocol share."""

import os
from collections.abc import Mapping

PROOF_FD = "HANDOFF_PROOF_FD"
GATE_FD = "HANDOFF_GATE_FD"
BOUND = "HANDOFF_BOUND"
WAITS = "HANDOFF_WAITS"
TRIAL = "HANDOFF_TRIAL"
INHERIT = "HANDOFF_INHERIT"

# sd_listen_fds(3): passed sockets begin here.
LISTEN_FDS_START = 3

# Writes of at most PIPE_BUF bytes to a pipe are atomic (pipe(7)), so that the
# lines of several workers never mix. Linux: 4096.
MAX_LINE_BYTES = 4096

# What an init tells its own child, and what one generation's environment says
# of its own pipes, must not reach another process.
PRIVATE_VARIABLES = frozenset(
    {
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        PROOF_FD,
        GATE_FD,
        BOUND,
        WAITS,
        TRIAL,
        INHERIT,
    }
)


def child_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return a copy of `environ` without the variables that are meant for one process only."""
    return {name: value for name, value in environ.items() if name not in PRIVATE_VARIABLES}


def one_line(text: str) -> str:
    """Return `text` folded to one line that fits into the proof pipe, keyword included."""
    folded = " ".join(text.split())
    return folded.encode()[: MAX_LINE_BYTES - 64].decode(errors="ignore")
