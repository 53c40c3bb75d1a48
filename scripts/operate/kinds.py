"""What the value of a setting may be: each kind tells what is wrong with a text, in words.

A kind is a function from a value to its problem, "" if there is none. The
problem continues the sentence ``NAME is 'value'; ``.

Standard library alone: make asks before anything is installed.
"""

import re
from collections.abc import Callable

Kind = Callable[[str], str]

# Amazon S3 User Guide, "General purpose bucket naming rules".
_BUCKET_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_BUCKET_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")

# us-east-1, us-gov-west-1, ap-southeast-5, eusc-de-east-1. New regions come, and need no new
# program here; AWS General Reference, "AWS service endpoints", has none of another form.
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,2}-[0-9]{1,2}")

# What config.mk holds at first.
EXAMPLE_MAINTAINER = "Your Name <you@example.com>"


def matching(pattern: str, words: str) -> Kind:
    """Accept what `pattern` matches as a whole; `words` say what that is."""
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: "" if compiled.fullmatch(value) else words


def number(low: int, high: int) -> Kind:
    """Accept a whole number within bounds."""

    def problem(value: str) -> str:
        is_one = re.fullmatch(r"[0-9]{1,16}", value, re.ASCII) and low <= int(value) <= high
        return "" if is_one else f"use a number from {low} to {high}"

    return problem


def bucket(value: str) -> str:
    """Tell what S3 would not take as the name of a bucket."""
    if not re.fullmatch(r"[a-z0-9.-]{3,63}", value):
        return "use 3 to 63 lower-case letters, digits, . and -, without s3:// or a folder"
    if not (value[0].isalnum() and value[-1].isalnum()):
        return "it has to begin and end with a letter or digit"
    if ".." in value:
        return "it has two dots side by side"
    if re.fullmatch(r"[0-9]+(\.[0-9]+){3}", value):
        return "it has the form of an IP address, which no bucket's name may have"
    for kept in _BUCKET_PREFIXES:
        if value.startswith(kept):
            return f"S3 keeps names that begin with {kept} for itself"
    for kept in _BUCKET_SUFFIXES:
        if value.endswith(kept):
            return f"S3 keeps names that end with {kept} for itself"
    return ""


def stack_bucket(value: str) -> str:
    """Tell the same of a bucket beside which the stack makes another, of pictures."""
    longest = 63 - len("-pictures")
    if len(value) > longest:
        return f"use {longest} characters at most: the stack makes {value}-pictures, too"
    return bucket(value)


def region(value: str) -> str:
    """Tell what is no region of AWS by its form."""
    if _REGION.fullmatch(value):
        return ""
    if re.fullmatch(r"[a-z]{2,4}(-[a-z]+){1,2}-[0-9]{1,2}[a-z]", value):
        return f"that is a zone; its region is {value[:-1]}"
    return "a region of AWS is written like us-east-1 or eu-central-1"


def maintainer(value: str) -> str:
    """Tell what no package may have as its Maintainer (Debian Policy 5.6.2)."""
    if re.fullmatch(r"[^<>\n]+ <[^<>@\s]+@[^<>@\s]+>", value):
        return ""
    return "write it as Name <address@example.org>"


def own_maintainer(value: str) -> str:
    """The same, and not the example: it is told to whoever gets the package."""
    if value == EXAMPLE_MAINTAINER:
        return "that is the example of config.mk; set your own name and address"
    return maintainer(value)
