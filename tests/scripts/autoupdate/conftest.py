"""Fixtures of the updater's tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from one_machine import OneMachine, one_machine
from points import Runner, runner
from updates import Updates, updated

from develop.localcloud import LocalCloud


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[OneMachine]:
    """A machine on which nothing is installed yet."""
    with one_machine(tmp_path) as machine:
        yield machine


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> OneMachine:
    """A machine on which version 1.0-1 is installed: the mould of `serving`."""
    machine = OneMachine(tmp_path_factory.mktemp("mould"))
    machine.publish(machine.package("1.0-1"), sequence=1)
    assert machine.look() is None
    return machine


@pytest.fixture
def resting(installed: OneMachine, tmp_path: Path) -> Iterator[OneMachine]:
    """A machine on which version 1.0-1 is installed, and no role runs."""
    with one_machine(tmp_path, like=installed) as machine:
        yield machine


@pytest.fixture
def serving(installed: OneMachine, tmp_path: Path) -> Iterator[OneMachine]:
    """A machine that serves version 1.0-1, published as sequence 1."""
    with one_machine(tmp_path, like=installed) as machine:
        machine.start("web")
        assert machine.look() is None
        yield machine


@pytest.fixture(scope="session")
def updaters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Start updaters as processes of their own, in milliseconds."""
    with runner(tmp_path_factory.mktemp("updaters")) as started:
        yield started


@pytest.fixture
def updates(serving: OneMachine, updaters: Runner) -> Iterator[Updates]:
    with updated(serving, updaters) as updates:
        yield updates


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud) -> str:
    """An environment in which nothing but the local cloud is found; returns its URL."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in cloud.environ.items():
        monkeypatch.setenv(name, value)
    return cloud.environ["AWS_ENDPOINT_URL"]
