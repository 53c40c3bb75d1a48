"""The desk's program: ``python -m operate VERB``. What it says is said here and in tables.py.

One table of verbs drives dispatch and help; settings are operate.settings'.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autoupdate.release.format import Release
from operate import groups, publish, rendering, settings, tables
from operate.channel import Channel
from operate.errors import EXIT_DONE, EXIT_FAILED, EXIT_NOT_ALL, OperateError
from operate.package import Package
from operate.reports import read_reports
from operate.signing_key import ROOT
from operate.stack import Stack

Words = argparse.Namespace
Settings = Mapping[str, str]


def main(words: list[str]) -> int:
    """Run one verb. Returns the exit status."""
    given = _parser().parse_args(words)
    verb = VERBS[given.verb]
    # A word on the command line is a setting like another, and checked with them.
    environ = {
        **os.environ,
        **{key: text for key, text in vars(given).items() if key.isupper() and text is not None},
    }
    try:
        return verb.run(settings.read(given.verb, environ), given)
    except OperateError as error:
        print(f"{given.verb}: cannot {verb.does(given)}: {error}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        print(f"{given.verb}: cannot {verb.does(given)}: {what}{error.strerror}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print(f"{given.verb}: interrupted", file=sys.stderr)
        return 130


def deploy(found: Settings, given: Words) -> int:
    channel = Channel.of(found)
    sequence = int(found["SEQUENCE"]) if found["SEQUENCE"] else None
    package = Package.read(given.package)
    release = publish.deploy(channel, package, os.environ.get("COMMIT", ""), sequence)
    if "+dirty" in release.version:
        print("deploy: note: this tree had changes that are not committed", file=sys.stderr)
    print(_published(release, channel))
    return EXIT_DONE


def rollback(found: Settings, _: Words) -> int:
    channel = Channel.of(found)
    print(_published(publish.roll_back(channel, found["TO"]), channel))
    return EXIT_DONE


def releases(found: Settings, _: Words) -> int:
    return _print(tables.releases(publish.history(Channel.of(found))))


def status(found: Settings, _: Words) -> int:
    channel = Channel.of(found)
    published = publish.current(channel)
    current = published.release if published else None
    reports = read_reports(channel)
    _print(tables.status(reports, current))
    all_on_it = reports and all(report.is_on(current) for report in reports)
    return EXIT_DONE if all_on_it else EXIT_NOT_ALL


def machines(found: Settings, _: Words) -> int:
    listed = groups.expect(found["REGION"], *(f"{found['NAME']}-{role}" for role in groups.ROLES))
    known = {each.id for group in listed for each in group.instances}
    return _print(tables.machines(listed, read_reports(Channel.of(found), known)))


def scale(found: Settings, _: Words) -> int:
    count = int(found["N"])
    [group] = groups.expect(found["REGION"], f"{found['NAME']}-{found['ROLE']}")
    groups.scale(found["REGION"], group, count)
    print(f"{group.name}: {group.desired} machines, {count} wanted; make machines shows them")
    return EXIT_DONE


def stack(found: Settings, given: Words) -> int:
    channel = Channel.of(found)
    template = rendering.stack(channel, found)
    if given.render:
        print(template, end="")
    else:
        Stack(channel, _say).make(template, os.environ)
    return EXIT_DONE


def userdata(found: Settings, given: Words) -> int:
    text = rendering.user_data(Channel.of(found), found)
    path: Path = given.output
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    most = rendering.MAX_USER_DATA_BYTES
    print(f"{path}: {len(text.encode()):,} bytes, of {most:,} that EC2 takes")
    print(f"  for a machine with ROLES={found['ROLES']}")
    if found["AWS_ENDPOINT_URL"]:
        print(f"  which reaches no AWS, but {found['AWS_ENDPOINT_URL']}: AWS_ENDPOINT_URL is set")
    return EXIT_DONE


def _published(release: Release, channel: Channel) -> str:
    return (
        f"published {release.version} as sequence {release.sequence}: {release.size / 1e6:.1f} MB, "
        f"sha256 {release.sha256[:12]}…, {channel.url}"
    )


def _print(lines: Iterable[str]) -> int:
    for line in lines:
        print(line)
    return EXIT_DONE


def _say(line: str) -> None:
    # Of what takes minutes, each line as it comes.
    print(line, flush=True)


# The verbs

Arguments = Callable[[argparse.ArgumentParser], object]

_DONE_OR_NOT = "0 done, 1 not done, 2 usage"
_PUBLISHED_OR_NOT = "0 published, 1 not published, 2 usage, 3 somebody else was first"


@dataclass(frozen=True)
class Verb:
    """One verb: what it is, what it takes, what it does."""

    help: str
    run: Callable[[Settings, Words], int]
    does: Callable[[Words], str]  # for "cannot ..."
    exits: str
    about: str = ""
    arguments: Arguments = lambda _: None


def _deploy_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sequence", dest="SEQUENCE", metavar="N",
                        help="publish as sequence N whatever is in the bucket: only to publish "
                             "over something that is no release of ours")  # fmt: skip
    parser.add_argument("package", metavar="PACKAGE", type=Path)


def _scale_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ROLE", help="whose group it is")
    parser.add_argument("N", help="how many machines it is to have")


VERBS: Mapping[str, Verb] = {
    "deploy": Verb(
        "sign a package and publish it in the bucket", deploy,
        lambda given: f"publish {given.package.name}", _PUBLISHED_OR_NOT,
        "One PUT of one object, which every machine of the channel then finds. make deploy builds "
        "the package and calls this.",
        _deploy_arguments,
    ),
    "rollback": Verb(
        "publish an earlier version again", rollback,
        lambda _: "publish an earlier version", _PUBLISHED_OR_NOT,
        "As a new release with a higher sequence: a machine never goes back on its own, for an "
        "older release might be a replayed one. Without VERSION it is the one before "
        "the present package came.",
        lambda parser: parser.add_argument("TO", metavar="VERSION", nargs="?"),
    ),
    "releases": Verb(
        "list what the bucket keeps, for rollback", releases,
        lambda _: "list the releases", _DONE_OR_NOT,
    ),
    "status": Verb(
        "show what every machine reported, and the release in the bucket", status,
        lambda _: "tell the status",
        "0 all machines are on the release in the bucket and healthy, 1 not done, 2 usage, "
        "3 some machine is not, or none reported",
        f"More than {tables.MOST_ROWS} machines are counted by how they stand, and those listed "
        "that are not on the release.",
    ),
    "machines": Verb(
        "list the machines of the stack's groups, and what each serves", machines,
        lambda _: "list the machines", _DONE_OR_NOT,
    ),
    "scale": Verb(
        "give the group of a role N machines", scale,
        lambda _: "scale", _DONE_OR_NOT, "It ends machines gracefully.", _scale_arguments,
    ),
    "stack": Verb(
        "make the stack in AWS, or bring it to what file and settings say now", stack,
        lambda _: "make the stack", "0 done, or nothing to do, 1 not done, 2 usage",
        "Bucket, queue, roles, launch templates, two groups of machines, as cloud-init/stack.yaml "
        "has them. Machines that run are left alone; scale gives the groups machines. VPC and "
        "what follows are kept from the last time where they are not given; with an empty value, "
        "what is [none] becomes so again.",
        lambda parser: parser.add_argument(
            "--render", action="store_true", help="only print the template that would be used"
        ),
    ),
    "userdata": Verb(
        "render the user-data of a new machine", userdata,
        lambda given: f"render {given.output.name}", "0 written, 1 not written, 2 usage",
        "cloud-init/user-data with the settings, the keys that machines are to trust, and the "
        "program: to be given to EC2. To read what it runs: python3 build/user-data --show FOLDER",
        lambda parser: parser.add_argument(
            "--output", metavar="FILE", type=Path, default=ROOT / "build" / "user-data"
        ),
    ),
}  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "operate", description="The desk's verbs; make has them, too, with the settings of "
        "config.mk. operate VERB --help tells the settings of each."
    )  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        each = verbs.add_parser(
            name, help=verb.help, description=f"{_sentence(verb.help)} {verb.about}",
            epilog=f"{_settings_of(name)}\nexit status: {verb.exits}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        each.description = textwrap.fill(each.description or "", 79)
        verb.arguments(each)
    return parser


def _settings_of(name: str) -> str:
    lines = ["settings, from the environment (make has them from config.mk):"]
    for each in settings.SETTINGS:
        if each.concerns(name):
            default = f" [{each.default}]" if each.default and not each.parameter else ""
            needed = "" if each.name not in _needed(name) else " (needed)"
            lines.append(f"  {each.name:18}  {each.doc}{default}{needed}")
    return "\n".join(lines)


def _needed(name: str) -> set[str]:
    return {each.name for each in settings.SETTINGS if name in each.needed_by}


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
