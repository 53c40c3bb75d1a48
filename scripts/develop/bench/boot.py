"""A machine from nothing beside the article's way, and how soon it serves what is published."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from develop.demo.versions import Tree
from develop.lab.cloud import ADDRESS, GATE_PORT, Cloud
from develop.lab.machine import Instance, LabError

BUCKET = "bench"
UPDATES = 3
PATIENCE_SECONDS = 600

# Prints the time at which the machine first answers with the version, or with any.
FIRST_ANSWER = """
import http.client, json, sys, time
address, version, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
deadline = time.time() + seconds
while time.time() < deadline:
    try:
        connection = http.client.HTTPConnection(address, 8000, timeout=5)
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        if response.status == 200 and json.load(response)["version"] == version:
            print(time.time())
            sys.exit()
    except OSError:
        pass  # it does not listen yet
    time.sleep(0.01)
sys.exit(f"no answer of {version} in {seconds} s")
"""

# What the article's user-data does, with the names of today: awscli from the distribution, the
# package by the AWS CLI, apt-get for its dependencies. The settings are those of our machine.
ARTICLE = """\
#!/bin/sh
export DEBIAN_FRONTEND=noninteractive
apt-get -y update
apt-get -y install awscli
mkdir -p /var/{name}
cd /var/{name}
aws s3 cp s3://{bucket}/stable/{name}-server.deb {name}-server.deb --region us-east-1 \\
    --endpoint-url {endpoint}
apt-get -y install ./{name}-server.deb
printf '%s\\n' {settings} >>/etc/default/{name}
systemctl start {name}-web
systemctl start {name}-autoupdate
"""


@dataclass(frozen=True)
class Times:
    """Seconds."""

    ours: float  # from the start of user-data to the first 200
    article: float  # the same
    updates: list[float]  # from the end of `make deploy` to the first answer of the new version


def measure(folder: Path, name: str) -> Times:
    """Boot a machine with the stack's user-data, then one with the article's.

    Raises:
        LabError: one does not come to serve.
    """
    key = folder / "boot-key"
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"]
    subprocess.run([*keygen, str(key)], check=True)
    lab = folder / "lab"
    lab.mkdir()
    with Cloud(lab) as cloud:
        variables = {"NAME": name, "BUCKET": BUCKET, "SIGNING_KEY": str(key), "CHANNEL": "stable",
                     "MAINTAINER": "Bench <bench@example.org>"}  # fmt: skip
        trees = []
        for number in range(1, UPDATES + 2):
            version = f"1.0-{number}"
            path = folder / f"boot-{version}"
            trees.append(Tree.copy(path, variables | {"VERSION": version}, dict(os.environ)))
            trees[-1].make("package")
        make(cloud, trees[0], "stack")
        make(cloud, trees[0], "deploy")
        make(cloud, trees[0], "scale", "ROLE=web", "N=1")
        instance = cloud.launched(f"{name}-web")
        article = replace(instance, user_data=articles_way(name, instance.user_data))
        return Times(
            ours=first_200(cloud, instance),
            article=first_200(cloud, article),
            updates=updates(cloud, instance, trees),
        )


def make(cloud: Cloud, tree: Tree, *words: str) -> None:
    given = [f"{name}={text}" for name, text in tree.variables.items()]
    environ = {name: text for name, text in cloud.environ.items() if name != "MAKEFLAGS"}
    done = cloud.run("make", *words, *given, cwd=tree.path, env=environ)
    if done.returncode:
        raise LabError(f"make {words[0]}: {done.stderr.strip()}")


def articles_way(name: str, user_data: str) -> str:
    """Return the article's user-data, with the settings that ours has."""
    found = re.search(r"^SETTINGS = (.*)$", user_data, re.MULTILINE)
    if not found:
        raise LabError("the user-data has no settings")
    own = ("NAME", "ROLE_ID", "LOG_HOST")
    settings = {key: text for key, text in json.loads(found[1]).items() if key not in own}
    return ARTICLE.format(
        name=name,
        bucket=BUCKET,
        endpoint=f"http://{ADDRESS}:{GATE_PORT}",
        settings=" ".join(shlex.quote(f"{key}={text}") for key, text in settings.items()),
    )


def first_200(cloud: Cloud, instance: Instance) -> float:
    with cloud.machine(instance) as machine:
        machine.boot()
        answered = first_answer(cloud, machine.address, "1.0-1")
        return answered - user_data_began(machine.root / "var/log/cloud-init.log")


def first_answer(cloud: Cloud, address: str, version: str) -> float:
    """Return the time, in seconds since 1970."""
    words = ("-c", FIRST_ANSWER, address, version, str(PATIENCE_SECONDS))
    said = cloud.run(sys.executable, *words)
    if said.returncode:
        raise LabError(said.stderr.strip())
    return float(said.stdout)


def user_data_began(log: Path) -> float:
    """Return when cloud-init ran the user-data, by the clock that the machine and we share."""
    began = re.search(
        r"^(\S+ \S+) - subp\.py.*Running command \['/var/lib/cloud/instance/scripts/part-001'\]",
        log.read_text(), re.MULTILINE,
    )  # fmt: skip
    if not began:
        raise LabError(f"{log} does not tell when the user-data was run")
    time = datetime.strptime(began[1], "%Y-%m-%d %H:%M:%S,%f")
    return time.replace(tzinfo=timezone.utc).timestamp()


def updates(cloud: Cloud, instance: Instance, trees: list[Tree]) -> list[float]:
    with cloud.machine(instance) as machine:
        machine.boot()
        first_answer(cloud, machine.address, "1.0-1")
        # Without a release before this one the updater would still be at its first look.
        machine.run("cloud-init", "status", "--wait")
        seconds = []
        for tree in trees[1:]:
            make(cloud, tree, "deploy")
            published = datetime.now(timezone.utc).timestamp()
            answered = first_answer(cloud, machine.address, tree.variables["VERSION"])
            seconds.append(answered - published)
        return seconds
