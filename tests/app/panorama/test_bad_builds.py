"""Bad builds of the real service: each is refused with its reason, and the old one serves on.

One service lives through all but those that hang, while clients keep asking.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builds import Edits
from installation import Installation, asking, installed
from project import BUILD, NAME

from handoff import RestartError

FACTORY = ("    app = Flask(", "    {}\n    app = Flask(")
HEALTH = ("    studio().check()\n", "    {}\n")


def factory(statement: str) -> Edits:
    """Return the edit that puts `statement` at the application factory's start."""
    return {"web.py": (FACTORY[0], FACTORY[1].format(statement))}


def health(statement: str) -> Edits:
    return {"web.py": (HEALTH[0], HEALTH[1].format(statement))}


def at_import(statement: str) -> Edits:
    return {"web.py": ("MAGIC = (", f"{statement}\nMAGIC = (")}


SUPERVISED = "    return Supervisor("

# Kind of fault -> what is edited, and what the refusal says.
EDITED: dict[str, tuple[Edits, str]] = {
    "import error": (at_import("import nowhere"), "No module named 'nowhere'"),
    "exception in the factory": (factory("raise OSError('no disk')"), "OSError: no disk"),
    "exit in the factory": (factory("raise SystemExit(0)"), "ended before it was let in"),
    "health fails": (health("raise OSError('ill')"), "GET /healthz: 500"),
    "health answers another version": (
        {"web.py": ('"version": VERSION}', '"version": "0.9"}')},
        "version 0.9",
    ),
    "exits with 0 at once": (
        {"cli.py": ("    generation = ", "    sys.exit(0)\n    generation = ")},
        "exited with status 0",
    ),
    "is killed": (at_import("import os; os.kill(os.getpid(), 9)"), "SIGKILL"),
    "out of memory in a worker": (factory("b'' + bytes(1 << 60)"), "MemoryError"),
    "a worker forks and dies": (
        factory("import os; os.fork() and os.kill(os.getpid(), 9)"),
        "worker",  # it forked, or it ended: whichever is seen first
    ),
    "a worker aborts": (factory("import os; os.abort()"), "ended before it was let in"),
    "talks nonsense to its supervisor": (
        {"generation_web.py": ("    _Server(s", "    generation._say('hi', '')\n    _Server(s")},
        "it said 'hi '",
    ),
    "supervisor raises": (
        {"supervisor.py": (SUPERVISED, "    raise OSError('no supervisor')\n" + SUPERVISED)},
        "its supervisor cannot take over",
    ),
    "supervisor raises when it takes over": (
        {"../handoff/notify.py": ('f"READY=1', 'f"READY={1 / 0}')},
        "its supervisor cannot take over",
    ),
    "supervisor fails in its first round": (
        {"../handoff/supervisor.py": ("self._watch_draining()\n", "self._fail('no')\n")},
        "its supervisor cannot take over",
    ),
    "supervisor exits with 0 at once": (
        {"supervisor.py": (SUPERVISED, "    sys.exit(0)\n" + SUPERVISED)},
        "its supervisor cannot take over",
    ),
}  # fmt: skip


# Kind of hang -> what is edited, how long it is waited for, what the refusal says. However busy the
# machine is, only the last has to get anywhere in its time.
HANGING: dict[str, tuple[Edits, int, str]] = {
    "in import": (at_import("time.sleep(1000)"), 2, "not proven within 2 s"),
    "in health": (health("time.sleep(1000)"), 2, "not proven within 2 s"),
    "one worker of two": (
        factory(
            "try: (settings.state_dir / 'first').open('x')\n"
            "    except FileExistsError: time.sleep(1000)"
        ),
        5,
        "not proven within 5 s (1 of 2 workers ready)",
    ),
}


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


# Kind of damage -> what the file becomes, its mode, what the refusal says.
DAMAGED: dict[str, tuple[Callable[[bytes], bytes], int, str]] = {
    "truncated": (lambda content: content[: len(content) // 2], 0o755, "exited with status 1"),
    "one byte changed": (damaged, 0o755, "exited with status 1"),
    "empty": (lambda _: b"", 0o755, "Exec format error"),
    "not executable": (lambda content: content, 0o644, "Permission denied"),
    "of a wrong interpreter": (
        lambda content: content.replace(b"/usr/bin/python3", b"/usr/bin/python9", 1),
        0o755,
        "No such file or directory",
    ),
    "of another CPU": (lambda _: b"\x7fELF\x02\x01\x01" + b"\0" * 100, 0o755, "Exec format error"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("installed")) as place:
        place.start("web")
        yield place


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("vision")) as place:
        place.start("vision")
        yield place


def refuses(place: Installation, role: str, reason: str) -> None:
    """Restart; the restart must be refused for `reason`, and nothing may have changed."""
    before = place.status(role)
    with pytest.raises(RestartError) as refusal:
        place.restart(role)
    assert reason in str(refusal.value)
    after = place.status(role)
    assert (after["state"], after["version"]) == ("failed", place.version)
    assert after["pid"] == before["pid"]
    assert reason in after["error"]
    assert f"refused to restart: {after['error']}" in place.log.read_text()


def refuses_and_serves(place: Installation, reason: str) -> None:
    with asking(place, "/healthz", "/") as answers:
        refuses(place, "web", reason)
    assert {status for status, _ in answers} == {200}
    assert place.health()["version"] == place.version


@pytest.mark.parametrize("fault", EDITED)
def test_build_with_a_fault_is_refused(place: Installation, fault: str) -> None:
    edits, reason = EDITED[fault]
    place.install(place.edited_unpacked(f"2.0-{list(EDITED).index(fault)}", edits))
    refuses_and_serves(place, reason)


@pytest.mark.parametrize("hang", HANGING)
def test_build_that_hangs_is_refused_when_its_time_is_over(tmp_path: Path, hang: str) -> None:
    edits, seconds, reason = HANGING[hang]
    with installed(tmp_path) as place:
        place.start("web")
        place.bound_proof("web", seconds)
        place.install(place.edited_unpacked("2.0-1", edits))
        refuses_and_serves(place, reason)


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_executable_is_refused(place: Installation, damage: str) -> None:
    change, mode, reason = DAMAGED[damage]
    spoilt = place.folder / "spoilt"
    spoilt.write_bytes(change((BUILD / NAME).read_bytes()))
    spoilt.chmod(mode)
    place.install(spoilt)
    refuses_and_serves(place, reason)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"WORKERS": "many"}, "WORKERS='many'"),
        ({"PORT": "1"}, "cannot move in a restart"),
        ({"STATE_DIR": "/proc/nowhere"}, "/proc/nowhere"),
    ],
)
def test_good_build_with_bad_settings_is_refused(
    place: Installation, settings: dict[str, str], reason: str
) -> None:
    place.install(BUILD / NAME)
    place.set(**settings)
    try:
        refuses_and_serves(place, reason)
    finally:
        place.set()


def test_removed_executable_is_refused(place: Installation) -> None:
    place.executable.unlink()
    refuses_and_serves(place, "No such file or directory")


def test_vision_without_its_helper_is_refused(vision: Installation) -> None:
    (vision.executable.parent / "stitch").unlink()
    refuses(vision, "vision", "the helper is not at")
    shutil.copy(BUILD / "stitch", vision.executable.parent)
    assert vision.restart("vision") == vision.version


def test_next_good_build_is_accepted_after_a_bad_one(place: Installation) -> None:
    # After all of them, when the whole file runs.
    pid = place.status("web")["pid"]
    place.install(place.edited("3.0-1", factory("raise OSError('bad')")))
    refuses_and_serves(place, "OSError: bad")
    place.install(place.edited("3.0-2", {"templates/base.html": ("</footer>", " 3</footer>")}))
    with asking(place, "/healthz", "/") as answers:
        assert place.restart("web") == "3.0-2"
    assert {status for status, _ in answers} == {200}
    place.wait_served_by("3.0-2")
    assert place.status("web")["pid"] == pid
