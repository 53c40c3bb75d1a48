"""Machines from nothing: a stack, two machines booted with its user-data alone, and their life.

They live through it all, in the order of this file: web-1 and vision-1, behind their own roles.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import waiting
from project import NAME

from develop.demo.photos import take_photos
from develop.demo.versions import Edit, Tree
from develop.lab.cloud import ADDRESS, Cloud
from develop.lab.machine import Instance, Machine
from develop.lab.root import why_not

pytestmark = [
    pytest.mark.boot,
    pytest.mark.timeout(1200),  # the first one makes the root file system
    pytest.mark.skipif(bool(why_not()), reason=f"boots real machines; {why_not()}"),
]

LOG_PORT = 5514

# What a machine may take by its own bounds: an interval, a check, a restart. To look starts
# programs on the very cores that it works on.
wait_for = partial(waiting.wait_for, pause=0.5, patience=300)

# A client on the outside: asks until it is told to stop, and tells what was lost and what answered.
CLIENT = """
import http.client, json, sys, threading, time
address, seconds = sys.argv[1], float(sys.argv[2])
stopped = threading.Event()
if not seconds:  # until somebody writes a line
    threading.Thread(target=lambda: (sys.stdin.readline(), stopped.set()), daemon=True).start()
deadline = time.monotonic() + (seconds or 3600)
lost, versions = [], []
while time.monotonic() < deadline and not stopped.is_set():
    try:
        connection = http.client.HTTPConnection(address, 8000, timeout=10)
        connection.request("GET", "/healthz")
        versions.append(json.loads(connection.getresponse().read())["version"])
    except Exception as error:
        lost.append(repr(error))
    time.sleep(0.02)
print(json.dumps([lost, versions]))
"""

# An upload whose body is sent in two halves; the second once somebody writes a line.
SLOW_UPLOAD = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], 8000, timeout=60)
body = b'--b\\r\\nContent-Disposition: form-data; name="photos"; filename="a"\\r\\n\\r\\n'
body += b"\\r\\n--b--\\r\\n"
connection.putrequest("POST", "/api/panoramas")
connection.putheader("Content-Type", "multipart/form-data; boundary=b")
connection.putheader("Content-Length", str(len(body)))
connection.endheaders(body[:20])
print("half", flush=True)
sys.stdin.readline()
connection.send(body[20:])
print(connection.getresponse().status, flush=True)
"""

UPLOAD = """
import sys
from pathlib import Path
from develop.demo.upload import upload
job = upload(sys.argv[1], sorted(Path(sys.argv[2]).iterdir()))
print(job.wait(120))
"""

RECEIVE_LOGS = """
import socket, sys
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind((sys.argv[1], int(sys.argv[2])))
with open(sys.argv[3], "ab", buffering=0) as file:
    while True:
        file.write(receiver.recv(65536) + b"\\n")
"""


class Story:
    """The cloud, the stack in it, its machines, and the operator's trees."""

    def __init__(self, cloud: Cloud, folder: Path, key: Path) -> None:
        self.cloud = cloud
        self.settings = {
            "NAME": NAME,
            "BUCKET": "releases",
            "SIGNING_KEY": str(key),
            "CHANNEL": "stable",
            "MAINTAINER": "Ann <ann@example.org>",
        }
        self.web: Machine
        self.vision: Machine
        self._folder = folder

    def make(self, *words: str, version: str = "1.0-1", edit: Edit | None = None) -> str:
        """Run make as the operator does, in a tree of `version`; return what it says."""
        variables = self.settings | {"VERSION": version}
        path = self._folder / version
        tree = Tree(path, variables, self.cloud.environ)
        if not path.exists():
            tree = Tree.copy(path, variables, self.cloud.environ)
            if edit:
                edit.apply(path)
        given = [f"{name}={text}" for name, text in variables.items()]
        environ = {name: text for name, text in tree.environ.items() if name != "MAKEFLAGS"}
        done = self.cloud.run("make", *words, *given, cwd=path, env=environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def publish(self, version: str, edit: Edit | None = None) -> None:
        self.make("deploy", version=version, edit=edit)

    def serves(self, version: str, machine: Machine | None = None) -> bool:
        """Ask for a moment, from outside of the machine; tell whether that version answers."""
        address = (machine or self.web).address
        asked = self.cloud.run(sys.executable, "-c", CLIENT, address, "0.1")
        versions: list[str] = json.loads(asked.stdout)[1]
        return versions[-1:] == [version]

    @contextmanager
    def load(self) -> Iterator[tuple[list[str], list[str]]]:
        """Ask all the while; after the block: what was lost, and the versions that answered."""
        lost: list[str] = []
        versions: list[str] = []
        client = self.cloud.popen(sys.executable, "-c", CLIENT, self.web.address, "0")
        try:
            yield lost, versions
        finally:
            said, _ = client.communicate("stop\n")
        for found, each in zip((lost, versions), json.loads(said), strict=True):
            found.extend(each)

    def report(self, role: str) -> dict[str, Any]:
        """Return what the machine says of itself in the bucket, empty before the first report."""
        machine = self.web if role == "web" else self.vision
        settings = (machine.root / "etc/default" / NAME).read_text()
        name = re.findall(r"^MACHINE=(.*)$", settings, re.M)
        file = self._folder / "report"
        # Its script names its interpreter without quotes: a path with a space would be none.
        aws = (sys.executable, "-m", "awscli")
        got = self.cloud.run(
            *aws, "s3api", "get-object", "--bucket", "releases", "--key", f"fleet/{name[0]}.json",
            str(file),
        )  # fmt: skip
        document: dict[str, Any] = json.loads(file.read_text()) if got.returncode == 0 else {}
        return document

    def told_by_machines(self) -> list[tuple[str, str]]:
        """Return a title and a text for each: what a test that failed is understood by."""
        return [
            (f"journal of {machine.address}", machine.journal(f"{NAME}-*"))
            for machine in self.cloud.machines
        ]

    def reports(self, role: str, field: str, value: str) -> bool:
        return self.report(role).get(field) == value


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, signing_key: Path) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("boot")
    with Cloud(folder) as cloud:
        story = Story(cloud, folder, signing_key)
        logs = folder / "forwarded"
        logs.touch()
        cloud.start(sys.executable, "-c", RECEIVE_LOGS, ADDRESS, str(LOG_PORT), str(logs))
        story.make("stack", f"LOG_HOST={ADDRESS}:{LOG_PORT}")
        # moto's CloudFormation passes over it.
        cloud.aws("s3api", "put-bucket-versioning", "--bucket", "releases",
                  "--versioning-configuration", "Status=Enabled")  # fmt: skip
        for role in ("web", "vision"):
            story.make("scale", f"ROLE={role}", "N=1")
        with (
            cloud.machine(cloud.launched(f"{NAME}-web")) as story.web,
            cloud.machine(cloud.launched(f"{NAME}-vision")) as story.vision,
        ):
            yield story


def provisioned(machine: Machine) -> str:
    """Wait for cloud-init's end; return its output."""
    status = machine.run("cloud-init", "status", "--wait", "--long")
    log = machine.run("cat", "/var/log/cloud-init-output.log").stdout
    assert "status: done" in status.stdout, status.stdout + log
    return log


def test_machines_serve_with_the_user_data_of_the_stack_alone(story: Story) -> None:
    story.web.boot()
    # No release yet: that is no failure, and is on the console.
    wait_for(lambda: "s3 answers 403" in story.web.console(), "the first try")
    story.publish("1.0-1")
    story.vision.boot()
    for machine, roles in ((story.web, ["web"]), (story.vision, ["vision"])):
        log = provisioned(machine)
        assert re.search(r"user-data: serves after [0-9.]+ s", log), log
        for role in (*roles, "autoupdate"):
            assert machine.property(f"{NAME}-{role}", "ActiveState") == "active"
    assert story.vision.property(f"{NAME}-web", "ActiveState") == "inactive"
    assert story.serves("1.0-1")
    for role in ("web", "vision"):
        wait_for(partial(story.reports, role, "state", "current"), "its report")
    table = story.make("machines")
    assert len(re.findall(r"^i-\w+ .* InService .* 1\.0-1 ready", table, re.M)) == 2, table
    assert "2 of 2 machines are on the release" in story.make("status")


def test_photos_travel_through_queue_and_buckets_under_the_roles_of_the_stack(
    story: Story, tmp_path: Path
) -> None:
    take_photos(tmp_path)
    url = f"http://{story.web.address}:8000"
    job = story.cloud.run(sys.executable, "-c", UPLOAD, url, str(tmp_path))
    assert "'state': 'done'" in job.stdout, job.stdout + job.stderr
    # What a machine may not do it has not tried either, but for looks before the first release.
    denied = [line for line in story.cloud.denied() if "GetObject" not in line]
    assert denied == []


def test_logs_arrive_at_log_host(story: Story) -> None:
    forwarded = story.cloud.folder / "forwarded"
    story.web.run("systemctl", "reload", f"{NAME}-web")
    wait_for(lambda: b"web: serving 1.0-1" in forwarded.read_bytes(), "web's log")


def test_user_data_run_again_changes_nothing(story: Story) -> None:
    before = story.web.property(f"{NAME}-web", "MainPID")
    again = story.web.run("/var/lib/cloud/instance/scripts/part-001")
    assert again.returncode == 0, again.stderr
    assert "installs" not in again.stderr
    assert story.web.property(f"{NAME}-web", "MainPID") == before
    assert list((story.web.root / "tmp").glob("user-data-*")) == []


def test_next_version_is_served_by_the_same_processes_and_nothing_is_lost(story: Story) -> None:
    units = [
        (machine, f"{NAME}-{role}")
        for machine, roles in ((story.web, "web autoupdate"), (story.vision, "vision autoupdate"))
        for role in roles.split()
    ]
    before = [machine.property(unit, "MainPID") for machine, unit in units]
    with story.load() as (lost, versions):
        edit = Edit("app/panorama/templates/base.html", "</footer>", " 2</footer>")
        story.publish("1.0-2", edit)
        for role in ("web", "vision"):
            wait_for(partial(story.reports, role, "version", "1.0-2"), "version 2")
    assert lost == []
    assert (versions[0], versions[-1]) == ("1.0-1", "1.0-2")
    assert [machine.property(unit, "MainPID") for machine, unit in units] == before
    for machine, unit in units:
        assert machine.property(unit, "NRestarts") == "0"
        assert machine.property(unit, "Result") == "success"
    for machine in (story.web, story.vision):
        assert machine.run("systemctl", "is-system-running").stdout.strip() == "running"


def test_reload_waits_and_fails_with_what_was_refused(story: Story) -> None:
    unit = f"{NAME}-web"
    assert story.web.run("systemctl", "reload", unit).returncode == 0
    settings = story.web.root / "etc/default" / NAME
    before = settings.read_text()
    settings.write_text(before + "WORKERS=0\n")
    assert story.web.run("systemctl", "reload", unit).returncode == 1
    assert "WORKERS='0'" in story.web.journal(unit)
    settings.write_text(before)
    assert story.serves("1.0-2")


def test_version_that_cannot_serve_is_undone_while_the_service_answers(story: Story) -> None:
    edit = Edit("app/panorama/web.py", "    app = Flask(__name__)", "    raise OSError('no')")
    with story.load() as (lost, versions):
        story.publish("1.0-3", edit)
        wait_for(partial(story.reports, "web", "state", "undone"), "the broken release undone")
    assert "OSError: no" in story.report("web")["error"]
    assert (lost, set(versions)) == ([], {"1.0-2"})


@pytest.fixture
def born(story: Story) -> Iterator[Machine]:
    """Give one more machine of the web group, off."""
    instance = replace(story.cloud.launched(f"{NAME}-web"), id="i-0born")
    with story.cloud.machine(instance) as machine:
        yield machine


def test_machine_born_under_a_release_that_cannot_serve_is_saved_by_the_next(
    story: Story, born: Machine
) -> None:
    born.boot()
    status = born.run("cloud-init", "status", "--wait", "--long")
    assert "status: error" in status.stdout
    assert f"{NAME}-web does not start: OSError: no" in born.console()
    assert born.property(f"{NAME}-autoupdate", "ActiveState") == "active"
    story.publish("1.0-4", Edit("app/panorama/templates/base.html", "</footer>", " 4</footer>"))
    wait_for(partial(story.serves, "1.0-4", born), "version 4")
    wait_for(partial(story.serves, "1.0-4"), "version 4 beside it")


def test_reboot_comes_back_on_the_good_version(story: Story) -> None:
    story.web.reboot()
    wait_for(partial(story.serves, "1.0-4"), "version 4 after the reboot")


def test_machine_cut_off_in_mid_installation_comes_back_serving(story: Story) -> None:
    journal = story.web.root / f"var/lib/{NAME}-autoupdate/state.json"
    edit = Edit("app/panorama/templates/base.html", "</footer>", " 5</footer>")
    with ThreadPoolExecutor() as meanwhile:
        published = meanwhile.submit(story.publish, "1.0-5", edit)
        waiting.wait_for(lambda: '"installing"' in journal.read_text(), "the installation")
        story.web.kill()
        published.result()
    story.web.boot()
    wait_for(partial(story.serves, "1.0-5"), "version 5")
    assert story.web.run("dpkg", "--audit").stdout == ""


def test_machine_that_is_scaled_in_answers_what_it_has_begun(story: Story) -> None:
    upload = story.cloud.popen(sys.executable, "-c", SLOW_UPLOAD, story.web.address)
    assert upload.stdout
    assert upload.stdout.readline() == "half\n"
    story.web.shut_down()
    wait_for(
        lambda: (
            "stopping: finishing what has begun"
            in story.web.run("journalctl", "-u", f"{NAME}-web", "-o", "cat", "-n", "20").stdout
        ),
        "the service told to stop",
    )
    answer, _ = upload.communicate("go on\n")
    assert answer == "400\n"  # an upload of one empty photo
    story.web.wait_until_off()
    story.web.boot()
    wait_for(partial(story.serves, "1.0-5"), "version 5 after the shutdown")


def unexplained(machine: Machine, unit: str) -> list[str]:
    """Return what `systemd-analyze security` lists and the unit's own comment does not name."""
    listed = machine.run("systemd-analyze", "security", "--no-pager", unit).stdout
    comment = machine.run("systemctl", "cat", unit).stdout.partition("still lists, and why:")[2]
    missing = []
    for line in re.findall(r"^✗ (\S+)", listed, re.M):
        setting, _, value = line.partition("=~")
        # The value's words where there are some: @privileged, AF_UNIX, CAP_SETUID.
        words = re.findall(r"@?\w+", value) or re.findall(r"\w+", setting)
        if not any(re.search(rf"(?<!\w){re.escape(word)}", comment) for word in words):
            missing.append(line)
    return missing


def test_every_exposure_that_is_left_is_explained_in_the_unit(story: Story) -> None:
    assert unexplained(story.web, f"{NAME}-web") == []
    assert unexplained(story.vision, f"{NAME}-vision") == []
    assert unexplained(story.web, f"{NAME}-autoupdate") == []


def test_sandbox_is_tight(story: Story) -> None:
    exposure: dict[str, str] = {}
    for machine in (story.web, story.vision):
        said = machine.run("systemd-analyze", "security", "--no-pager").stdout
        exposure.update(re.findall(rf"^{NAME}-(\w+)\.service\s+([0-9.]+)", said, re.M))
    assert float(exposure["web"]) <= 2.5
    assert float(exposure["vision"]) <= 2.5
    assert float(exposure["autoupdate"]) <= 3.5


@pytest.mark.parametrize("role", ["web", "vision"])
def test_purged_package_leaves_nothing(story: Story, role: str) -> None:
    machine = story.web if role == "web" else story.vision
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


@pytest.fixture
def distrustful(story: Story, tmp_path: Path) -> Iterator[Machine]:
    """Give a machine, off, whose user-data trusts another's key."""
    instance = story.cloud.launched(f"{NAME}-vision")
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "stranger", "-f"]
    subprocess.run([*keygen, str(tmp_path / "key")], check=True)
    stranger = (tmp_path / "key.pub").read_text().split()[1]
    user_data = re.sub(r"(?<=ssh-ed25519 )[\w+/]+", stranger, instance.user_data)
    assert user_data != instance.user_data
    with story.cloud.machine(Instance("i-0stranger", user_data, instance.role)) as machine:
        yield machine


def test_machine_that_trusts_nobody_who_signs_says_so_and_goes_on_trying(
    distrustful: Machine,
) -> None:
    distrustful.boot()
    told = "user-data: refused what is in the bucket: signed by an unknown key"
    wait_for(lambda: told in distrustful.console(), "the reason on the console")
    assert "status: running" in distrustful.run("cloud-init", "status").stdout
    assert distrustful.run("dpkg-query", "-W", f"{NAME}-server").returncode != 0
