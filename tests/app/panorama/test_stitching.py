"""The helper runs bounded, and its end is told to the uploader."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import BUILD

from develop.demo.photos import take_photos
from panorama.settings import Settings
from panorama.stitching import (
    HelperMissingError,
    StitchError,
    check_helper,
    find_helper,
    stitch,
)

STITCH = BUILD / "stitch"


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "helper"


def write_helper(path: Path, body: str) -> Settings:
    path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{body}\n")
    path.chmod(0o755)
    return Settings(stitch=str(path), stitch_seconds=2, stitch_memory_mb=256)


def run(settings: Settings, folder: Path) -> tuple[tuple[int, int], list[str]]:
    stages: list[str] = []
    size = stitch(settings, folder, ["photo-1", "photo-2"], "out.jpg", stages.append)
    return size, stages


def test_real_photos_are_stitched_under_the_limits(tmp_path: Path) -> None:
    for number, path in enumerate(take_photos(tmp_path), start=1):
        path.rename(tmp_path / f"photo-{number}")
    settings = Settings(stitch=str(STITCH))
    stages: list[str] = []
    names = ["photo-1", "photo-2", "photo-3"]
    width, height = stitch(settings, tmp_path, names, "out.jpg", stages.append)
    assert width > 1.6 * height
    assert (tmp_path / "out.jpg").stat().st_size > 10_000
    assert "matching" in stages or "composing" in stages


def test_stages_are_passed_on(helper: Path, tmp_path: Path) -> None:
    settings = write_helper(helper, "print('reading', flush=True); print('done 3x2')")
    size, stages = run(settings, tmp_path)
    assert size == (3, 2)
    assert stages[-1] in {"reading", "done 3x2"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "print('stitch: cannot use photo 2: no', file=sys.stderr); sys.exit(3)",
            "cannot use photo 2",
        ),
        ("time.sleep(60)", "longer than 2 s"),
        ("x = bytearray(1 << 30)", "more time or memory"),
        ("os.abort()", "more time or memory"),
        ("open('big', 'wb').truncate(1 << 40)", "more time or memory"),
        ("sys.exit(0)", "more time or memory"),
        ("print('done 1x1 and more')", "more time or memory"),
        ("print('x' * 10_000_000)", "more time or memory"),
        ("os.close(1); os.close(2); time.sleep(60)", "came to no end"),
    ],
)
def test_helper_that_fails_or_goes_wild_ends_in_a_message(
    helper: Path, tmp_path: Path, body: str, message: str
) -> None:
    with pytest.raises(StitchError, match=message):
        run(write_helper(helper, body), tmp_path)


def test_missing_helper_is_told_with_the_places(tmp_path: Path) -> None:
    with pytest.raises(HelperMissingError, match="set STITCH to its path"):
        check_helper(Settings(stitch=str(tmp_path / "nothing")))


def test_helper_that_does_not_run_here_is_told(helper: Path) -> None:
    write_helper(helper, "")
    helper.write_text("#!/nonexistent/interpreter\n")
    with pytest.raises(HelperMissingError, match="does not run"):
        check_helper(Settings(stitch=str(helper)))


def test_helper_is_found_beside_the_executable_and_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "panorama")])
    installed = tmp_path / "lib" / "panorama" / "stitch"
    beside = tmp_path / "bin" / "stitch"
    for place in (installed, beside):
        place.parent.mkdir(parents=True)
        place.touch(0o755)
        assert find_helper(Settings()) == place
