"""What user-data runs on a new machine: its own code as rendered, a real package, a real dpkg.

The machine is below a folder; booted ones are in test_boot.py.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from project import NAME, ROOT
from waiting import wait_for

from autoupdate.release.format import Release, to_metadata
from autoupdate.release.signature import sign
from autoupdate.release.trust import Trust
from develop.lab.metadata_server import Handler
from develop.lab.server import Server
from develop.localcloud import LocalCloud

KEY = f"stable/{NAME}-server.deb"
NAMESPACE = f"{NAME}-release"
ROLE_ID = "AROA" + "X" * 17

START = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from autoupdate.release.trust import Trust
from firstboot import main
settings, signers, revoked = json.loads(sys.argv[3])
sys.exit(main(settings, Trust(signers, revoked.encode()), Path(sys.argv[2])))
"""


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory, signing_key: Path) -> Path:
    """Unpack what is rendered into user-data."""
    folder = tmp_path_factory.mktemp("user-data")
    environ = {"PATH": os.environ["PATH"], "NAME": NAME, "BUCKET": "releases",
               "SIGNING_KEY": str(signing_key)}  # fmt: skip
    output = ["--output", str(folder / "user-data")]
    command = [sys.executable, "-m", "operate", "userdata", *output]
    subprocess.run(command, cwd=ROOT / "scripts", env=environ, check=True)
    command = [sys.executable, str(folder / "user-data"), "--show", str(folder / "shown")]
    subprocess.run(command, check=True)
    return folder / "shown"


class NewMachine:
    """A machine with nothing on it, and the bucket that it is to follow."""

    def __init__(
        self, folder: Path, program: Path, cloud: LocalCloud, bucket: str, metadata: str
    ) -> None:
        self.root = folder / "root"
        for each in ("var/lib", "run", "etc"):
            (self.root / each).mkdir(parents=True)
        self.log = folder / "console"
        self.settings = {
            "NAME": NAME, "BUCKET": bucket, "REGION": "us-east-1", "CHANNEL": "stable",
            "ROLES": "web", "ROLE_ID": ROLE_ID,
            "AWS_ENDPOINT_URL": cloud.environ["AWS_ENDPOINT_URL"],
        }  # fmt: skip
        self.revoked = ""
        self._program = program
        self._s3 = cloud.client("s3")
        self._metadata = metadata
        self._process: subprocess.Popen[bytes] | None = None

    def publish(self, package: Path, key: Path, body: bytes = b"", /, **changes: object) -> None:
        content = package.read_bytes()
        fields: dict[str, Any] = {
            "package": f"{NAME}-server", "version": "1.0-1", "architecture": architecture(),
            "sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "sequence": 7,
            "published": "2026-11-23T08:10:00Z", "commit": "", "channel": "stable",
        }  # fmt: skip
        release = Release(**{**fields, **changes})
        metadata = to_metadata(release, sign(release.to_json(), key, NAMESPACE))
        self._s3.put_object(
            Bucket=self.settings["BUCKET"], Key=KEY, Body=body or content, Metadata=metadata
        )

    def boot(self, key: Path) -> None:
        signers = f"{NAMESPACE} {key.with_suffix('.pub').read_text()}"
        given = json.dumps([self.settings, signers, self.revoked])
        environ = {
            "PATH": os.environ["PATH"], "ROOT": str(self.root), "HOME": str(self.root),
            "CACHE_DIR": str(self.root / "cache"), "TMPDIR": str(self.root.parent),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._metadata,
        }  # fmt: skip
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["/usr/bin/python3", "-c", START, self._program, self.root, given],
                env=environ, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def says(self, text: str) -> None:
        wait_for(lambda: text in self.log.read_text() or self.ended() is not None, text)
        assert text in self.log.read_text()

    def ended(self) -> int | None:
        assert self._process
        return self._process.poll()

    def settles(self) -> None:
        """Wait until all is done but for the init, which nobody below a folder has."""
        self.says("no init that this program knows")
        self.says("provision ended with status 12; tries again")
        self.switch_off()

    def switch_off(self) -> None:
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, 9)
            self._process.wait()

    def installed(self) -> str:
        query = ["dpkg-query", f"--admindir={self.root}/var/lib/dpkg", "-W",
                 "-f=${db:Status-Status} ${Version}", f"{NAME}-server"]  # fmt: skip
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout

    def packages(self) -> list[str]:
        return sorted(each.name for each in self.root.glob("var/lib/*/packages/*"))


def architecture() -> str:
    asked = ["dpkg", "--print-architecture"]
    return subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


class Metadata:
    """The lab's metadata service, on loopback, which gives this machine's role."""

    def __init__(self, folder: Path, cloud: LocalCloud) -> None:
        folder.mkdir()
        handler = type("Quiet", (Handler,), {"folder": folder, "log_message": lambda *_: None})
        self._file = folder / "127.0.0.1.json"
        self._document = {
            "instance_id": "i-0123456789abcdef0", "user_data": "", "role": "a-role",
            "credentials": {
                "AccessKeyId": cloud.environ["AWS_ACCESS_KEY_ID"],
                "SecretAccessKey": cloud.environ["AWS_SECRET_ACCESS_KEY"],
                "Token": "a-token",
            },
        }  # fmt: skip
        self.server = Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.answer()

    def answer(self) -> None:
        self._file.write_text(json.dumps(self._document))

    def know_nothing(self) -> None:
        self._file.unlink()


@pytest.fixture
def imds(tmp_path: Path, cloud: LocalCloud) -> Iterator[Metadata]:
    metadata = Metadata(tmp_path / "metadata", cloud)
    thread = threading.Thread(target=metadata.server.serve_forever)
    thread.start()
    yield metadata
    metadata.server.shutdown()
    thread.join()
    metadata.server.server_close()


@pytest.fixture
def machine(
    tmp_path: Path, program: Path, cloud: LocalCloud, bucket: str, imds: Metadata
) -> Iterator[NewMachine]:
    machine = NewMachine(tmp_path, program, cloud, bucket, imds.url)
    yield machine
    machine.switch_off()


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    path = tmp_path / "stranger"
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "stranger", "-f", str(path)]
    subprocess.run(keygen, check=True)
    return path


def test_machine_waits_for_its_first_release_and_installs_it(
    machine: NewMachine, package: Path, signing_key: Path
) -> None:
    machine.boot(signing_key)
    machine.says("user-data: s3 answers 404")
    machine.publish(package, signing_key)
    # Everything but an init is here.
    machine.says("autoupdate provision ended with status 12; tries again")
    machine.says(f"{NAME}-web does not start: no init that this program knows")
    assert machine.installed() == "installed 1.0-1"
    settings = (machine.root / f"etc/default/{NAME}").read_text()
    assert f"MACHINE={ROLE_ID}:i-0123456789abcdef0\n" in settings
    assert "ROLE_ID=" not in settings and "NAME=" not in settings
    state = json.loads((machine.root / f"var/lib/{NAME}-autoupdate/state.json").read_text())
    assert state["last_good"]["sequence"] == state["accepted"][0]["sequence"] == 7
    # The package to go back to is the one that was downloaded, once.
    assert machine.packages() == [f"{state['last_good']['sha256']}.deb"]
    assert not [each for each in machine.root.parent.iterdir() if "user-data" in each.name]


def test_run_again_it_leaves_alone_what_is_done(
    machine: NewMachine, package: Path, signing_key: Path
) -> None:
    machine.publish(package, signing_key)
    machine.boot(signing_key)
    machine.settles()
    settings = machine.root / f"etc/default/{NAME}"
    settings.write_text(settings.read_text() + "WORKERS=3\n")
    machine.publish(package, signing_key, sequence=8)
    machine.log.write_text("")
    machine.boot(signing_key)
    machine.settles()
    assert "installs" not in machine.log.read_text()
    assert settings.read_text().endswith("WORKERS=3\n")


def test_what_a_keyless_writer_puts_into_the_bucket_delays_and_bricks_nobody(
    machine: NewMachine, package: Path, signing_key: Path, stranger: Path
) -> None:
    machine.publish(package, stranger)
    machine.boot(signing_key)
    machine.says("user-data: refused what is in the bucket: signed by an unknown key")
    machine.publish(package, signing_key, b"other bytes")
    machine.says("user-data: s3 sends 11 bytes, the release is")
    assert machine.installed() == ""
    machine.publish(package, signing_key)
    machine.settles()
    assert machine.installed() == "installed 1.0-1"


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"package": "mail-server"}, f"it is package mail-server, this machine runs {NAME}-server"),
        ({"channel": "beta"}, "it is for channel beta, this machine follows stable"),
        ({"architecture": "riscv64"}, "it is for riscv64"),
        ({"sha256": "0" * 64}, "the body of release 1.0-1 is not what was signed"),
        ({"size": 5}, "s3 sends"),
    ],
)
def test_what_is_not_this_machines_release_runs_nothing(
    machine: NewMachine,
    package: Path,
    signing_key: Path,
    changes: dict[str, object],
    cause: str,
) -> None:
    machine.publish(package, signing_key, **changes)
    machine.boot(signing_key)
    machine.says(cause)
    assert machine.installed() == ""
    assert machine.packages() == []
    assert not (machine.root / "cache").exists(), "the updater in it was run"


def test_revoked_key_is_refused_though_it_is_allowed(
    machine: NewMachine, package: Path, signing_key: Path
) -> None:
    machine.revoked = signing_key.with_suffix(".pub").read_text()
    machine.publish(package, signing_key)
    machine.boot(signing_key)
    machine.says("which revoked_keys revokes")
    assert machine.installed() == ""


def test_instance_profile_that_is_late_is_waited_for(
    machine: NewMachine, package: Path, signing_key: Path, imds: Metadata
) -> None:
    imds.know_nothing()
    machine.publish(package, signing_key)
    machine.boot(signing_key)
    machine.says("user-data: no credentials from the instance profile: the metadata service")
    imds.answer()
    machine.settles()
    assert machine.installed() == "installed 1.0-1"


def test_updater_that_does_not_run_is_replaced_by_the_next_release(
    machine: NewMachine, package: Path, signing_key: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    (tree / f"usr/bin/{NAME}-autoupdate").write_text("#!/bin/sh\nexit 3\n")
    broken = tmp_path / "broken.deb"
    subprocess.run(["dpkg-deb", "-Znone", "-b", tree, broken], check=True, capture_output=True)
    machine.publish(broken, signing_key)
    machine.boot(signing_key)
    machine.says(f"{NAME}-autoupdate provision ended with status 3; tries again")
    machine.publish(package, signing_key, sequence=8)
    machine.settles()
    assert machine.installed() == "installed 1.0-1"


def test_provision_that_is_killed_once_the_updater_is_installed_is_tried_again(
    machine: NewMachine, signing_key: Path
) -> None:
    updater = machine.root / f"usr/bin/{NAME}-autoupdate"
    updater.parent.mkdir(parents=True)
    updater.write_text(
        f"#!/bin/sh\n[ -e {machine.root}/again ] && exit 0\n: >{machine.root}/again\nkill -9 $$\n"
    )
    updater.chmod(0o755)
    machine.boot(signing_key)
    machine.says("provision ended with status -9; tries again")
    machine.says("user-data: serves after")


def test_package_of_an_earlier_try_is_not_downloaded_again(
    machine: NewMachine, package: Path, signing_key: Path, cloud: LocalCloud
) -> None:
    machine.settings["ROLES"] = "Not A Role"
    machine.publish(package, signing_key)
    before = cloud.requests("GET")
    machine.boot(signing_key)
    machine.says("provision ended with status 3; tries again")
    log = machine.log.read_text()
    wait_for(lambda: machine.log.read_text().count("must be names") > log.count("must be names"),
             "another try")  # fmt: skip
    assert cloud.requests("GET") == before + 1


def test_updater_is_given_the_revoked_keys_with_the_allowed_ones(
    machine: NewMachine, signing_key: Path, stranger: Path
) -> None:
    machine.revoked = stranger.with_suffix(".pub").read_text()
    updater = machine.root / f"usr/bin/{NAME}-autoupdate"
    updater.parent.mkdir(parents=True)
    updater.write_text(f'#!/bin/sh\ncp "${{ALLOWED_SIGNERS%/*}}"/* {machine.root}\n')
    updater.chmod(0o755)
    machine.boot(signing_key)
    machine.says("user-data: serves after")
    given = Trust.read(machine.root / "allowed_signers")
    assert signing_key.with_suffix(".pub").read_text() in given.signers
    assert given.revoked.decode() == machine.revoked
