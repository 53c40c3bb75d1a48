"""The command line. One table drives dispatch and help; errors are told once, here."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import handoff
from panorama import check, settings
from panorama.build_info import NAME, VERSION

RESTART_SECONDS = 120


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 failed, 2 wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["--help"], ["-h"], ["help"]):
        print(usage())
        return 0
    if words == ["--version"]:
        print(VERSION)
        return 0
    command = COMMANDS.get(words[0]) if words else None
    if command is None:
        what = f"unknown command {' '.join(words)!r}" if words else "no command"
        print(f"{NAME}: {what}; see {NAME} --help", file=sys.stderr)
        return 2
    try:
        return command[0](words[1:])
    except UsageError as error:
        print(f"{NAME} {words[0]}: {error}; see {NAME} --help", file=sys.stderr)
        return 2
    except (settings.SettingsError, handoff.HandoffError, handoff.RestartError) as error:
        print(f"{NAME} {words[0]}: {error}", file=sys.stderr)
        return 1


class UsageError(Exception):
    """The command's words are wrong."""


def _role(role: str, words: Sequence[str]) -> int:
    if words:
        raise UsageError(f"takes no arguments, not {' '.join(words)!r}")
    generation = handoff.Generation.from_environ(os.environ)
    try:
        return _supervise(role) if generation is None else _serve(role, generation)
    except Exception as error:
        if generation:  # whatever it is, this build will not serve
            generation.failed(f"{type(error).__name__}: {error}")
        raise


def _supervise(role: str) -> int:
    configured = settings.load(os.environ)
    configured.make_folders()
    # A supervisor, which stays small, imports nothing of what its generations do.
    from panorama import supervisor

    return supervisor.run(role, configured)


def _serve(role: str, generation: handoff.Generation) -> int:
    configured = settings.load(os.environ)
    from panorama import supervisor

    supervisor.offer_takeover(role, generation)
    if role == "web":
        from panorama import generation_web

        return generation_web.run(configured, generation)
    from panorama import vision

    return vision.run(configured, generation)


def _check(words: Sequence[str]) -> int:
    if words:
        raise UsageError(f"takes no arguments, not {' '.join(words)!r}")
    return check.run(os.environ)


def _restart(words: Sequence[str]) -> int:
    roles = [word for word in words if word != "--wait"]
    if len(roles) != 1 or roles[0] not in {"web", "vision"}:
        raise UsageError("wants one role, web or vision, and perhaps --wait")
    status_file = Path(settings.load(os.environ).runtime_dir) / f"{roles[0]}.json"
    wait = RESTART_SECONDS if "--wait" in words else None
    version = handoff.restart(status_file, wait)
    if wait:
        print(f"{roles[0]} serves {version}")
    return 0


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "web": (lambda words: _role("web", words), "serve uploads and results, in the foreground"),
    "vision": (lambda words: _role("vision", words), "stitch what was uploaded, in the foreground"),
    "check": (_check, "prove this build on this machine; changes nothing"),
    "restart": (_restart, "[--wait] ROLE: restart a running role into what is now installed"),
}


def usage() -> str:
    commands = "\n".join(f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items())
    return f"""usage: {NAME} COMMAND

{commands}
  --version  print the version, nothing else

SIGUSR2 to web or vision: restart gracefully into the executable now on disk.
SIGTERM: finish what has begun, then exit 0; a second one: at once.

Settings come from the environment, then from /etc/default/{NAME} ($SETTINGS_FILE) [default]:

{settings.table()}
  {"CACHE_DIR":<17} folder: where this executable unpacks itself [/var/cache/{NAME}]

exit status: 0 done, 1 failed (one line on stderr says why), 2 wrong usage"""
