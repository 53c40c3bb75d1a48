"""packaging/deb: what is in the package, and what dpkg leaves when it is gone."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from project import BUILD, NAME, ROOT

DEB = ROOT / "packaging" / "deb"
ROLES = ("web", "vision", "autoupdate")
SETTINGS = {
    "NAME": NAME,
    "VERSION": "1.0-2",
    "MAINTAINER": "Ann <ann@example.org>",
    "SOURCE_DATE_EPOCH": "1700000000",
}


def deb(output: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run packaging/deb on tiny programs."""
    folder = output.parent / "programs"
    folder.mkdir(exist_ok=True)
    programs = [folder / name for name in ("service", "updater", "helper")]
    for program in programs:
        program.write_text("#!/bin/sh\necho 1.0-2\n")
    inherited = {name: text for name, text in os.environ.items() if name in {"PATH", "HOME"}}
    return subprocess.run(
        [DEB, *programs],
        env={**inherited, **SETTINGS, "OUTPUT": str(output), **environ},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def listed(package: Path) -> dict[str, tuple[str, str]]:
    """Return mode and owner by path, files alone."""
    output = subprocess.run(
        ["dpkg-deb", "-c", package], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    rows = [line.split() for line in output.splitlines()]
    return {row[5][1:]: (row[0], row[1]) for row in rows if not row[5].endswith("/")}


def field(package: Path, name: str) -> str:
    return subprocess.run(
        ["dpkg-deb", "--field", package, name], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def test_package_lists_what_a_machine_needs(package: Path) -> None:
    files = listed(package)
    executables = {f"/usr/bin/{NAME}", f"/usr/bin/{NAME}-autoupdate", f"/usr/lib/{NAME}/stitch"}
    texts = {
        *(f"/usr/lib/systemd/system/{NAME}-{role}.service" for role in ROLES),
        *(f"/etc/init/{NAME}-{role}.conf" for role in ROLES),
        f"/usr/share/{NAME}/defaults",
        f"/etc/{NAME}/allowed_signers",
    }
    assert executables | texts <= files.keys()
    assert {files[path][0] for path in executables} == {"-rwxr-xr-x"}
    assert {files[path][0] for path in files.keys() - executables} == {"-rw-r--r--"}
    assert {owner for _, owner in files.values()} == {"root/root"}
    assert not [path for path in files if path.startswith("/etc/default/")], "postinst makes it"


def test_package_stays_small(package: Path) -> None:
    assert package.stat().st_size <= 4.5e6


def test_package_depends_on_what_its_helper_is_linked_with(package: Path) -> None:
    depends = field(package, "Depends")
    for each in ("libc6", "libstdc++6", "libtbb", "python3 (>= 3.10)", "openssh-client"):
        assert each in depends
    assert "opencv" not in depends


def test_same_inputs_give_the_same_package(tmp_path: Path, signing_key: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert deb(tmp_path / name / "p.deb", SIGNING_KEY=str(signing_key)).returncode == 0
    assert (tmp_path / "one/p.deb").read_bytes() == (tmp_path / "two/p.deb").read_bytes()


def test_another_name_is_in_every_path_and_text(tmp_path: Path, signing_key: Path) -> None:
    made = deb(tmp_path / "acme.deb", NAME="acme", SIGNING_KEY=str(signing_key))
    assert made.returncode == 0, made.stderr
    subprocess.run(
        ["dpkg-deb", "--raw-extract", tmp_path / "acme.deb", tmp_path / "tree"], check=True
    )
    assert (tmp_path / "tree/usr/bin/acme-autoupdate").exists()
    assert field(tmp_path / "acme.deb", "Package") == "acme-server"
    found = subprocess.run(
        ["grep", "-ril", "panorama", tmp_path / "tree"],
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    # The copyright file names the sources, which are not renamed.
    assert [line for line in found.stdout.split() if "copyright" not in line] == []


def test_settings_of_the_bucket_travel_with_the_package(tmp_path: Path, signing_key: Path) -> None:
    made = deb(tmp_path / "p.deb", BUCKET="releases-acme", REGION="eu-west-1",
               SIGNING_KEY=str(signing_key))  # fmt: skip
    assert made.returncode == 0, made.stderr
    subprocess.run(["dpkg-deb", "-x", tmp_path / "p.deb", tmp_path / "tree"], check=True)
    lines = (tmp_path / f"tree/usr/share/{NAME}/defaults").read_text().splitlines()
    assert "BUCKET=releases-acme" in lines
    assert "REGION=eu-west-1" in lines


@pytest.mark.parametrize(
    ("environ", "cause"),
    [
        ({"NAME": "Acme"}, "cannot use NAME=Acme"),
        ({"NAME": "a" * 30}, "cannot use NAME="),
        ({"MAINTAINER": "Ann"}, "cannot use MAINTAINER=Ann"),
        ({"VERSION": ""}, "VERSION is not set"),
        ({"VERSION": "1.0 2"}, "cannot use VERSION=1.0 2"),
        ({"BUCKET": "no bucket"}, "cannot use BUCKET=no bucket"),
        ({"SIGNING_KEY": "/nowhere/key"}, "ssh-keygen -t ed25519 -f /nowhere/key"),
    ],
)
def test_wrong_settings_are_said_in_one_line(
    tmp_path: Path, signing_key: Path, environ: dict[str, str], cause: str
) -> None:
    made = deb(tmp_path / "p.deb", **{"SIGNING_KEY": str(signing_key), **environ})
    assert made.returncode == 1
    assert made.stderr.startswith(("deb: ", "trusted-keys: "))
    assert cause in made.stderr
    assert len(made.stderr.splitlines()) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["programs"], "nothing half made"


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("not a key\n")
    made = deb(tmp_path / "p.deb", SIGNING_KEY=str(tmp_path / "key"))
    assert made.returncode == 1
    assert "no public key" in made.stderr
    assert not (tmp_path / "p.deb").exists()


def test_several_keys_may_be_trusted_and_others_revoked(tmp_path: Path, signing_key: Path) -> None:
    # A project whose packaging folder holds allowed_signers.
    project = tmp_path / "project"
    for folder in ("packaging", "upstart"):
        shutil.copytree(ROOT / folder, project / folder)
    key = signing_key.with_suffix(".pub").read_text()
    signers = f"{NAME}-release {key}{NAME}-release {key}"
    (project / "packaging/allowed_signers").write_text(signers)
    (project / "packaging/revoked_keys").write_text(key)
    (tmp_path / "program").write_text("#!/bin/sh\n")
    subprocess.run(
        [project / "packaging/deb", tmp_path / "program", tmp_path / "program"],
        env={**os.environ, **SETTINGS, "BUCKET": "", "OUTPUT": str(tmp_path / "p.deb"),
             "SIGNING_KEY": "none"},
        check=True,
    )  # fmt: skip
    subprocess.run(["dpkg-deb", "-x", tmp_path / "p.deb", tmp_path / "tree"], check=True)
    assert (tmp_path / f"tree/etc/{NAME}/allowed_signers").read_text() == signers
    assert (tmp_path / f"tree/etc/{NAME}/revoked_keys").read_text() == key


class Root:
    """A dpkg root of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"):
            (path / folder).mkdir(parents=True)
        (path / "var/lib/dpkg/status").touch()
        self.before = self.files()

    def dpkg(self, *words: str | Path) -> None:
        force = ["--force-script-chrootless", "--force-depends", "--force-not-root"]
        done = subprocess.run(
            ["dpkg", f"--root={self.path}", *force, *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            # dpkg insists on finding its own tools there.
            env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def files(self) -> set[str]:
        """Return all but dpkg's own records."""
        return {
            str(path.relative_to(self.path))
            for path in self.path.rglob("*")
            if "var/lib/dpkg" not in str(path)
        }


def test_installed_upgraded_and_purged_it_leaves_nothing(
    tmp_path: Path, package: Path, signing_key: Path
) -> None:
    assert deb(tmp_path / "second.deb", SIGNING_KEY=str(signing_key)).returncode == 0
    root = Root(tmp_path / "root")
    root.dpkg("--install", package)
    executable = root.path / "usr/bin" / NAME
    assert executable.read_bytes() == (BUILD / NAME).read_bytes()
    settings = root.path / "etc/default" / NAME
    settings.write_text("PORT=9000\n")
    for folder in ("var/lib", "var/cache", "run"):
        (root.path / folder / NAME).mkdir(parents=True)
        (root.path / folder / NAME / "made-by-the-service").touch()

    root.dpkg("--install", tmp_path / "second.deb")
    assert executable.read_text() == "#!/bin/sh\necho 1.0-2\n"
    assert settings.read_text() == "PORT=9000\n", "the operator's own"

    root.dpkg("--remove", f"{NAME}-server")
    assert not executable.exists()
    assert settings.exists(), "remove leaves what the operator wrote"

    root.dpkg("--purge", f"{NAME}-server")
    left = root.files() - root.before
    # Folders that Debian's base system has anyway.
    assert left <= {"run", "var/cache"}


def test_older_package_goes_over_a_newer_one(
    tmp_path: Path, package: Path, signing_key: Path
) -> None:
    assert deb(tmp_path / "second.deb", SIGNING_KEY=str(signing_key)).returncode == 0
    root = Root(tmp_path / "root")
    root.dpkg("--install", tmp_path / "second.deb")
    root.dpkg("--install", package)
    assert (root.path / "usr/bin" / NAME).read_bytes() == (BUILD / NAME).read_bytes()
