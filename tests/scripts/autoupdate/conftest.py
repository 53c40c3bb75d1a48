"""Fixtures of the updater's tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto_process import moto
from one_machine import OneMachine, one_machine


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
def serving(installed: OneMachine, tmp_path: Path) -> Iterator[OneMachine]:
    """A machine that serves version 1.0-1, published as sequence 1."""
    with one_machine(tmp_path, like=installed) as machine:
        machine.start("web")
        assert machine.look() is None
        yield machine


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where S3 answers on loopback."""
    with moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, moto_url: str) -> str:
    """An environment in which nothing but moto is found; returns its URL."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return moto_url
