"""What `make userdata` and `make stack` render: user-data, and the template that holds it.

Example::

    found = settings.read("userdata", os.environ)
    text = user_data(Channel.of(found), found)
    template = stack(Channel.of(found), found)
"""

import ast
import base64
import json
import lzma
import re
from collections.abc import Mapping
from pathlib import Path

from operate import settings
from operate.channel import Channel
from operate.errors import OperateError

CLOUD_INIT = Path(__file__).resolve().parents[2] / "cloud-init"
UPDATER = Path(__file__).resolve().parents[1] / "autoupdate"

# Amazon EC2 User Guide: user data is limited to 16 KB, before it is base64-encoded.
MAX_USER_DATA_BYTES = 16 * 1024
# What CloudFormation puts in place of ${Jobs} and the like: ARNs, URLs, names, each far shorter.
ROOM_FOR_STACK_BYTES = 512

# AWS CloudFormation User Guide, Quotas: a template body in a request.
MAX_TEMPLATE_BYTES = 51_200

# What cloud-init/firstboot.py stands on, of the updater.
MODULES = (
    "errors", "time_limit", "release/format", "release/signature", "release/trust",
    "store/answers", "store/bucket", "store/endpoint", "store/keys", "store/metadata", "store/s3",
    "store/sigv4",
)  # fmt: skip

# In stack.yaml: !Sub "user-data ROLES=web QUEUE_URL=${Jobs}"
_PLACE = re.compile(r'!Sub "user-data ([^"]*)"')


# What may begin with a docstring, in this project.
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef


def user_data(channel: Channel, found: Mapping[str, str]) -> str:
    """Return the user-data for a machine, by the settings of userdata.

    Raises:
        OperateError: it would be too large.
    """
    machines_own = [each.name for each in settings.SETTINGS if "userdata" in each.taken_by]
    told = {name: found[name] for name in machines_own if found.get(name)}
    text = _fill_in(channel, told)
    _check_size("user-data", text, MAX_USER_DATA_BYTES)
    return text


def stack(channel: Channel, found: Mapping[str, str]) -> str:
    """Return the template, with user-data at the places where stack.yaml names its settings.

    Raises:
        OperateError: it would be too large.
    """
    common = {name: found[name] for name in ("REGION", "AWS_ENDPOINT_URL") if found[name]}

    def rendered(place: re.Match[str]) -> str:
        here = dict(word.split("=", 1) for word in place[1].split(" "))
        text = _fill_in(channel, {**common, **here})
        _check_size("user-data", text, MAX_USER_DATA_BYTES - ROOM_FOR_STACK_BYTES)
        # A JSON string is a YAML string.
        return f"!Sub {json.dumps(text)}"

    template = _PLACE.sub(rendered, (CLOUD_INIT / "stack.yaml").read_text())
    # Comments are for readers of the file; CloudFormation counts their bytes.
    template = re.sub(r"^ *#.*\n", "", template, flags=re.MULTILINE)
    _check_size("the template", template, MAX_TEMPLATE_BYTES)
    return template


def _fill_in(channel: Channel, told: Mapping[str, str]) -> str:
    own = {"NAME": channel.name, "BUCKET": channel.bucket_name, "CHANNEL": channel.channel}
    trust = channel.trust
    if "${" in trust.signers:  # in the comment of a key
        raise OperateError("the keys to trust hold ${, which CloudFormation would replace")
    revoked = base64.b64encode(trust.revoked).decode()
    text = (CLOUD_INIT / "user-data").read_text()
    for line, filled in (
        ('SETTINGS: "dict[str, str]" = {}', f"SETTINGS = {json.dumps(own | dict(told))}"),
        ('ALLOWED_SIGNERS = ""', f"ALLOWED_SIGNERS = {trust.signers!r}"),
        ('REVOKED_KEYS = ""', f"REVOKED_KEYS = {revoked!r}"),
        ('PROGRAM = ""', f"PROGRAM = {_program()!r}"),
    ):
        before, found, after = text.partition(line)
        if not found:
            raise OperateError(f"cloud-init/user-data has no line {line!r}")
        text = before + filled + after
    return text


def _program() -> str:
    """Return firstboot.py and the updater's modules that it needs, as user-data unpacks them."""
    sources = {f"autoupdate/{each}.py": UPDATER / f"{each}.py" for each in MODULES}
    packages = {str(Path(path).parent) for path in sources}
    files = {
        **{f"{package}/__init__.py": "" for package in sorted(packages)},
        **{path: _condensed(source) for path, source in sorted(sources.items())},
        "firstboot.py": _condensed(CLOUD_INIT / "firstboot.py"),
    }
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "pb": 0}]
    packed = lzma.compress(json.dumps(files).encode(), lzma.FORMAT_ALONE, filters=filters)
    # CloudFormation would replace ${...}; a comma is no digit of base85.
    return base64.b85encode(packed).decode().replace("$", ",")


def _condensed(source: Path) -> str:
    """Return a module without what only readers and type checkers need: 16 KB are not much."""
    tree = ast.parse(source.read_text())
    for node in ast.walk(tree):
        if isinstance(node, _Documented) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in (*node.args.args, *node.args.kwonlyargs):
                argument.annotation = None
    return ast.unparse(tree) + "\n"


def _check_size(what: str, text: str, most: int) -> None:
    size = len(text.encode())
    if size > most:
        raise OperateError(f"{what} has {size:,} bytes, of {most:,} that AWS takes")
