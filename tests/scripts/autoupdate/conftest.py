"""Fixtures of the updater's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from one_machine import OneMachine, one_machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[OneMachine]:
    """A machine on which nothing is installed yet."""
    with one_machine(tmp_path) as machine:
        yield machine


@pytest.fixture
def serving(machine: OneMachine) -> OneMachine:
    """A machine that serves version 1.0-1, published as sequence 1."""
    machine.publish(machine.package("1.0-1"), sequence=1)
    assert machine.look() is None
    machine.start("web")
    return machine
