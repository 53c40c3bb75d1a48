"""What make asks before it builds anything: is every variable known, every setting there and right?

    GOALS="deploy" GIVEN="BUKCET" python3 -m operate.check Makefile config.mk app/build.mk

GIVEN are the names of the variables on make's command line. One is known if it
is in the table of operate.settings, or if a makefile names it outside of its
comments. Settings are read from the environment, as the verbs read them.

Standard library alone, and quick: it answers where nothing is installed yet.
Exit status: 0 go on; 1 something is missing or wrong, and all of it was told.
"""

import difflib
import os
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from operate.settings import SETTINGS, SettingsError

# What a goal asks for, the stricter first: make deploy makes the package, too.
VERBS = {"deploy": ("deploy", "package")}

# AWS's own, for boto3 to read.
_OF_AWS = re.compile(r"AWS_[A-Z0-9_]+")


def main(makefiles: list[str]) -> int:
    """Check all. Returns the exit status."""
    goals = os.environ["GOALS"].split()
    found = [*unknown(os.environ["GIVEN"].split(), named_in(makefiles)), *wrong(goals)]
    if found:
        print(f"make {' '.join(goals)}: {SettingsError(found)}", file=sys.stderr)
    return 1 if found else 0


def named_in(makefiles: Collection[str]) -> set[str]:
    """Return the variables that the makefiles name, in capitals, as all here are."""
    lines = [line for path in makefiles for line in Path(path).read_text().splitlines()]
    return {
        name
        for line in lines
        if not line.startswith("#")
        for name in re.findall(r"\b[A-Z][A-Z0-9_]*\b", line)
    }


def unknown(given: Collection[str], named: Collection[str]) -> Iterator[str]:
    """Yield a line for each variable that nothing reads."""
    settings = [each.name for each in SETTINGS]
    for name in sorted(given):
        if name in settings or name in named or _OF_AWS.fullmatch(name):
            continue
        # What people set comes before what makefiles use inside.
        close = difflib.get_close_matches(name.upper(), settings, 1) or difflib.get_close_matches(
            name.upper(), sorted(named), 1
        )
        yield f"{name} is no setting" + "".join(f"; did you mean {each}?" for each in close)


def wrong(goals: Collection[str]) -> Iterator[str]:
    """Yield a line for each setting that is missing or wrong for the goals."""
    verbs = [verb for goal in goals for verb in VERBS.get(goal, (goal,))]
    for setting in SETTINGS:
        # Whatever is made bears the name.
        asked = [*verbs, "package"] if setting.name == "NAME" else verbs
        value = os.environ.get(setting.name, "")
        problems = (setting.problem(verb, value) for verb in asked if setting.concerns(verb))
        yield from [each for each in problems if each][:1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
