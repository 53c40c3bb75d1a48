"""Every setting of the desk's verbs: one table, which checks, help and the Makefile share.

Settings come from the environment, into which make puts what config.mk and its
command line say. All that is missing or wrong is told at once.

Standard library alone: make asks before anything is installed.

Example::

    settings = read("deploy", os.environ)
    settings["BUCKET"]
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from operate import kinds, signing_key
from operate.errors import OperateError
from operate.kinds import Kind, matching

PUBLISHING = frozenset({"deploy", "rollback"})
# They believe what is in the bucket only if a key that we trust has signed it.
VERIFYING = frozenset({"releases", "status", "stack", "userdata"})
IN_BUCKET = PUBLISHING | VERIFYING | {"machines"}
DESK = IN_BUCKET | {"scale"}
PACKAGING = frozenset({"package"})
NOBODY: frozenset[str] = frozenset()

# autoupdate.release.format: what every JSON reader keeps exact.
_MOST_SEQUENCE = 2**53 - 1


@dataclass(frozen=True)
class Setting:
    """One variable: what it is, and which verbs need or take it."""

    name: str
    doc: str
    kind: Kind
    default: str | None = None  # None: none, or it depends on where this runs
    needed_by: frozenset[str] = NOBODY
    taken_by: frozenset[str] = NOBODY
    parameter: str = ""  # of the stack's template
    stricter: Mapping[str, Kind] = field(default_factory=dict)  # by verb
    how: str = "set it in config.mk"

    def concerns(self, verb: str) -> bool:
        return verb in self.needed_by | self.taken_by

    def problem(self, verb: str, value: str) -> str:
        """Return what is wrong with the value that `verb` is given, "" if nothing is."""
        if not value:
            missing = verb in self.needed_by and not self.default
            return f"{self.name} is not set; {self.how}: {self.doc}" if missing else ""
        wrong = self.stricter.get(verb, self.kind)(value)
        # The text of a key is for nobody to read.
        shown = "a text" if signing_key.is_text(value) else repr(value)
        return f"{self.name} is {shown}; {wrong}" if wrong else ""


def _of_user_data(name: str, doc: str, kind: Kind, default: str | None = None) -> Setting:
    return Setting(name, doc, kind, default, taken_by=frozenset({"userdata"}))


def _of_stack(name: str, doc: str, kind: Kind, default: str | None, parameter: str) -> Setting:
    return Setting(name, doc, kind, default, taken_by=frozenset({"stack"}), parameter=parameter)


SETTINGS = (
    Setting(
        "NAME", "the service, after which all is named",
        matching(r"[a-z][a-z0-9-]{0,18}[a-z0-9]",
                 "use 2 to 20 lower-case letters, digits and hyphens"),
        needed_by=DESK | PACKAGING,
    ),
    Setting(
        "BUCKET", "the S3 bucket of the releases", kinds.bucket,
        needed_by=IN_BUCKET, taken_by=PACKAGING, stricter={"stack": kinds.stack_bucket},
    ),
    Setting(
        "REGION", "the AWS region of the bucket", kinds.region, "us-east-1",
        taken_by=DESK | PACKAGING,
    ),
    Setting(
        "MAINTAINER", "Name <address> of who answers for the package", kinds.maintainer,
        needed_by=PACKAGING, taken_by=frozenset({"deploy"}),
        stricter={"deploy": kinds.own_maintainer},
    ),
    Setting(
        "SIGNING_KEY", "the SSH key that signs releases: its path, or its text",
        signing_key.problem, needed_by=PUBLISHING | VERIFYING, taken_by=PACKAGING,
        stricter={
            "package": signing_key.problem_of_package,
            **dict.fromkeys(VERIFYING, signing_key.problem_of_verifying),
        },
    ),
    Setting(
        "CHANNEL", "the folder of the bucket that machines follow",
        matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "use letters, digits, . _ -"), "stable",
        taken_by=DESK,
    ),
    Setting(
        "AWS_ENDPOINT_URL", "another server than AWS's",
        matching(r"https?://[^\s/]+/?", "it has to be http://HOST:PORT or https://HOST"),
        taken_by=DESK,
    ),

    # Of single verbs
    Setting(
        "VERSION", "of the package, instead of what packaging/version counts",
        matching(r"[0-9][A-Za-z0-9.+~-]*", "use a digit, then letters, digits and . + ~ -"),
        taken_by=PACKAGING,
    ),
    Setting(
        "SEQUENCE", "publish as this number, over what is no release of ours",
        kinds.number(1, _MOST_SEQUENCE), taken_by=frozenset({"deploy"}),
    ),
    Setting(
        "TO", "the version to go back to",
        matching(r"[0-9][A-Za-z0-9.+~-]{0,63}", "use a version, as make releases lists them"),
        taken_by=frozenset({"rollback"}),
    ),
    Setting(
        "ROLE", "the role whose machines are meant",
        matching("web|vision", "use web or vision: make scale ROLE=web N=2"),
        needed_by=frozenset({"scale"}), how="say make scale ROLE=web N=2",
    ),
    Setting(
        "N", "how many machines", kinds.number(0, 9999),
        needed_by=frozenset({"scale"}), how="say make scale ROLE=web N=2",
    ),
    Setting(
        "LOCK", "which lock file to write anew",
        matching("develop|app|all", "use develop, app or all"),
        needed_by=frozenset({"lock"}), how="say make lock LOCK=app",
    ),

    # Of the machine that user-data makes
    _of_user_data(
        "ROLES", "the roles that the machine runs",
        matching("(web|vision)( (web|vision))*", "use web, vision or both, with a space"),
        "web vision",
    ),
    _of_user_data(
        "ROLE_ID", "unique ID of its IAM role, whose policy lets a machine write its own report "
        "fleet/${aws:userid}.json alone",
        matching("[A-Z0-9]{16,32}", "it has to be AROA..., a role's unique ID"),
    ),
    _of_user_data(
        "QUEUE_URL", "the service's own queue", matching(r"https?://\S+", "use https://..."),
    ),
    _of_user_data(
        "BUCKET_URL", "where the service keeps pictures",
        matching(r"s3://\S+", "it has to be s3://BUCKET/PREFIX"),
    ),
    _of_user_data(
        "HOST", "address that web listens on",
        matching(r"[A-Za-z0-9.:\[\]_-]+|/\S+", "use an address, or /path of a Unix socket"),
    ),
    _of_user_data("PORT", "port that web listens on", kinds.number(1, 65535)),

    # Parameters of the stack, each kept from the last time where it is not given
    _of_stack(
        "VPC", "where machines are, for good [the region's default VPC]",
        matching("vpc-[0-9a-f]+", "it has to be vpc-..."), None, "Vpc",
    ),
    _of_stack(
        "SUBNETS", "the same, with commas [those of the default VPC]",
        matching("subnet-[0-9a-f]+(,subnet-[0-9a-f]+)*", "use subnet-..., with commas"),
        None, "Subnets",
    ),
    _of_stack(
        "IMAGE", "what machines boot [the newest image, at each launch, of this computer's "
        "distribution and architecture]",
        matching("ami-[0-9a-f]+|resolve:ssm:/.+", "use ami-... or resolve:ssm:/..."),
        None, "Image",
    ),
    _of_stack(
        "INSTANCE_TYPE", "of the machines [t3.small, or t4g.small where this computer is arm64]",
        matching(r"[a-z0-9-]+\.[a-z0-9-]+", "it has to be like t3.small"), None, "InstanceType",
    ),
    _of_stack(
        "WEB_FROM", "CIDR block of the addresses that may reach web [none]",
        matching("[0-9.]+/[0-9]{1,2}", "use a CIDR block like 203.0.113.0/24"), "", "WebFrom",
    ),
    _of_stack(
        "LOAD_BALANCER", "security group of a load balancer that may; makes a target group [none]",
        matching("sg-[0-9a-f]+", "it has to be sg-..."), "", "LoadBalancer",
    ),
    Setting(
        "LOG_HOST", "HOST:PORT of a syslog server (UDP) that gets the machines' logs [none]",
        matching("[A-Za-z0-9.-]+:[0-9]{1,5}", "use HOST:PORT"), "",
        taken_by=frozenset({"stack", "userdata"}), parameter="LogHost",
    ),
    _of_stack(
        "MAX_MACHINES", "of each group [20]", kinds.number(1, 9999), "20", "MaxMachines",
    ),
    _of_stack(
        "KEEP_RELEASES_DAYS", "until a replaced release is removed, but for the last ten [90]",
        kinds.number(1, 36500), "90", "KeepReleasesDays",
    ),
)  # fmt: skip


class SettingsError(OperateError):
    """Some settings are missing or wrong; the message names each."""

    def __init__(self, problems: Collection[str]) -> None:
        if len(problems) == 1:
            super().__init__(*problems)
        else:
            lines = (f"\n  {each}" for each in problems)
            super().__init__(f"{len(problems)} settings are missing or wrong:{''.join(lines)}")


def read(verb: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of `verb`, each with its value, its default or "".

    Raises:
        SettingsError: some are missing or wrong.
    """
    found = list(problems(verb, environ))
    if found:
        raise SettingsError(found)
    mine = [each for each in SETTINGS if each.concerns(verb)]
    return {each.name: environ.get(each.name) or each.default or "" for each in mine}


def problems(verb: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield all that is missing or wrong for `verb`, in the order of the table."""
    for setting in SETTINGS:
        if setting.concerns(verb):
            found = setting.problem(verb, environ.get(setting.name, ""))
            if found:
                yield found
