"""The texts for people: their links lead somewhere, and what they name is there."""

import os
import re
import signal
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
from project import ROOT
from waiting import PATIENCE_SECONDS

from autoupdate.journal.state import Journal, Refusal, State, Step
from autoupdate.release.format import Release
from autoupdate.report.report import STATES
from autoupdate.settings import declared
from develop.demo.versions import Tree
from develop.ports import free_port
from handoff.status import Status

README = ROOT / "README.md"
DOCS = sorted(ROOT.glob("docs/*.md"))
PAGES = [README, *DOCS]

CODE_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
INDENTED = re.compile(r"(?:^ {4}.*\n)+", re.M)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@cache
def prose(page: Path) -> str:
    return CODE_BLOCK.sub("", page.read_text())


@cache
def code(page: Path) -> str:
    """Return what stands in `page` as code: blocks, indented lines, words in backquotes."""
    blocks = [match[3] for match in CODE_BLOCK.finditer(page.read_text())]
    return "\n".join([*blocks, *INDENTED.findall(prose(page)), *INLINE.findall(prose(page))])


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield file and anchor of each link that leads to another place of this project."""
    for target in LINK.findall(prose(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


@pages
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target, anchor in links(page):
        assert target.exists(), f"there is no {target}"
        assert not anchor or anchor in anchors(target), f"{target.name} has no heading #{anchor}"


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_every_page_of_docs_is_reached_from_the_readme(page: Path) -> None:
    assert page in {target for target, _ in links(README)}


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_page_begins_with_a_question_and_two_sentences(page: Path) -> None:
    title, _, rest = page.read_text().partition("\n\n")
    assert re.fullmatch(r"# .*\?", title)
    answer = rest.partition("\n\n")[0]
    assert len(re.findall(r"\.(?=\s|$)", answer)) == 2


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150


@pages
def test_every_test_that_is_named_is_there(page: Path) -> None:
    sources = {path: path.read_text() for path in ROOT.glob("tests/**/*.py")}
    defined = {name for text in sources.values() for name in re.findall(r"def (test_\w+)", text)}
    for name in INLINE.findall(prose(page)):
        if re.fullmatch(r"test_\w+", name):
            assert name in defined


@pages
def test_every_verb_of_make_is_there(page: Path) -> None:
    verbs = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M)
    named = re.findall(r"\bmake ([a-z-]+)", code(page))
    assert sorted(set(named) - set(verbs)) == []


@pages
def test_every_path_of_this_project_that_is_named_is_there(page: Path) -> None:
    made = ("packaging/allowed_signers", "packaging/revoked_keys")  # by whoever rotates keys
    top = "app|cloud-init|docs|packaging|scripts|tests|upstart"
    for path in re.findall(rf"(?:^|[ `])((?:{top})/[\w./-]*\w/?)", code(page), re.M):
        # Of the example of the README: docs/hello in the place of the sample.
        moved = re.sub(r"^app/(hello)", r"docs/hello/\1", path)
        assert path in made or (ROOT / path).exists() or (ROOT / moved).exists(), path


def test_every_setting_of_the_updater_is_in_the_contract() -> None:
    named = set(re.findall(r"\w+", code(ROOT / "docs/contract.md")))
    assert {setting.variable for _, setting in declared()} - named == set()


@pytest.mark.parametrize(
    "words",
    [
        *([each.name for each in fields(kind)] for kind in (Release, State, Journal, Refusal)),
        [*(each.name for each in fields(Status)), "since"],
        list(STATES),
        [step.value for step in Step],
    ],
    ids=["release", "state", "journal", "refusal", "role", "states", "steps"],
)
def test_every_field_is_in_the_formats(words: list[str]) -> None:
    named = set(re.findall(r"\w+", code(ROOT / "docs/formats.md")))
    assert set(words) - named == set()


def test_every_state_of_a_report_has_its_remedy() -> None:
    assert set(STATES) - {"current"} <= anchors(ROOT / "docs/operating.md")


@pytest.fixture
def user(tmp_path: Path) -> "User":
    return User(tmp_path)


class User:
    """Types what a section of a page says, into a clone of this project in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def types(self, page: Path, heading: str) -> str:
        """Return what is to be read then."""
        section = page.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        blocks = [match for match in CODE_BLOCK.finditer(section) if match[2] == "sh"]
        commands = "".join(textwrap.dedent(match[3]) for match in blocks)
        # What make sets up is this checkout's, which was set up before.
        commands = re.sub(r"^make setup\n", "", commands, flags=re.M)
        web, cloud = free_port(), free_port()
        commands = re.sub(r"\b(8000|8001)\b", str(web), commands)
        commands = re.sub(r"\b5000\b", str(cloud), commands)
        environ = {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self._folder),
            "PORT": str(web),
        }
        tree = Tree.copy(self._folder / "clone", {}, environ)
        for words in ("init -q", "add .", "commit -qm first"):
            identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
            subprocess.run(["git", *identity, *words.split()], cwd=tree.path, check=True)
        screen = self._folder / "screen"
        with screen.open("w") as file:
            shell = subprocess.Popen(
                ["bash", "-c", f"{commands}wait"],
                cwd=tree.path, env=environ, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        try:
            shell.wait(2 * PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            pytest.fail(f"it comes to no end: {screen.read_text()}")
        return screen.read_text()


def test_service_of_the_readme_restarts_and_refuses_as_it_says(user: User) -> None:
    screen = user.types(README, "Your own service")
    said = re.sub(r"1\.0-1\+dirty\.\w+", "VERSION", screen)
    answers = [line for line in said.splitlines() if re.match("hello|good|web serves", line)]
    assert answers == [
        "hello from VERSION",
        "web serves VERSION",
        "good morning from VERSION",
        "hello: AttributeError: 'Generation' object has no attribute 'reddy'; VERSION serves",
        "good morning from VERSION",
    ]


def test_tutorial_without_an_account_is_true(user: User) -> None:
    screen = user.types(ROOT / "docs/tutorial.md", "Without an account")
    answers = re.findall(r'{"status":"ok","version":"(1\.0-1)(\+dirty\.\w+)?"}', screen)
    assert [bool(dirty) for _, dirty in answers] == [True, False], screen
