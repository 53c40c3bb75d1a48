"""What the updater remembers: durable, whole, and readable by its neighbours in time."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autoupdate.errors import StateError
from autoupdate.journal.state import MAX_REFUSALS, Journal, Refusal, State, Step
from autoupdate.journal.state_folder import StateFolder
from autoupdate.release.format import Release


def release(sequence: int = 1) -> Release:
    return Release(
        "panorama-server", f"1.0-{sequence}", "amd64", f"{sequence:064x}", 4, sequence,
        "2026-11-23T08:10:00Z", "", "stable",
    )  # fmt: skip


FULL = State(
    accepted=(release(3),),
    last_good=release(2),
    refused=(Refusal(release(1), "it did not start", "2026-11-23T08:10:00Z"),),
    journal=Journal(Step.INSTALLING, release(3), 1, ""),
    condition="cannot resolve s3",
    condition_since="2026-11-23T08:10:00Z",
)


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    with folder.locked():
        return folder


def test_state_survives_on_disk(folder: StateFolder, tmp_path: Path) -> None:
    fields = {name: getattr(FULL, name) for name in FULL.__dataclass_fields__}
    folder.change(**fields)
    again = StateFolder(tmp_path / "state")
    again.load()
    assert again.state == FULL


def test_empty_folder_is_an_empty_state(folder: StateFolder) -> None:
    folder.load()
    assert folder.state == State()


def test_older_updater_reads_what_a_newer_one_wrote() -> None:
    document = json.loads(FULL.to_json())
    document["waves"] = {"joined": 1}
    document["journal"]["wave"] = 3
    document["accepted"][0]["minimum_updater"] = "2.0"
    assert State.from_json(json.dumps(document)) == FULL


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", '{"format": 2}', '{"format": 1}', "[" * 5000,
     FULL.to_json()[:-30], FULL.to_json().replace("installing", "dancing"),
     FULL.to_json().replace('"sequence": 3', '"sequence": -3')],
)  # fmt: skip
def test_damaged_state_is_neither_used_nor_thrown_away(
    folder: StateFolder, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "state/state.json"
    file.write_text(text)
    with pytest.raises(StateError, match=r"cannot understand .*state.json"):
        folder.load()
    assert file.read_text() == text


def test_state_that_cannot_be_written_stays_what_it_was(
    folder: StateFolder, tmp_path: Path
) -> None:
    folder.change(accepted=(release(1),))
    # The temporary name is taken by a folder: the write fails at its first step.
    (tmp_path / "state/.state.json.new").mkdir()
    with pytest.raises(StateError, match="cannot write"):
        folder.change(accepted=(release(2),))
    assert folder.state.accepted == (release(1),)
    folder.load()
    assert folder.state.accepted == (release(1),)


def test_only_the_latest_refusals_are_kept() -> None:
    state = State()
    for sequence in range(1, 100):
        refusal = Refusal(release(sequence), "no", "2026-11-23T08:10:00Z")
        state = State(refused=state.refused_with(refusal))
    assert len(state.refused) == MAX_REFUSALS
    assert state.refusal_of(release(99))
    assert not state.refusal_of(release(1))


def test_second_updater_is_kept_out(folder: StateFolder, tmp_path: Path) -> None:
    with folder.locked(), pytest.raises(StateError, match="another updater works in"):
        other = StateFolder(tmp_path / "state")
        with other.locked():
            pytest.fail("two updaters at once")


def test_lock_of_a_killed_updater_is_free(folder: StateFolder, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from autoupdate.journal.state_folder import StateFolder\n"
        "with StateFolder(Path(sys.argv[1])).locked(): print('locked', flush=True); input()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "state")]
    environ = {"PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as other:
        assert other.stdout and other.stdout.readline() == b"locked\n"
        with pytest.raises(StateError), folder.locked():
            pytest.fail("two updaters at once")
        other.kill()
        other.wait()
        with folder.locked():
            pass


def test_package_with_other_bytes_is_not_kept(folder: StateFolder) -> None:
    def give_others(write: Callable[[bytes], object]) -> None:
        write(b"evil")

    assert not folder.add_package(release(), give_others)
    assert not folder.holds(release())
    assert not list(folder.package(release()).parent.iterdir())


def test_download_that_fails_leaves_nothing_behind(folder: StateFolder) -> None:
    def fail(write: object) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        folder.add_package(release(), fail)
    assert not list(folder.package(release()).parent.iterdir())
