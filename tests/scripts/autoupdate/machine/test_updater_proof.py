"""Who proves a new build, and where: as the user that runs the roles, where the roles start it."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from one_machine import OneMachine, one_machine

NOBODY = 65534  # nobody:nogroup of Debian and Ubuntu


@pytest.fixture
def open_machine() -> Iterator[OneMachine]:
    """Give a machine below a folder that any user may pass through."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        with one_machine(Path(folder)) as machine:
            machine.settings.cache_dir.mkdir(parents=True)
            yield machine


def give(folder: Path, user: int) -> None:
    if os.geteuid() == 0:
        os.chown(folder, user, user)


@pytest.mark.parametrize("one_owner", [True, False])
def test_new_build_is_proven_by_the_owner_of_the_roles_folders(
    open_machine: OneMachine, one_owner: bool
) -> None:
    settings = open_machine.settings
    give(settings.runtime_dir, NOBODY)
    give(settings.cache_dir, NOBODY if one_owner else 0)
    open_machine.publish(open_machine.package("1.0-1"), sequence=1)
    assert open_machine.look() is None
    unpacked = settings.cache_dir / "unpacked"
    # Only root can become another; and whose folders they are has to be clear.
    assert unpacked.exists() == (os.geteuid() == 0 and one_owner)
    if unpacked.exists():
        assert unpacked.stat().st_uid == NOBODY
    assert not settings.proof_dir.exists()
