"""The settings file of a machine, /etc/default/NAME: what may stand in it, and what that means.

The format is what systemd's EnvironmentFile= (systemd.exec(5)) and a POSIX shell that reads the
file with `.` understand alike. Whatever they would understand differently is an error, which names
file and line: a setting never means one thing to one program and another to the next.

- The file is UTF-8, at most MAX_BYTES long. Its lines end with a newline; all else in them is
  printable, or a tab. (systemd would take a carriage return for a line's end.)
- A line is blank, a comment or a setting. Spaces and tabs around any of these do not count.
- A comment begins with # or ;. It does not end with a backslash, by which systemd would take the
  next line for more of it. A comment after a setting, on its line, is none.
- A setting is NAME=VALUE, without spaces around the =. NAME is ASCII letters, digits and _, not
  beginning with a digit. Of two settings of one NAME the last counts.
- VALUE is one of
    plain    any of the ASCII letters and digits and _ . , : / @ % + = -, or nothing
    'quoted' anything but '
    "quoted" anything but " $ ` and the backslash
- Three things are as systemd takes them, and not as a shell does, because earlier versions of
  this project read and wrote them: a comment that begins with ;, and in a plain value blanks
  within (ROLES=web vision) and any of ? & ~ ( ) [ ] (HOST=[::1]). `line` writes such in quotes.
- Nothing is expanded, and no value goes on in the next line.

Example::

    # The web server, behind nginx on the same machine.
    HOST=127.0.0.1
    ROLES="web vision"

Standard library only: programs of both kinds on a machine read their settings with it.
"""

import re
from pathlib import Path

MAX_BYTES = 1 << 16

_SETTING = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_SAME_TO_A_SHELL = re.compile(r"[A-Za-z0-9_.,:/@%+=-]*")
_PLAIN = r"[A-Za-z0-9_.,:/@%+=?&~()\[\]-]"
_VALUE = re.compile(rf"""((?:{_PLAIN}+(?:[ \t]+{_PLAIN}+)*)?)|'([^']*)'|"([^"$`\\]*)\"""")
_BLANKS = " \t"


class SettingsFileError(Exception):
    """The file is not as it must be; the message names it, and the line."""


def read(path: Path) -> dict[str, str]:
    """Return the settings in the file at `path`, by name.

    Raises:
        FileNotFoundError: it is not there.
        SettingsFileError: it cannot be read, or is not in the format above.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SettingsFileError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise SettingsFileError(f"cannot read {path}: longer than {MAX_BYTES} bytes")
    values = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            setting = parse(line.decode())
        except ValueError as error:
            what = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error
            raise SettingsFileError(f"{path}:{number}: {what}") from error
        if setting:
            values[setting[0]] = setting[1]
    return values


def parse(line: str) -> tuple[str, str] | None:
    """Return the name and the value of one line without its end; None if it sets nothing.

    Raises:
        ValueError: it is no such line; the message says why.
    """
    shown = repr(line if len(line) <= 60 else f"{line[:60]}…")
    if not line.replace("\t", " ").isprintable():
        raise ValueError(f"a character that cannot be printed: {shown}")
    text = line.strip(_BLANKS)
    if not text:
        return None
    if text.startswith(("#", ";")):
        if line.endswith("\\"):
            raise ValueError(f"a comment that ends with a backslash: {shown}")
        return None
    setting = _SETTING.fullmatch(text)
    if not setting:
        raise ValueError(f"not NAME=VALUE: {shown}")
    value = _VALUE.fullmatch(setting[2])
    if not value:
        raise ValueError(f"a value neither plain nor, all of it, in quotes: {shown}")
    return setting[1], value[value.lastindex or 1]


def line(name: str, value: str) -> str:
    """Return the line, with its end, from which `read` has `name` and `value`.

    Raises:
        ValueError: there is none.
    """
    plain = [""] if _SAME_TO_A_SHELL.fullmatch(value) else []
    for quote in (*plain, "'", '"'):
        written = f"{name}={quote}{value}{quote}"
        try:
            if parse(written) == (name, value):
                return f"{written}\n"
        except ValueError:
            continue
    raise ValueError(f"no line of a settings file says {name}={value!r}")
