"""What may import what, read from the code: no circle, and two halves that meet in one place."""

import ast
import sys
from collections.abc import Iterator

import pytest
from project import ROOT

SCRIPTS = ROOT / "scripts"

# A module's name, as Python imports it, and its file.
MODULES = {
    ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
    for root in (SCRIPTS, ROOT / "app", ROOT / "cloud-init", ROOT / "packaging")
    for path in sorted(root.rglob("*.py"))
}

MACHINES = ("handoff", "autoupdate", "firstboot")
DESK = ("operate",)


def imports(name: str) -> Iterator[str]:
    """Yield each module of this project that `name` imports, late imports included."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        else:
            continue
        # A package's names may be modules of it; what is below it is what is meant then.
        known = [each for each in found if each in MODULES]
        deeper = [each for each in known if any(other.startswith(f"{each}.") for other in known)]
        yield from (each for each in known if each not in deeper)


GRAPH = {name: sorted(set(imports(name)) - {name}) for name in MODULES}


def foreign(name: str) -> set[str]:
    """Return the packages that `name` imports and neither Python nor this project has."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports by a relative name"
            found.add(str(node.module))
    own = {each.split(".")[0] for each in MODULES}
    return {each.split(".")[0] for each in found} - sys.stdlib_module_names - own


def within(name: str, *packages: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in packages)


def test_all_is_seen() -> None:
    assert "autoupdate.release.trust" in GRAPH["autoupdate.updater"]
    assert "firstboot" in MODULES
    assert len(MODULES) > 80


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, *MACHINES)])
def test_what_runs_on_machines_imports_nothing_of_the_desk(name: str) -> None:
    assert [each for each in GRAPH[name] if within(each, *DESK, "develop")] == []


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, *MACHINES)])
def test_what_runs_on_machines_needs_python_alone(name: str) -> None:
    assert foreign(name) == set()


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, *DESK)])
def test_the_desk_shares_the_definition_of_a_release_and_nothing_else(name: str) -> None:
    foreign = [each for each in GRAPH[name] if not within(each, *DESK)]
    assert [each for each in foreign if not within(each, "autoupdate.release")] == []


@pytest.mark.parametrize("name", [name for name in MODULES if within(name, "panorama")])
def test_the_service_stands_on_the_handoff_and_nothing_else(name: str) -> None:
    assert [each for each in GRAPH[name] if not within(each, "panorama", "handoff")] == []


@pytest.mark.parametrize(
    "name", [name for name in MODULES if within(name, "handoff", "autoupdate.release")]
)
def test_handoff_and_release_stand_on_nothing_else(name: str) -> None:
    own = "handoff" if within(name, "handoff") else "autoupdate.release"
    assert [each for each in GRAPH[name] if not within(each, own)] == []


def folder_of(name: str) -> str:
    """Return the package of a module that lies in one of the updater's folders, else its name."""
    words = name.split(".")
    return ".".join(words[:2]) if words[0] == "autoupdate" else name


FOLDERS = {
    folder: sorted({folder_of(each) for name in GRAPH if folder_of(name) == folder
                    for each in GRAPH[name]} - {folder})
    for folder in map(folder_of, GRAPH)
}  # fmt: skip


@pytest.mark.parametrize("graph", [GRAPH, FOLDERS], ids=["modules", "folders"])
def test_there_is_no_circle(graph: dict[str, list[str]]) -> None:
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> None:
        assert name not in path, f"a circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in done:
            for each in graph[name]:
                walk(each, [*path, name])
            done.add(name)

    for name in graph:
        walk(name, [])
