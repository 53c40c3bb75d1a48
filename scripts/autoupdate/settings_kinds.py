"""What one setting may be: how its text is read."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One setting's variable, default, reader and line of --help.

    `default` is text in which {root}, {name} and {hostname} stand for those;
    None: the setting is required. `read` raises ValueError, whose message says
    what the value must be.
    """

    variable: str
    default: str | None
    read: Callable[[str], Any]
    doc: str


def matching(pattern: str, meaning: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(meaning)
        return text

    return read


def number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or not low <= float(text) <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return float(text)

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return read


def names(text: str) -> tuple[str, ...]:
    found = tuple(text.split())
    if not all(re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name) for name in found):
        raise ValueError("names with spaces between, e.g. web vision")
    return found


def absolute_path(text: str) -> Path:
    if not text.startswith("/") or "\0" in text:
        raise ValueError("an absolute path")
    return Path(text)
