"""What `make userdata` and `make stack` render: user-data, and the template that holds it.

Example::

    channel = Channel.from_environ(os.environ)
    text = user_data(channel, {"ROLES": "web", "REGION": "eu-west-1"})
    template = stack(channel, {"REGION": "eu-west-1"})
"""

import base64
import json
import lzma
import re
from collections.abc import Mapping
from pathlib import Path

from operate import publishing
from operate.publishing import Channel, PublishError

CLOUD_INIT = Path(__file__).resolve().parents[2] / "cloud-init"
UPDATER = Path(__file__).resolve().parents[1] / "autoupdate"

# Amazon EC2 User Guide: user data is limited to 16 KB, before it is base64-encoded.
MAX_USER_DATA_BYTES = 16 * 1024
# What CloudFormation puts in place of ${Jobs} and the like: ARNs, URLs, names, each far shorter.
ROOM_FOR_STACK_BYTES = 512

# AWS CloudFormation User Guide, Quotas: a template body in a request.
MAX_TEMPLATE_BYTES = 51_200

BOTH_ROLES = "web vision"

MODULES = tuple(
    f"release/{each}.py" for each in ("__init__", "format", "signature", "trust")
)  # of the updater

# What each may be, and what that is called; it is written into a settings file, a line each.
OPTIONAL = {
    "ROLES": (r"(web|vision)( (web|vision))*", "web, vision or both, with a space"),
    "ROLE_ID": (r"[A-Z0-9]{16,32}", "AROA..., a role's unique ID"),
    "LOG_HOST": (r"[A-Za-z0-9.-]+:[0-9]{1,5}", "HOST:PORT"),
    "QUEUE_URL": (r"https?://\S+", "https://..."),
    "BUCKET_URL": (r"s3://\S+", "s3://BUCKET/PREFIX"),
    "AWS_ENDPOINT_URL": (r"https?://\S+", "http://HOST:PORT"),
    "HOST": (r"[A-Za-z0-9.:\[\]_-]+|/\S+", "an address, or /path of a Unix socket"),
    "PORT": (r"[0-9]{1,5}", "a number"),
}

# In stack.yaml: !Sub "user-data ROLES=web QUEUE_URL=${Jobs}"
_PLACE = re.compile(r'!Sub "user-data ([^"]*)"')


def user_data(channel: Channel, environ: Mapping[str, str]) -> str:
    """Return the user-data for a machine.

    Raises:
        PublishError: a setting is missing or wrong, or it would be too large.
    """
    found = {name: environ[name] for name in OPTIONAL if environ.get(name)}
    for name, value in found.items():
        pattern, meaning = OPTIONAL[name]
        if not re.fullmatch(pattern, value):
            raise PublishError(f"{name} is {value!r}; it has to be {meaning}")
    text = _fill_in(channel, {"ROLES": BOTH_ROLES, **_common(environ), **found})
    _check_size("user-data", text, MAX_USER_DATA_BYTES)
    return text


def stack(channel: Channel, environ: Mapping[str, str]) -> str:
    """Return the template, with user-data at the places where stack.yaml names its settings.

    Raises:
        PublishError: a setting is missing or wrong, or it would be too large.
    """

    def rendered(place: re.Match[str]) -> str:
        settings = dict(word.split("=", 1) for word in place[1].split(" "))
        text = _fill_in(channel, {**_common(environ), **settings})
        _check_size("user-data", text, MAX_USER_DATA_BYTES - ROOM_FOR_STACK_BYTES)
        # A JSON string is a YAML string.
        return f"!Sub {json.dumps(text)}"

    template = _PLACE.sub(rendered, (CLOUD_INIT / "stack.yaml").read_text())
    # Comments are for readers of the file; CloudFormation counts their bytes.
    template = re.sub(r"^ *#.*\n", "", template, flags=re.MULTILINE)
    _check_size("the template", template, MAX_TEMPLATE_BYTES)
    return template


def _common(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what every machine is told that is not the channel's."""
    names = ("REGION", "AWS_ENDPOINT_URL")
    return {"REGION": "us-east-1", **{name: environ[name] for name in names if environ.get(name)}}


def _fill_in(channel: Channel, settings: Mapping[str, str]) -> str:
    own = {"NAME": channel.name, "BUCKET": channel.bucket, "CHANNEL": channel.channel}
    trusted = publishing.our_trust(channel).signers
    text = (CLOUD_INIT / "user-data").read_text()
    for line, filled in (
        ('SETTINGS: "dict[str, str]" = {}', f"SETTINGS = {json.dumps(own | dict(settings))}"),
        ('ALLOWED_SIGNERS = ""', f"ALLOWED_SIGNERS = {trusted!r}"),
        ('PROGRAM = ""', f"PROGRAM = {_program()!r}"),
    ):
        before, found, after = text.partition(line)
        if not found:
            raise PublishError(f"cloud-init/user-data has no line {line!r}")
        text = before + filled + after
    return text


def _program() -> str:
    """Return provision.py and the updater's own verifying modules, as user-data unpacks them."""
    files = {
        "provision.py": (CLOUD_INIT / "provision.py").read_text(),
        "autoupdate/__init__.py": "",
        **{f"autoupdate/{each}": (UPDATER / each).read_text() for each in MODULES},
    }
    packed = lzma.compress(json.dumps(files).encode(), preset=9 | lzma.PRESET_EXTREME)
    # Base64 and not the denser base85, which has ${ in it: CloudFormation would replace that.
    return base64.b64encode(packed).decode()


def _check_size(what: str, text: str, most: int) -> None:
    size = len(text.encode())
    if size > most:
        raise PublishError(f"{what} has {size:,} bytes, of {most:,} that AWS takes")
