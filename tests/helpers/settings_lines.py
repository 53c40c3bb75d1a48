"""Lines of a settings file, and what every program makes of them (handoff.settings_file)."""

TAKEN = {
    "": None,
    " \t ": None,
    "# a comment": None,
    "  # a comment, 'half a quote, é, \\ and $(x)": None,
    "#PORT=1": None,
    "A=": ("A", ""),
    "A=b": ("A", "b"),
    "\t A=b \t": ("A", "b"),
    "_a9=b": ("_a9", "b"),
    "A=b=c": ("A", "b=c"),
    "A=https://sqs.eu-west-1.amazonaws.com/1/jobs": (
        "A",
        "https://sqs.eu-west-1.amazonaws.com/1/jobs",
    ),
    "A=s3://bucket/a_b@c%20+d,e": ("A", "s3://bucket/a_b@c%20+d,e"),
    "A=''": ("A", ""),
    'A=""': ("A", ""),
    "A='web vision' ": ("A", "web vision"),
    'A="web vision"': ("A", "web vision"),
    "A=' web '": ("A", " web "),
    "A='#1'": ("A", "#1"),
    "A='say \"hi\"'": ("A", 'say "hi"'),
    'A="it\'s"': ("A", "it's"),
    "A='a\\nb\\'": ("A", "a\\nb\\"),
    "A='~ * ? [a] {b,c} ; & | < > ( ) ! ^ #'": ("A", "~ * ? [a] {b,c} ; & | < > ( ) ! ^ #"),
    "A='Zoë ≥ 3'": ("A", "Zoë ≥ 3"),
    'A="Zoë"': ("A", "Zoë"),
}

# What environment.d(5) expands or writes otherwise, unlike EnvironmentFile=.
TAKEN_UNLIKE_ENVIRONMENT_D: dict[str, tuple[str, str] | None] = {
    "A='a\tb'": ("A", "a\tb"),
    "A='$HOME'": ("A", "$HOME"),
    "A='`id` $(id) ${HOME}'": ("A", "`id` $(id) ${HOME}"),
}

# What a shell takes for a command.
TAKEN_UNLIKE_A_SHELL: dict[str, tuple[str, str] | None] = {
    "A=web vision": ("A", "web vision"),
    "A=x  y/z ": ("A", "x  y/z"),
    "HOST=[::1]": ("HOST", "[::1]"),
    "A=https://example.org/(a)?b=c&d=~e": ("A", "https://example.org/(a)?b=c&d=~e"),
    "; a comment to systemd alone": None,
}

NOT_A_SETTING = "not NAME=VALUE"
NOT_A_VALUE = "a value neither plain nor, all of it, in quotes"

REFUSED = {
    "NAMÉ=x": NOT_A_SETTING,
    "9A=x": NOT_A_SETTING,
    "A-B=x": NOT_A_SETTING,
    "=x": NOT_A_SETTING,
    "A": NOT_A_SETTING,
    "A =x": NOT_A_SETTING,
    "export A=x": NOT_A_SETTING,
    "\ufeffA=x": "cannot be printed",
    "A= x": NOT_A_VALUE,
    "A=x # no comment": NOT_A_VALUE,
    "A='x' # no comment": NOT_A_VALUE,
    "A='x'y": NOT_A_VALUE,
    "A='x'\"y\"": NOT_A_VALUE,
    "A='x": NOT_A_VALUE,
    'A="x': NOT_A_VALUE,
    "A=it's": NOT_A_VALUE,
    "A='it's'": NOT_A_VALUE,
    'A=say"hi"': NOT_A_VALUE,
    'A="say "hi""': NOT_A_VALUE,
    "A=$HOME": NOT_A_VALUE,
    'A="$HOME"': NOT_A_VALUE,
    "A=`id`": NOT_A_VALUE,
    'A="`id`"': NOT_A_VALUE,
    "A=a;b": NOT_A_VALUE,
    "A=a\\": NOT_A_VALUE,
    'A="a\\"': NOT_A_VALUE,
    "A=a\\ b": NOT_A_VALUE,
    "A=Zoë": NOT_A_VALUE,
    "; the same \\": "ends with a backslash",
    "# the next line is a comment, too, to systemd \\": "ends with a backslash",
    "A=x\r": "cannot be printed",
    "# two lines to systemd\rA=x": "cannot be printed",
    "A='a\x1b[31mb'": "cannot be printed",
    "A='a\x00b'": "cannot be printed",
    "A='a\x85b'": "cannot be printed",
    "A='a\u2028b'": "cannot be printed",
}
