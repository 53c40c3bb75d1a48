"""What runs on the operator's own computer: version, make, the local cloud, run, the demo's end."""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from project import BUILD, NAME, ROOT
from waiting import PATIENCE_SECONDS, wait_for

from develop.demo.versions import Tree
from develop.localcloud import LocalCloud


def git(repository: Path, *words: str) -> None:
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    subprocess.run(["git", "-C", repository, *identity, *words], check=True, capture_output=True)


def with_environment_of_a_user(**more: str) -> dict[str, str]:
    """Return an environment without what make exports to its recipes."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    return {**{name: os.environ[name] for name in kept if name in os.environ}, **more}


# packaging/version


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository of one commit that holds packaging/version."""
    (tmp_path / "repository/packaging").mkdir(parents=True)
    shutil.copy(ROOT / "packaging/version", tmp_path / "repository/packaging")
    git(tmp_path, "init", "-q", "repository")
    git(tmp_path / "repository", "add", ".")
    git(tmp_path / "repository", "commit", "-qm", "first")
    return tmp_path / "repository"


def version(repository: Path) -> str:
    return subprocess.run(
        [repository / "packaging/version"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def test_version_counts_commits(repository: Path) -> None:
    assert version(repository) == "1.0-1"
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    assert version(repository) == "1.0-2"


def test_version_of_a_changed_tree_says_so_and_by_what(repository: Path) -> None:
    seen = {version(repository)}
    (repository / "new").write_text("a file that git does not know")
    seen.add(version(repository))
    (repository / "new").write_text("another text")
    seen.add(version(repository))
    assert len(seen) == 3
    assert sum(bool(re.fullmatch(r"1\.0-1\+dirty\.[0-9a-f]{7}", each)) for each in seen) == 2
    for each in seen - {"1.0-1"}:
        # A tree that is changed comes after its commit, and before the next one.
        for lower, higher in (("1.0-1", each), (each, "1.0-2")):
            subprocess.run(["dpkg", "--compare-versions", lower, "lt", higher], check=True)


def test_version_without_a_history_is_lower_than_any(tmp_path: Path) -> None:
    (tmp_path / "packaging").mkdir()
    shutil.copy(ROOT / "packaging/version", tmp_path / "packaging")
    assert version(tmp_path) == "1.0-0"


# make


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, signing_key: Path) -> Path:
    """Copy this tree with what is built, as one that make has just packaged, to a hard place."""
    tree = Tree.copy(tmp_path_factory.mktemp("make") / "a folder with spaces", {}, {}).path
    make(tree, signing_key, "package")
    return tree


def make(tree: Path, key: Path, *words: str) -> str:
    """Run make; return what it said."""
    settings = [f"NAME={NAME}", "VERSION=1.0-1", f"SIGNING_KEY={key}", "BUCKET="]
    done = subprocess.run(
        ["make", *settings, *words],
        cwd=tree, env=with_environment_of_a_user(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_nothing_is_rebuilt_when_nothing_changed(tree: Path, signing_key: Path) -> None:
    assert make(tree, signing_key, "package") == ""


@pytest.mark.parametrize(
    ("changed", "rebuilt"),
    [
        ("app/panorama/web.py", [f"build/{NAME}"]),
        ("app/stitch/png.cc", ["build/objects/png.cc.o", "build/stitch"]),
        ("scripts/autoupdate/store/s3.py", [f"build/{NAME}-autoupdate"]),
        ("packaging/systemd/panorama-web.service", []),
    ],
)
def test_only_what_depends_on_a_change_is_rebuilt(
    tree: Path, signing_key: Path, changed: str, rebuilt: list[str]
) -> None:
    make(tree, signing_key, "package")
    (tree / changed).touch()
    said = make(tree, signing_key, "package").splitlines()
    assert said == [f"builds {each}" for each in (*rebuilt, f"build/{NAME}-server.deb")]


def test_package_follows_settings_given_on_the_command_line(
    tree: Path, signing_key: Path, tmp_path: Path
) -> None:
    make(tree, signing_key, "package")
    said = make(tree, signing_key, "package", "BUCKET=releases-acme", "MAINTAINER=O'Hara <o@a.org>")
    assert said == f"builds build/{NAME}-server.deb\n"
    subprocess.run(["dpkg-deb", "-x", tree / f"build/{NAME}-server.deb", tmp_path], check=True)
    defaults = (tmp_path / f"usr/share/{NAME}/defaults").read_text()
    assert "\nBUCKET=releases-acme\n" in defaults


def test_fresh_clone_without_a_key_is_packaged_by_parallel_make(tree: Path, tmp_path: Path) -> None:
    shutil.rmtree(tree / "build")
    # The dependencies of the executables are kept: fetching them is not what this is about.
    (tree / "build").mkdir()
    for layer in BUILD.glob("dependencies-*"):
        shutil.copy(layer, tree / "build")

    def package() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["make", "-j4", f"NAME={NAME}", "VERSION=1.0-1", "package"],
            cwd=tree, env=with_environment_of_a_user(HOME=str(tmp_path / "nobody")),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip

    made = package()
    assert made.returncode == 0, made.stderr
    assert made.stderr == (
        "makes build/development-key: there is no SIGNING_KEY, and make deploy will ask for one\n"
    )
    key = tree / "build/development-key"
    assert key.stat().st_mode & 0o777 == 0o600
    public = key.with_suffix(".pub").read_text()
    assert "development key of this checkout, not for releases" in public
    assert public in trusted_by(tree, tmp_path / "unpacked")
    # Made once: the next package trusts the same.
    assert package().stdout == ""
    assert key.with_suffix(".pub").read_text() == public


def trusted_by(tree: Path, unpacked: Path) -> str:
    """Return the allowed_signers of the package that is built in a tree."""
    subprocess.run(["dpkg-deb", "-x", tree / f"build/{NAME}-server.deb", unpacked], check=True)
    return (unpacked / f"etc/{NAME}/allowed_signers").read_text()


@pytest.mark.parametrize("given", ["environment", "command line", "Windows"])
def test_text_of_a_key_is_taken_as_well_as_its_path(
    tree: Path, signing_key: Path, tmp_path: Path, given: str
) -> None:
    text = signing_key.read_text()
    if given == "Windows":
        text = text.replace("\n", "\r\n")
    words = [f"SIGNING_KEY={text}"] if given == "command line" else []
    environ = {} if given == "command line" else {"SIGNING_KEY": text}
    done = subprocess.run(
        ["make", f"NAME={NAME}", "VERSION=1.0-1", "package", *words],
        cwd=tree, env=with_environment_of_a_user(**environ),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    public = signing_key.with_suffix(".pub").read_text().split()[1]
    assert public in trusted_by(tree, tmp_path)
    secret = text.splitlines()[2].strip()
    assert secret not in done.stdout
    written = [*(tree / "build").rglob("*"), *tmp_path.rglob("*")]
    for file in filter(Path.is_file, written):
        assert secret.encode() not in file.read_bytes(), file


def test_bare_make_lists_every_verb() -> None:
    told = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, env=with_environment_of_a_user(),
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    verbs = set(re.findall(r"^  ([a-z-]+)", told, re.M))
    assert verbs >= {"help", "setup", "build", "package", "deploy", "status", "rollback", "demo",
                     "run", "test", "lint", "clean", "userdata", "test-boot"}  # fmt: skip


def test_name_that_no_package_can_bear_is_refused_by_make() -> None:
    done = subprocess.run(
        ["make", "help", "NAME=My Service"], cwd=ROOT, env=with_environment_of_a_user(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert 'NAME is "My Service"' in done.stderr


@pytest.mark.parametrize(("words", "status"), [([], 2), (["stitch"], 2), (["app", "x"], 2)])
def test_lock_writes_nothing_that_it_is_not_asked_for(words: list[str], status: int) -> None:
    done = subprocess.run(
        [ROOT / "scripts/develop/lock", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert done.stderr


def test_what_travels_is_what_is_tested() -> None:
    # A new version goes into develop's lock first, and is shipped with the other.
    def pins(path: str) -> set[str]:
        return set(re.findall(r"^\S+==\S+", (ROOT / path).read_text(), re.M))

    assert pins("app/requirements.lock") <= pins("scripts/develop/requirements.lock")


# The scripts' --help is their header comment


@pytest.mark.parametrize(
    "script",
    [
        "scripts/develop/bootstrap",
        "packaging/trusted-keys",
        "packaging/version",
        "scripts/develop/run",
        "scripts/develop/lock",
    ],
)
def test_shell_scripts_have_help(script: str) -> None:
    told = subprocess.run(
        [ROOT / script, "--help"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert told.startswith(f"usage: {script}")
    assert len(told.splitlines()) > 2


# The local cloud


def test_local_cloud_ends_with_whoever_started_it() -> None:
    code = (
        "from develop.localcloud import LocalCloud\n"
        "with LocalCloud('bucket') as cloud:\n"
        "    print(cloud.environ['AWS_ENDPOINT_URL'], flush=True)\n"
        "    input()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT / "scripts", stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    url = process.stdout.readline().strip()
    urllib.request.urlopen(f"{url}/moto-api/", timeout=10).close()
    process.kill()
    process.communicate()

    def gone() -> bool:
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=10).close()
        except OSError:
            return True
        return False

    wait_for(gone, "the local cloud's end")


def test_local_cloud_keeps_versions(cloud: LocalCloud, bucket: str) -> None:
    s3 = cloud.client("s3")
    for body in (b"1", b"2"):
        s3.put_object(Bucket=bucket, Key="key", Body=body)
    assert len(s3.list_object_versions(Bucket=bucket)["Versions"]) == 2


# run and demo: whoever ends them, nothing is left


def processes_below(folder: Path) -> list[str]:
    """Return the command lines that name `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        if str(folder) in line:
            found.append(line)
    return found


def test_run_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    (tmp_path / "scripts/develop").mkdir(parents=True)
    (tmp_path / "build").mkdir()
    shutil.copy(ROOT / "scripts/develop/run", tmp_path / "scripts/develop")
    for name in (NAME, "stitch"):
        shutil.copy(BUILD / name, tmp_path / "build")
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [tmp_path / "scripts/develop/run"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env=with_environment_of_a_user(NAME=NAME, PORT="18765"), start_new_session=True,
        )  # fmt: skip
    wait_for(lambda: log.read_text().count(": serving ") == 2 or process.poll(), "both serve")
    urllib.request.urlopen("http://127.0.0.1:18765/healthz", timeout=10).close()
    # The whole group gets a Ctrl-C; the shell alone tells the roles, once.
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == 0, log.read_text()
    assert "told twice" not in log.read_text()
    wait_for(lambda: not processes_below(tmp_path), "no process left")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_that_is_interrupted_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    environ = with_environment_of_a_user(NAME=NAME, TMPDIR=str(tmp_path))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "develop.demo"], cwd=ROOT / "scripts", env=environ,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    # Machines, updaters and roles run by now, and a build may be under way.
    wait_for(lambda: "web-1 serves" in log.read_text() or process.poll(), "the first version")
    assert processes_below(tmp_path)
    process.send_signal(number)
    assert process.wait(PATIENCE_SECONDS) == 128 + number, log.read_text()
    wait_for(lambda: not processes_below(tmp_path), "no process left")
    assert [each.name for each in tmp_path.iterdir()] == ["log"]
