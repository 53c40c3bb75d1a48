"""packaging/bundle: one executable of a program, always the same bytes, or a clear refusal."""

import zipfile
from pathlib import Path

import pytest
from bundle_maker import bundle
from project import BUILD, NAME


def test_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        assert bundle(tmp_path / folder).returncode == 0
    assert (tmp_path / "one/hello").read_bytes() == (tmp_path / "two/hello").read_bytes()


def test_another_version_is_another_build(tmp_path: Path) -> None:
    bundle(tmp_path, "1.0-1")
    bundle(tmp_path, "1.0-2", output="hello-2")
    assert (tmp_path / "hello").read_bytes() != (tmp_path / "hello-2").read_bytes()


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"modules": {"cli.py": "def main(:\n"}}, "invalid syntax"),
        ({"entry": "hello.nothing:main"}, "no such MODULE:FUNCTION"),
        ({"entry": "hello.cli"}, "no such MODULE:FUNCTION"),
        ({"source": "/nowhere/hello"}, "not a folder"),
        ({"requirements": "/nowhere.lock"}, "/nowhere.lock"),
    ],
)
def test_what_cannot_be_bundled_is_said_in_one_line(
    tmp_path: Path, options: dict[str, str], cause: str
) -> None:
    made = bundle(tmp_path, **options)  # type: ignore[arg-type]
    assert made.returncode == 1
    assert made.stderr.startswith("bundle: ")
    assert cause in made.stderr.splitlines()[-1]
    assert len(made.stderr.splitlines()) == 1
    assert not (tmp_path / "hello").exists()


def test_failed_build_leaves_the_last_executable(tmp_path: Path) -> None:
    bundle(tmp_path)
    before = (tmp_path / "hello").read_bytes()
    assert bundle(tmp_path, modules={"cli.py": "def main(:\n"}).returncode == 1
    assert (tmp_path / "hello").read_bytes() == before


@pytest.mark.parametrize("name", [NAME, f"{NAME}-autoupdate"])
def test_executable_holds_no_compiled_module(name: str) -> None:
    import io
    import lzma
    import tarfile

    with zipfile.ZipFile(BUILD / name) as archive:
        payload = lzma.decompress(archive.read("site.tar.xz"))
    with tarfile.open(fileobj=io.BytesIO(payload)) as tar:
        names = tar.getnames()
    assert len(names) > 50
    assert not [each for each in names if each.endswith((".so", ".pyc"))]


def test_executable_stays_within_the_size_of_the_articles() -> None:
    # 1.6 MB, the article's Go executable; this one is compressed already.
    assert (BUILD / NAME).stat().st_size <= 1.6e6
