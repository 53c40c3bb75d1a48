"""What a machine must look like after an update, however it was interrupted."""

import hashlib

from one_machine import OneMachine


def assert_in_order(machine: OneMachine, version: str, state: str = "current") -> None:
    """Fail unless one whole version is installed and kept, and nothing of another is left.

    `state` is what the report must say.
    """
    kept, report = machine.state, machine.report()
    # Each in words: pytest explains the assertions of tests alone.
    assert kept.journal is None, f"under way: {kept.journal}"
    assert kept.last_good and kept.last_good.version == version, f"good is {kept.last_good}"
    assert machine.dpkg_says() == f"installed {version}", machine.dpkg_says()
    assert not damaged(machine), f"not as packaged: {damaged(machine)}"
    assert not left_over(machine), f"left over: {left_over(machine)}"
    assert (report["state"], report["version"]) == (state, version), str(report)


def assert_serves(machine: OneMachine, version: str) -> None:
    role = machine.role()
    assert (role["state"], role["version"]) == ("ready", version), str(role)


def damaged(machine: OneMachine) -> list[str]:
    """Return the installed files that are not what dpkg's list of checksums says."""
    sums = (machine.root / f"var/lib/dpkg/info/{machine.settings.package}.md5sums").read_text()
    rows = [line.split("  ", maxsplit=1) for line in sums.splitlines()]
    return [name for md5, name in rows if _md5(machine, name) != md5]


def _md5(machine: OneMachine, name: str) -> str:
    content = (machine.root / name).read_bytes()
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def left_over(machine: OneMachine) -> list[str]:
    """Return the files that an interrupted download, proof or dpkg has left behind."""
    good = machine.state.last_good
    packages = machine.settings.state_dir / "packages"
    database = machine.root / "var/lib/dpkg"
    found = [each for each in packages.iterdir() if not good or each.stem != good.sha256]
    found += machine.settings.proof_dir.parent.glob(machine.settings.proof_dir.name)
    found += (database / "updates").iterdir()
    found += database.glob("tmp.ci")
    found += [each for each in machine.root.rglob("*.dpkg-*") if each.is_file()]
    return sorted(str(each.relative_to(machine.root)) for each in found)
