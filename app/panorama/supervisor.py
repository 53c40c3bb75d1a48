"""Puts the roles of this service under the handoff supervisor."""

import sys
from pathlib import Path

from handoff import Generation, Role, Supervisor
from panorama.build_info import NAME
from panorama.settings import Settings

# The bootstrap of the unpacked build that this code belongs to; there is none
# when the service runs from its source tree.
_UNPACKED_MAIN = Path(__file__).parent.parent / "__main__.py"


def run(role: str, settings: Settings) -> int:
    """Supervise `role` until told to stop. Returns the exit status.

    Raises:
        handoff.HandoffError: the status file cannot be written, or another supervisor writes it.
    """
    return Supervisor(
        Role(
            name=role,
            command=_command(role),
            status_file=settings.runtime_dir / f"{role}.json",
            address=settings.address if role == "web" else None,
            # A job begun is finished: a restart must not cost an uploader minutes of work.
            grace_seconds=settings.grace if role == "web" else settings.stitch_seconds + 10,
            proof_seconds=settings.proof_seconds,
            log_prefix=f"{NAME} {role}",
        )
    ).run()


def offer_takeover(role: str, generation: Generation) -> None:
    """Tell the supervisor how to become this build: through its unpacked folder.

    That folder is named by its content, so what is executed is what proved
    itself, even if the executable on disk was replaced again meanwhile.
    """
    if _UNPACKED_MAIN.exists():
        argv = [sys.executable, "-IS", str(_UNPACKED_MAIN), role]
        generation.supervisor(argv, {"SLIPWAY_EXECUTABLE": sys.argv[0]})


def _command(role: str) -> list[str]:
    """Return a generation's command: whatever executable is on disk when it is run."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":  # python -m: from the source tree
        return [sys.executable, str(program), role]
    return [str(program), role]
