"""How an executable starts: it unpacks itself once, and nothing that happens to the file matters.

The bootstrap is the same in every executable, so a tiny program shows most of it.
"""

import ast
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_maker import PACKAGING, Program, ask, bundle, end
from waiting import wait_for


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the executables of versions 1.0-1 and 1.0-2."""
    folder = tmp_path_factory.mktemp("built")
    for version in ("1.0-1", "1.0-2"):
        made = bundle(folder, version, output=version)
        assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture
def program(built: Path, tmp_path: Path) -> Program:
    shutil.copy(built / "1.0-1", tmp_path / "hello")
    return Program(tmp_path / "hello", tmp_path / "cache")


def replace(program: Program, built: Path) -> None:
    """Do what dpkg does: rename version 1.0-2 over the executable."""
    new = program.executable.with_name("new")
    shutil.copy(built / "1.0-2", new)
    new.rename(program.executable)


def test_executable_alone_runs_with_nothing_but_python3(program: Program, tmp_path: Path) -> None:
    elsewhere = tmp_path / "empty"
    elsewhere.mkdir()
    shutil.copy(program.executable, elsewhere)
    alone = Program(elsewhere / "hello", tmp_path / "cache")
    assert alone.run(asked="version\n", cwd=elsewhere).stdout == "ready\n1.0-1\n"


def test_version_is_told_without_unpacking(program: Program) -> None:
    assert program.run("--version").stdout == "1.0-1\n"
    assert not program.cache.exists()


def test_replaced_executable_never_changes_what_runs(program: Program, built: Path) -> None:
    old = program.start()
    replace(program, built)
    # Imported only now: from the folder of the build that was started.
    assert ask(old) == "1.0-1"
    new = program.start()
    assert ask(new) == "1.0-2"
    end(old)
    end(new)


def test_removed_and_truncated_executables_do_not_disturb_what_runs(program: Program) -> None:
    old = program.start()
    content = program.executable.read_bytes()
    program.executable.write_bytes(content[:100])
    assert ask(old) == "1.0-1"
    program.executable.unlink()
    assert ask(old) == "1.0-1"
    end(old)


def test_builds_live_as_long_as_a_process_of_theirs(program: Program, built: Path) -> None:
    old = program.start()
    [first] = program.builds()
    replace(program, built)
    new = program.start()
    assert len(program.builds()) == 2
    assert first in program.builds()
    end(old)
    assert program.run().returncode == 0  # the next start clears up
    assert first not in program.builds()
    assert ask(new) == "1.0-2"
    end(new)


def test_second_start_unpacks_nothing(program: Program) -> None:
    program.run()
    [build] = program.builds()
    before = (program.cache / build).stat().st_mtime_ns
    (program.cache / build / "hello" / "late.py").write_text("VERSION = 'what lies there'\n")
    assert "what lies there" in program.run(asked="version\n").stdout
    assert (program.cache / build).stat().st_mtime_ns == before


def test_many_first_starts_at_once_unpack_one_build(program: Program) -> None:
    started = [
        subprocess.Popen(
            [program.executable], env=program.environ, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )
        for _ in range(8)
    ]  # fmt: skip
    assert [each.communicate("version\n")[0] for each in started] == ["ready\n1.0-1\n"] * 8
    assert len(program.builds()) == 1


def entries_below(folder: Path) -> int:
    # os.walk passes over what is renamed meanwhile.
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


@pytest.mark.parametrize("moment", range(12))
def test_start_killed_while_it_unpacks_harms_no_later_one(program: Program, moment: int) -> None:
    process = subprocess.Popen(
        [program.executable], env=program.environ, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    # By progress, not by the clock: so many entries are there, or it is done.
    wait_for(
        lambda: entries_below(program.cache) >= moment or process.poll() is not None,
        f"{moment} entries",
    )
    process.kill()
    process.wait()
    assert program.run(asked="version\n").stdout == "ready\n1.0-1\n"
    assert len(program.builds()) == 1


def test_build_of_an_earlier_boot_is_unpacked_anew(program: Program) -> None:
    # What was written shortly before a power cut may be empty files.
    program.run()
    [build] = program.builds()
    (program.cache / build / "hello" / "late.py").write_text("")
    (program.cache / build / ".lock").write_text("another boot")
    assert program.run(asked="version\n").stdout == "ready\n1.0-1\n"


def test_nothing_outside_of_the_executable_is_loaded(program: Program, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile"
    (hostile / "hello").mkdir(parents=True)
    (hostile / "hello" / "__init__.py").write_text("raise SystemExit('loaded a stranger')")
    (hostile / "sitecustomize.py").write_text("raise SystemExit('loaded a stranger')")
    program.environ["PYTHONPATH"] = str(hostile)
    result = program.run(asked="path\n", cwd=hostile)
    assert result.returncode == 0
    assert str(hostile) not in result.stdout
    assert "site-packages" not in result.stdout
    assert str(program.executable) not in result.stdout.split()


def test_early_restart_signal_waits(program: Program) -> None:
    # Before the program is ready for it, SIGUSR2 must not kill.
    process = program.start()
    process.send_signal(signal.SIGUSR2)
    assert ask(process) == "1.0-1"
    end(process)


def test_damaged_executable_says_so(program: Program) -> None:
    content = bytearray(program.executable.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    program.executable.write_bytes(content)
    result = program.run()
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("hello: cannot read ")
    assert "install the package again" in line
    assert not program.cache.exists()


def test_truncated_executable_fails(program: Program) -> None:
    # Without the zip's end Python takes it for a script, and says so in its own words.
    content = program.executable.read_bytes()
    program.executable.write_bytes(content[: len(content) // 2])
    assert program.run().returncode == 1


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda cache: cache.mkdir(mode=0o777) or cache.chmod(0o777), "others may write to it"),
        (lambda cache: cache.write_text("a file"), "it is no folder"),
        (lambda cache: cache.symlink_to(cache.parent), "it is a symbolic link"),
    ],
)
def test_unfit_cache_folder_is_refused(
    program: Program, spoil: Callable[[Path], object], cause: str
) -> None:
    spoil(program.cache)
    result = program.run()
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("hello: cannot use the cache folder ")
    assert cause in line
    assert "CACHE_DIR" in line


def test_full_disk_leaves_nothing_half_unpacked(program: Program) -> None:
    # A limit on file sizes fails as a full disk does: in the middle of a write.
    tiny = (1, resource.RLIM_INFINITY)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, tiny)

    result = program.run(preexec_fn=limit)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert "cannot unpack into" in line
    assert "make room, or set CACHE_DIR" in line
    assert program.builds() == []
    assert program.run(asked="version\n").stdout == "ready\n1.0-1\n"


def test_old_python_is_told_which_it_needs() -> None:
    # Whatever python3 is: it must get as far as saying so. 3.5 is what Ubuntu 16.04 has.
    ast.parse((PACKAGING / "bootstrap.py").read_text(), feature_version=(3, 5))


def test_restarts_of_one_build_from_its_folder(program: Program, built: Path) -> None:
    # What a supervisor does once the file on disk is another build's.
    process = program.start()
    [build] = program.builds()
    replace(program, built)
    again = subprocess.run(
        ["/usr/bin/python3", "-IS", program.cache / build / "__main__.py"],
        env={**program.environ, "SLIPWAY_EXECUTABLE": str(program.executable)},
        input="version\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert again.stdout == "ready\n1.0-1\n"
    end(process)


def test_unpacked_files_are_nobodys_elses_to_write(program: Program) -> None:
    previous = os.umask(0)
    try:
        program.run()
    finally:
        os.umask(previous)
    for path in program.cache.rglob("*"):
        assert path.stat().st_mode & 0o022 == 0, path
