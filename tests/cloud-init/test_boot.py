"""A machine from nothing: booted with user-data alone, updated, broken, rebooted, cut off, purged.

One machine lives through it all, in the order of this file.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import MACHINE_ADDRESS, Cloud, Machine, why_not
from project import NAME, ROOT
from waiting import wait_for

from demo.versions import Edit, Tree

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(bool(why_not()), reason=f"boots a real machine; {why_not()}"),
]

HEALTH = f"""
import http.client, json, sys, time
over, lost, versions = False, [], []
deadline = time.monotonic() + float(sys.argv[1])
while time.monotonic() < deadline:
    try:
        connection = http.client.HTTPConnection("{MACHINE_ADDRESS}", 8000, timeout=10)
        connection.request("GET", "/healthz")
        versions.append(json.loads(connection.getresponse().read())["version"])
    except Exception as error:
        lost.append(repr(error))
    time.sleep(0.02)
print(json.dumps([lost, versions]))
"""

MAKE_BUCKET = """
import boto3
s3 = boto3.client("s3")
s3.create_bucket(Bucket="releases")
versioning = {"Status": "Enabled"}
s3.put_bucket_versioning(Bucket="releases", VersioningConfiguration=versioning)
"""
REPORT = """
import boto3
answer = boto3.client("s3").get_object(Bucket="releases", Key="fleet/web-1.json")
print(answer["Body"].read().decode())
"""


class Story:
    """The cloud, the machine, and the operator's trees."""

    def __init__(self, cloud: Cloud, machine: Machine, folder: Path, key: Path) -> None:
        self.cloud = cloud
        self.machine = machine
        self._folder = folder
        self._key = key
        self.environ = {
            **{name: text for name, text in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": cloud.endpoint,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def publish(self, version: str, edit: Edit | None = None) -> None:
        variables = self.settings() | {"VERSION": version}
        tree = Tree.copy(self._folder / version, variables, self.environ)
        if edit:
            edit.apply(tree.path)
        tree.make("package")
        # The bucket is inside the namespace.
        words = [f"{name}={text}" for name, text in variables.items()]
        environ = {name: text for name, text in self.environ.items() if name != "MAKEFLAGS"}
        done = self.cloud.run("make", "deploy", *words, cwd=tree.path, env=environ)
        assert done.returncode == 0, done.stdout + done.stderr

    def settings(self) -> dict[str, str]:
        return {
            "NAME": NAME,
            "BUCKET": "releases",
            "SIGNING_KEY": str(self._key),
            "CHANNEL": "stable",
        }

    def health(self, seconds: float = 0.1) -> tuple[list[str], list[str]]:
        """Ask from outside of the machine; return what was lost, and the versions that answered."""
        asked = self.cloud.run(sys.executable, "-c", HEALTH, str(seconds))
        lost, versions = json.loads(asked.stdout)
        return lost, versions

    def serves(self, version: str) -> bool:
        return self.health()[1][-1:] == [version]

    def report(self) -> dict[str, Any]:
        """Return what the machine says of itself in the bucket, empty before the first report."""
        said = self.cloud.run(sys.executable, "-c", REPORT, env=self.environ)
        document: dict[str, Any] = json.loads(said.stdout) if said.returncode == 0 else {}
        return document


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, signing_key: Path) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("boot")
    with Cloud(folder) as cloud, cloud.machine() as machine:
        story = Story(cloud, machine, folder, signing_key)
        wait_for(
            lambda: cloud.run(sys.executable, "-c", MAKE_BUCKET, env=story.environ).returncode == 0,
            "the bucket",
        )
        yield story


def test_machine_serves_with_user_data_alone(story: Story) -> None:
    story.publish("1.0-1")
    user_data = story.cloud.folder / "user-data"
    subprocess.run(
        [sys.executable, ROOT / "scripts/userdata", "--output", user_data],
        env={**story.environ, **story.settings(), "ROLES": "web vision"}, check=True,
    )  # fmt: skip
    assert user_data.stat().st_size < 16384
    story.cloud.serve_user_data(user_data)
    story.machine.boot()
    status = story.machine.run("cloud-init", "status", "--wait", "--long")
    log = story.machine.run("cat", "/var/log/cloud-init-output.log").stdout
    assert "status: done" in status.stdout, status.stdout + log
    assert re.search(r"user-data: serves after [0-9.]+ s", log), log
    for role in ("web", "vision", "autoupdate"):
        assert story.machine.property(f"{NAME}-{role}", "ActiveState") == "active"
    assert story.serves("1.0-1")
    wait_for(lambda: story.report().get("state") == "current", "its report")


def test_user_data_run_again_changes_nothing(story: Story) -> None:
    before = story.machine.property(f"{NAME}-web", "MainPID")
    again = story.machine.run("/var/lib/cloud/instance/scripts/part-001")
    assert again.returncode == 0, again.stderr
    assert "installs" not in again.stderr
    assert story.machine.property(f"{NAME}-web", "MainPID") == before


def test_next_version_is_served_by_the_same_process_and_nothing_is_lost(story: Story) -> None:
    units = [f"{NAME}-{role}" for role in ("web", "vision", "autoupdate")]
    before = [story.machine.property(unit, "MainPID") for unit in units]
    asked: list[tuple[list[str], list[str]]] = []
    client = threading.Thread(target=lambda: asked.append(story.health(seconds=60)))
    client.start()
    story.publish("1.0-2", Edit("app/panorama/templates/base.html", "</footer>", " 2</footer>"))
    client.join()
    lost, versions = asked[0]
    assert lost == []
    assert (versions[0], versions[-1]) == ("1.0-1", "1.0-2")
    assert [story.machine.property(unit, "MainPID") for unit in units] == before
    for unit in units:
        assert story.machine.property(unit, "NRestarts") == "0"
    assert story.machine.run("systemctl", "is-system-running").stdout.strip() == "running"


def test_reload_waits_and_fails_with_what_was_refused(story: Story) -> None:
    unit = f"{NAME}-web"
    assert story.machine.run("systemctl", "reload", unit).returncode == 0
    settings = story.machine.root / "etc/default" / NAME
    before = settings.read_text()
    settings.write_text(before + "WORKERS=0\n")
    assert story.machine.run("systemctl", "reload", unit).returncode != 0
    settings.write_text(before)
    assert story.serves("1.0-2")


def test_version_that_cannot_serve_is_undone_while_the_service_answers(story: Story) -> None:
    story.publish(
        "1.0-3", Edit("app/panorama/web.py", "    app = Flask(__name__)", "    raise OSError('no')")
    )
    wait_for(lambda: story.report().get("state") == "undone", "the broken release undone")
    assert "OSError: no" in story.report()["error"]
    lost, versions = story.health(seconds=2)
    assert (lost, set(versions)) == ([], {"1.0-2"})


def test_reboot_comes_back_on_the_good_version(story: Story) -> None:
    story.machine.reboot()
    wait_for(lambda: story.serves("1.0-2"), "version 2 after the reboot")


def test_machine_cut_off_in_mid_installation_comes_back_serving(story: Story) -> None:
    story.publish("1.0-4", Edit("app/panorama/templates/base.html", "</footer>", " 4</footer>"))
    journal = story.machine.root / f"var/lib/{NAME}-autoupdate/state.json"
    wait_for(lambda: '"installing"' in journal.read_text(), "the installation")
    story.machine.kill()
    story.machine.boot()
    wait_for(lambda: story.serves("1.0-4"), "version 4")
    assert story.machine.run("dpkg", "--audit").stdout == ""


def test_sandbox_is_tight(story: Story) -> None:
    said = story.machine.run("systemd-analyze", "security", "--no-pager").stdout
    exposure = dict(re.findall(rf"^{NAME}-(\w+)\.service\s+([0-9.]+)", said, re.M))
    assert float(exposure["web"]) <= 2.5
    assert float(exposure["vision"]) <= 2.5
    assert float(exposure["autoupdate"]) <= 4


def test_purged_package_leaves_nothing(story: Story) -> None:
    machine = story.machine
    purged = machine.run("dpkg", "--purge", f"{NAME}-server")
    assert purged.returncode == 0, purged.stderr
    # What cloud-init and the log keep is not the package's.
    spared = [word for path in ("/proc/*", "/var/lib/cloud/*", "/var/log/*")
              for word in ("-not", "-path", path)]  # fmt: skip
    found = machine.run("find", "/", "-xdev", "-name", f"*{NAME}*", *spared)
    assert found.stdout == ""
    assert machine.run("getent", "passwd", NAME).returncode != 0
    assert NAME not in machine.run("systemctl", "list-units", "--all", "--no-pager").stdout
    assert machine.run("pgrep", "-f", f"bin/{NAME}").stdout == ""
