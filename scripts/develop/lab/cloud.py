"""The network namespace that plays AWS and the distribution's mirror."""

import base64
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from develop.lab.gate import OPERATOR, REGION, admit
from develop.lab.machine import Instance, LabError, Machine
from develop.lab.root import mirror
from handoff.children import end_with_parent

ADDRESS, METADATA_ADDRESS = "10.77.0.1", "169.254.169.254"
MOTO_PORT, GATE_PORT, MIRROR_PORT = 5000, 5001, 8080
START_SECONDS = 60

SCRIPTS = Path(__file__).resolve().parents[2]


class Cloud:
    """S3, SQS, IAM, CloudFormation and autoscaling of moto, behind the gate; metadata; a mirror."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.namespace = f"slipway-{os.getpid()}"
        self.endpoint = f"http://{ADDRESS}:{GATE_PORT}"
        self.environ = {
            **{name: text for name, text in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": OPERATOR,
            "AWS_SECRET_ACCESS_KEY": OPERATOR,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "PYTHONPATH": str(SCRIPTS),
        }
        self._identities = folder / "identities"
        self._metadata = folder / "metadata"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.machines: list[Machine] = []  # that were not removed yet
        self._addresses = itertools.count(10)

    def __enter__(self) -> "Cloud":
        self._identities.mkdir()
        self._metadata.mkdir()
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        try:
            for words in (
                "link set lo up",
                "link add br0 type bridge",
                "link set br0 up",
                f"addr add {ADDRESS}/24 dev br0",
                f"addr add {METADATA_ADDRESS}/32 dev br0",
            ):
                subprocess.run(["ip", "-n", self.namespace, *words.split()], check=True)
            self._start_servers()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        subprocess.run(["ip", "netns", "del", self.namespace], check=True)

    def _start_servers(self) -> None:
        python, bin_folder = sys.executable, Path(sys.executable).parent
        self.start(str(bin_folder / "moto_server"), "-H", ADDRESS, "-p", str(MOTO_PORT))
        moto = f"http://{ADDRESS}:{MOTO_PORT}"
        identities = str(self._identities)
        self.start(python, "-m", "develop.lab.gate", ADDRESS, str(GATE_PORT), moto, identities)
        server = ("-m", "develop.lab.metadata_server")
        self.start(python, *server, METADATA_ADDRESS, "80", str(self._metadata))
        self.start(
            python, "-m", "http.server", str(MIRROR_PORT),
            "--bind", ADDRESS, "--directory", str(mirror()),
        )  # fmt: skip
        ports = [(ADDRESS, MOTO_PORT), (ADDRESS, GATE_PORT), (ADDRESS, MIRROR_PORT),
                 (METADATA_ADDRESS, 80)]  # fmt: skip
        for address, port in ports:
            connect = f"import socket; socket.create_connection(({address!r}, {port}))"

            def answers(connect: str = connect) -> bool:
                return self.run(python, "-c", connect).returncode == 0

            wait_for(answers, f"the server on {address}:{port}")

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start a server, or a client, on this side of the network; it ends with the cloud."""
        with (self.folder / "cloud.log").open("ab") as log:
            process = subprocess.Popen(
                self._inside(command), env=self.environ, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509  # one call
            )  # fmt: skip
        self._processes.append(process)
        return process

    def run(self, *command: str, **how: Any) -> "subprocess.CompletedProcess[str]":
        """Run a command of the operator, or a client, on this side of the network."""
        options = {"env": self.environ, "stdin": subprocess.DEVNULL, **how}
        return subprocess.run(
            self._inside(command), text=True, capture_output=True, check=False, **options
        )

    def popen(self, *command: str) -> "subprocess.Popen[str]":
        """Start a client that is spoken to: lines in, lines out."""
        return subprocess.Popen(
            self._inside(command), env=self.environ, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509  # one call
        )  # fmt: skip

    def aws(self, *words: str) -> dict[str, Any]:
        """Return what ``aws WORDS`` answers to the operator.

        Raises:
            LabError: it failed.
        """
        # Its script names its interpreter without quotes: a path with a space would be none.
        aws = (sys.executable, "-m", "awscli")
        done = self.run(*aws, *words, "--output", "json")
        if done.returncode:
            raise LabError(f"aws {' '.join(words)}: {done.stderr.strip()}")
        answer: dict[str, Any] = json.loads(done.stdout) if done.stdout.strip() else {}
        return answer

    def launched(self, group: str) -> Instance:
        """Return what EC2 has started for the first machine of an autoscaling group.

        Raises:
            LabError: there is no such group, or no machine in it.
        """
        names = ("--auto-scaling-group-names", group)
        found = self.aws("autoscaling", "describe-auto-scaling-groups", *names)
        instances = [each for it in found["AutoScalingGroups"] for each in it["Instances"]]
        if not instances:
            raise LabError(f"{group} has no machine")
        template = instances[0]["LaunchTemplate"]
        data = self.aws(
            "ec2", "describe-launch-template-versions",
            "--launch-template-id", template["LaunchTemplateId"],
            "--versions", template["Version"],
        )["LaunchTemplateVersions"][0]["LaunchTemplateData"]  # fmt: skip
        profile = data["IamInstanceProfile"]["Arn"].rpartition("/")[2]
        words = ("--instance-profile-name", profile)
        roles = self.aws("iam", "get-instance-profile", *words)["InstanceProfile"]["Roles"]
        user_data = base64.b64decode(data["UserData"]).decode()
        return Instance(instances[0]["InstanceId"], user_data, roles[0]["RoleName"])

    def denied(self) -> list[str]:
        """Return what machines were denied so far: user, action, resource."""
        file = self._identities / "denied"
        return file.read_text().splitlines() if file.exists() else []

    def assume(self, role: str, session: str) -> dict[str, str]:
        """Return credentials of `role`, as EC2 gets them for an instance; the gate knows them."""
        arn = f"arn:aws:iam::123456789012:role/{role}"
        words = ("--role-arn", arn, "--role-session-name", session)
        return admit(self._identities, role, self.aws("sts", "assume-role", *words))

    @contextmanager
    def machine(self, instance: Instance) -> Iterator[Machine]:
        """Give a machine that is off; with the block it is gone."""
        number = next(self._addresses)
        address = f"10.77.0.{number}"
        document = {
            "instance_id": instance.id,
            "user_data": instance.user_data,
            "role": instance.role,
            "credentials": self.assume(instance.role, instance.id),
        }
        (self._metadata / f"{address}.json").write_text(json.dumps(document))
        sources = f"deb [trusted=yes] http://{ADDRESS}:{MIRROR_PORT} ./\n"
        folder = self.folder / f"machine-{number}"
        machine = Machine(folder, self.namespace, f"{self.namespace}-{number}", address)
        self.machines.append(machine)
        try:
            machine.lay_out(gateway=ADDRESS, metadata_address=METADATA_ADDRESS, sources=sources)
            yield machine
        finally:
            self.machines.remove(machine)
            machine.remove()

    def _inside(self, command: tuple[str, ...]) -> list[str]:
        # `ip netns exec` would hide the cgroups.
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *command]


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"waited {START_SECONDS} s in vain for {what}")
        time.sleep(0.05)
