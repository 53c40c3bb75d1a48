"""Packages that a trusted key has signed, in error or in other hands: refused or undone."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_deb import hostile_deb
from one_machine import OneMachine
from package_maker import NAME, Package

from autoupdate.errors import MachineError, RefusedError, UndecidedError, UndoneError
from autoupdate.machine import contents, dpkg
from autoupdate.machine.programs import SYSTEM_PATH


def member(path: str, **how: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(path)
    made.mode = 0o644
    for name, value in how.items():
        setattr(made, name, value)
    return made


OWN = f"./usr/bin/{NAME}"
HOSTILE: dict[str, tuple[tarfile.TarInfo, str]] = {
    "absolute path": (member("/etc/passwd"), "leads elsewhere"),
    "path upwards": (member("./usr/../../etc/passwd"), "leads elsewhere"),
    "file of another package": (member("./usr/bin/ssh"), f"is not {NAME}'s"),
    "cron job": (member("./etc/cron.d/job"), f"is not {NAME}'s"),
    "another's unit": (member("./usr/lib/systemd/system/ssh.service"), f"is not {NAME}'s"),
    "sudoers": (member("./etc/sudoers.d/all"), f"is not {NAME}'s"),
    "key of root": (member("./root/.ssh/authorized_keys"), f"is not {NAME}'s"),
    "setuid": (member(OWN, mode=0o4755), "with mode 4755"),
    "setgid": (member(OWN, mode=0o2755), "with mode 2755"),
    "writable by all": (member(OWN, mode=0o777), "with mode 0777"),
    "another's file": (member(OWN, uid=1000), "is not root's"),
    "device": (member(OWN, type=tarfile.BLKTYPE), "no file and no folder"),
    "pipe": (member(OWN, type=tarfile.FIFOTYPE), "no file and no folder"),
    "hard link": (
        member(OWN, type=tarfile.LNKTYPE, linkname="etc/shadow"), "no file and no folder",
    ),
    "link to the outside": (
        member(OWN, type=tarfile.SYMTYPE, linkname="/bin/sh"), "a link that leads elsewhere",
    ),
    "link upwards": (
        member(OWN, type=tarfile.SYMTYPE, linkname="../../etc/shadow"),
        "a link that leads elsewhere",
    ),
    "escape sequences": (member("./usr/bin/\x1b[2Jclear"), "is not"),
}  # fmt: skip


def publish(machine: OneMachine, body: bytes) -> None:
    path = machine.root.parent / "hostile.deb"
    path.write_bytes(body)
    machine.publish(Package(path, "1.0-2"), sequence=2)


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("after", [0, 1])
def test_package_that_holds_what_it_may_not_is_refused(
    resting: OneMachine, kind: str, after: int
) -> None:
    bad, says = HOSTILE[kind]
    good = [(member(OWN, mode=0o755), b"#!/bin/sh\n")] * after
    publish(resting, hostile_deb("1.0-2", [*good, (copy_of(bad), b"")]))
    problem = resting.look()
    assert isinstance(problem, RefusedError)
    assert says in str(problem)
    assert resting.installed() == "1.0-1"
    assert all(character.isprintable() for line in resting.log_lines() for character in line)


def header_of(deb: bytes, path: str) -> int:
    """Return where the header of the member `path` begins."""
    return deb.index(path.encode() + bytes(1))


def respelled(deb: bytes, at: int, offset: int, field: bytes) -> bytes:
    """Write `field` into the header that begins at `at`, and mend its checksum."""
    header = bytearray(deb[at : at + 512])
    header[offset : offset + len(field)] = field
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return deb[:at] + bytes(header) + deb[at + 512 :]


HIDDEN = "./etc/sudoers.d/all"


@pytest.mark.parametrize(
    ("offset", "field"),
    [
        (329, b"zzzzzzz"),  # the device's major number: tarfile gives up here, dpkg goes on
        (124, b"00000000001x"),  # the size
        (100, b"-000644"),  # the mode
        (156, b"x"),  # an extended header
        (156, b"L"),  # a name as long as the body
        (148, b"0000000"),  # the checksum
    ],
)
def test_member_cannot_hide_behind_what_another_reader_stops_at(
    resting: OneMachine, offset: int, field: bytes
) -> None:
    deb = hostile_deb(
        "1.0-2",
        [(member(OWN, mode=0o755), b"#!/bin/sh\n"), (member(f"{OWN}-2"), b"x" * 5000),
         (member(HIDDEN), b"ALL ALL=NOPASSWD: ALL\n")],
    )  # fmt: skip
    at = header_of(deb, f"{OWN}-2")
    hiding = (
        respelled(deb, at, offset, field)
        if offset != 148
        else (deb[: at + 148] + field + deb[at + 148 + len(field) :])
    )
    publish(resting, hiding)
    assert isinstance(resting.look(), RefusedError)
    assert not (resting.root / HIDDEN).exists()


def test_member_cannot_hide_behind_the_end_mark(resting: OneMachine) -> None:
    first = hostile_deb("1.0-2", [(member(OWN, mode=0o755), b"#!/bin/sh\n")])
    deb = hostile_deb("1.0-2", [(member(OWN, mode=0o755), b"#!/bin/sh\n"), (member(HIDDEN), b"x")])
    at = header_of(deb, HIDDEN)
    assert len(first) < len(deb) + 1024
    publish(resting, deb[: at - 512] + bytes(512) + deb[at:])
    assert isinstance(resting.look(), RefusedError)


@pytest.mark.parametrize("field", ["Conflicts: dpkg", "Replaces: dpkg", "Essential: yes"])
def test_package_that_would_remove_or_outrank_others_is_refused(
    resting: OneMachine, field: str
) -> None:
    publish(resting, hostile_deb("1.0-2", [], fields=field))
    problem = resting.look()
    assert isinstance(problem, RefusedError)
    assert field.split(":", maxsplit=1)[0] in str(problem)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("Conflicts : victim", "a field Conflicts"),
        ("Homepage: a\nHOMEPAGE: b", "a control field twice"),
        ("X-Long: " + "a\n " * 40_000, "KB of control fields"),
    ],
)
def test_fields_hide_neither_behind_blanks_nor_behind_others(
    resting: OneMachine, fields: str, says: str
) -> None:
    publish(resting, hostile_deb("1.0-2", [], fields=fields.rstrip()))
    problem = resting.look()
    assert isinstance(problem, RefusedError)
    assert says in str(problem)


@pytest.mark.parametrize("dies_at", ["--fsys-tarfile", "--ctrl-tarfile", "--field"])
def test_reader_that_is_killed_is_no_fault_of_the_package(
    resting: OneMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    # As by the kernel, for want of memory: after a part of what it had to say.
    program, once = tmp_path / "bin/dpkg-deb", tmp_path / "once"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\nif [ $1 = {dies_at} ] && ! [ -e {once} ]; then\n: >{once}\n"
        '/usr/bin/dpkg-deb "$@" | head -c 700\nkill -9 $$\nfi\n'
        'exec /usr/bin/dpkg-deb "$@"\n'
    )
    program.chmod(0o755)
    path = f"{program.parent}:{SYSTEM_PATH}"
    for module in (contents, dpkg):
        monkeypatch.setattr(module, "SYSTEM_PATH", path)
    monkeypatch.setenv("PATH", path)
    resting.publish(resting.package("1.0-2"), sequence=2)
    problem = resting.look()
    assert isinstance(problem, UndecidedError), problem
    assert resting.look() is None
    assert resting.installed() == "1.0-2"


def copy_of(made: tarfile.TarInfo) -> tarfile.TarInfo:
    """Tarfile writes sizes into what it is given."""
    copy = tarfile.TarInfo(made.name)
    for name in ("mode", "uid", "gid", "type", "linkname"):
        setattr(copy, name, getattr(made, name))
    return copy


@pytest.mark.parametrize(
    ("limit", "control"), [("MAX_UNPACKED_BYTES", False), ("MAX_CONTROL_BYTES", True)]
)
def test_archive_that_unpacks_to_more_than_any_service_is_a_bomb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, control: bool
) -> None:
    # The limits are constants; smaller ones spare the test four gigabytes.
    monkeypatch.setattr(contents, limit, 1 << 20)
    big = [(member(f"./usr/share/{NAME}/{number}"), bytes(1 << 19)) for number in range(3)]
    deb = tmp_path / "bomb.deb"
    deb.write_bytes(hostile_deb("1.0-2", [], big) if control else hostile_deb("1.0-2", big))
    with pytest.raises(MachineError, match="unpacks to more than 1 MB"):
        contents.check(deb, NAME)


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body[: len(body) // 2],
        lambda body: body.replace(b"data.tar", b"data.zip", 1),
        lambda body: body.replace(b"control.tar", b"contr0l.tar", 1),
        lambda body: body.replace(b"2.0\n", b"9.0\n", 1),
        lambda body: b"!<arch>\n",
        lambda body: body[:200] + bytes(2000) + body[2200:],
    ],
)
def test_damaged_archive_is_refused(resting: OneMachine, damage: Callable[[bytes], bytes]) -> None:
    good = hostile_deb("1.0-2", [(member(OWN, mode=0o755), b"#!/bin/sh\n" * 1000)])
    publish(resting, damage(good))
    assert isinstance(resting.look(), RefusedError)
    assert resting.installed() == "1.0-1"


def test_maintainer_script_that_hangs_is_cut_and_the_release_undone(serving: OneMachine) -> None:
    serving.environ["INSTALL_SECONDS"] = "3"
    serving.restart_updater()
    serving.publish(serving.package("1.0-2", scripts={"postinst": "sleep 1000"}), sequence=2)
    problem = serving.look()
    assert isinstance(problem, UndoneError)
    assert problem.serving
    assert "not done within 3 s" in str(problem)
    assert serving.dpkg_says() == "installed 1.0-1"
