"""The life of the updater: it looks at the bucket, and acts on what it finds."""

import random

from autoupdate import memory
from autoupdate.acceptance import (
    check_first,
    check_meant_for,
    check_sequence,
    check_size,
    describe,
    examine,
)
from autoupdate.clock import Clock
from autoupdate.errors import (
    AutoupdateError,
    BucketError,
    HeldError,
    MachineError,
    RefusedError,
    StateError,
    StoppedError,
    UndoneError,
)
from autoupdate.installer import Installer
from autoupdate.journal.state_folder import StateFolder
from autoupdate.log import Log, one_line
from autoupdate.machine.machine import Machine
from autoupdate.release.format import Release
from autoupdate.release.signature import SignatureError
from autoupdate.release.trust import Trust
from autoupdate.report.report import Reporter, Standing
from autoupdate.settings import Settings
from autoupdate.store.bucket import Bucket, Offer, pause

# Machines that were started together do not poll together for long. INTERVAL is the longest pause:
# within it what was published is noticed.
JITTER = 0.1

# A server that asks for patience gets it, up to so many intervals.
MAX_PATIENCE_INTERVALS = 30

MAX_HOLD_REASON = 200

# Without a valid answer for so long a machine may be kept from a release on purpose.
MAX_SILENCE_SECONDS = 1800.0


class Updater:
    """Keeps one machine on the release in the bucket."""

    def __init__(
        self,
        settings: Settings,
        bucket: Bucket,
        machine: Machine,
        folder: StateFolder,
        clock: Clock,
        log: Log,
    ) -> None:
        self._settings = settings
        self._bucket = bucket
        self._machine = machine
        self._folder = folder
        self._clock = clock
        self._log = log
        self._installer = Installer(settings, bucket, machine, folder, clock, log)
        self._reporter = Reporter(settings, bucket, clock, log, machine.role_statuses)
        self._offered: Release | None = None
        self._seen: object = None
        self._problem: AutoupdateError | None = None
        self._failures = 0
        self._answered_at = clock.monotonic()
        self._rehearses = False
        self._provisions = False

    def run(self) -> None:
        """Look every interval, until told to stop."""
        memory.give_back()
        while True:
            good_before = self._folder.state.last_good
            problem = self.look()
            if self._clock.stop_wanted:
                return
            if self._clock.restart_wanted:
                self._begin_afresh()
            elif self._folder.state.last_good != good_before:
                self._become_what_is_installed()
                memory.give_back()
            self._clock.rest(self._pause_after(problem))

    def look(self) -> AutoupdateError | None:
        """Look once and do all that follows; return what keeps this machine from being current.

        Whatever could not be done is tried again at the next look, unless the
        release itself was at fault.
        """
        try:
            if not self._rehearses:
                self._installer.finish_interrupted()
            offer = self._bucket.head(self._settings.release_key)
            self._log.change("bucket", "", over="the bucket answers again")
            trust = self._read_trust()
            seen = (offer, self._hold_reason(), trust)
            if seen != self._seen:
                self._problem = self._act_on(offer, trust)
                # Why it could not be verified may be this machine's fault: no ssh-keygen, no time.
                self._seen = None if _is_unverified(self._problem) else seen
            problem = self._problem
        except StoppedError as error:
            return error
        except AutoupdateError as error:
            problem = error
        self._watch_silence(problem)
        self._conclude(problem)
        return problem

    def provision(self) -> None:
        """Look until a release is installed here, whose roles nobody has started yet.

        Raises:
            StoppedError: told to stop before that.
        """
        self._provisions = True
        while self._folder.state.last_good is None:
            problem = self.look()
            if self._clock.stop_wanted:
                raise StoppedError("told to stop before a release was installed")
            if self._folder.state.last_good is None:
                self._clock.rest(self._pause_after(problem))

    def rehearse(self) -> AutoupdateError | None:
        """Look once as always, but act on nothing; return what keeps it from looking.

        The updater that installs a release asks this of the one in it, before
        it makes room for it.
        """
        self._rehearses = True
        return self.look()

    def _watch_silence(self, problem: AutoupdateError | None) -> None:
        """Say once that nothing verified has come for too long, whatever the reasons were."""
        now = self._clock.monotonic()
        if not isinstance(problem, BucketError) and not _is_unverified(problem):
            self._answered_at = now
            self._log.change("silence", "", over="the bucket gives valid answers again")
        elif now - self._answered_at > MAX_SILENCE_SECONDS:
            minutes = MAX_SILENCE_SECONDS / 60
            self._log.change("silence", f"no valid answer from the bucket for {minutes:.0f} min: "
                             "this machine may be kept from a release")  # fmt: skip

    def _act_on(self, offer: Offer, trust: Trust) -> AutoupdateError | None:
        """Bring the machine to the release that `offer` is; return why it is not to be."""
        try:
            release = self._accept(offer, trust)
            self._respect_hold(release)
            if self._rehearses:
                return None
            self._folder.change(accepted=self._folder.state.accepted_with(release))
            if self._installer.is_last_good(release) and self._installer.is_installed(release):
                self._installer.keep(release)
                return None
            self._tell("updating")
            self._installer.fetch(release, offer)
            if self._folder.state.last_good is None and self._installer.is_installed(release):
                # Installed by user-data or by hand: kept to go back to.
                self._installer.keep(release)
                return None
            if self._provisions:
                self._installer.install_first(release)
                return None
            self._installer.prove(release)
            self._installer.apply(release)
        except RefusedError as error:
            if error.verified and not self._rehearses:
                # Whoever refused it before may have been killed before it had tidied up.
                self._folder.remove_packages_except(self._folder.state.last_good)
            return error
        except (UndoneError, HeldError) as error:
            return error
        return None

    def _accept(self, offer: Offer, trust: Trust) -> Release:
        settings, state = self._settings, self._folder.state
        release, signer = examine(offer, trust, settings.namespace)
        check_meant_for(release, settings.package, self._machine.architecture(), settings.channel)
        check_size(release, settings.max_package_mb)
        check_sequence(release, state)
        known = state.accepted_in(release.channel) or state.last_good
        newer = None if known else self._machine.installed_newer_than(release.version)
        if newer:
            check_first(release, newer)
        if release != self._offered:
            self._log.say(f"{describe(release)} is signed by {signer}")
        self._offered = release
        return release

    def _respect_hold(self, release: Release) -> None:
        reason = self._hold_reason()
        if reason is not None:
            why = f" ({reason})" if reason else ""
            raise HeldError(f"held by {self._settings.hold_file}{why}: {describe(release)} waits")

    def _hold_reason(self) -> str | None:
        """Return the first line of the HOLD file, or None if there is none."""
        try:
            with self._settings.hold_file.open(encoding="utf-8", errors="replace") as file:
                return one_line(file.readline(MAX_HOLD_REASON))
        except FileNotFoundError:
            return None
        except OSError:
            # It is there, and says so without words.
            return ""

    def _read_trust(self) -> Trust:
        """Return whom to trust now: a key may have come or gone."""
        try:
            return Trust.read(self._settings.allowed_signers)
        except SignatureError as error:
            text = f"refused what is in the bucket: {error}"
            raise RefusedError(text, verified=False) from error

    def _conclude(self, problem: AutoupdateError | None) -> None:
        """Say where this machine stands, to whom it is news: log, state and report."""
        text = one_line(str(problem)) if problem else ""
        subject = "bucket" if isinstance(problem, BucketError) else "release"
        self._log.change(subject, text)
        if self._rehearses:
            return
        if text != self._folder.state.condition:
            try:
                self._folder.change(condition=text, condition_since=self._clock.utc())
            except StateError as error:
                self._log.change("state", str(error))
        if not isinstance(problem, BucketError) or problem.reached:
            self._tell(_state_of(problem), text)

    def _tell(self, state: str, error: str = "") -> None:
        good, offered = self._folder.state.last_good, self._offered
        self._reporter.tell(
            Standing(
                state=state,
                error=error,
                version=good.version if good else "",
                sequence=good.sequence if good else 0,
                offered=offered.version if offered else "",
                offered_sequence=offered.sequence if offered else 0,
                silent=self._clock.monotonic() - self._answered_at > MAX_SILENCE_SECONDS,
            )
        )

    def _begin_afresh(self) -> None:
        self._clock.restart_wanted = False
        try:
            self._machine.begin_afresh()
        except MachineError as error:
            self._log.say(str(error))

    def _become_what_is_installed(self) -> None:
        """Become the updater of the release just installed; it has taken a first look."""
        try:
            self._machine.become_installed_updater()
        except MachineError as error:
            self._log.say(str(error))

    def _pause_after(self, problem: AutoupdateError | None) -> float:
        """Return seconds until the next look."""
        interval = self._settings.interval_seconds
        if problem is None or isinstance(problem, RefusedError | UndoneError | HeldError):
            self._failures = 0
            return interval * random.uniform(1 - JITTER, 1)  # noqa: S311
        self._failures += 1
        if isinstance(problem, BucketError) and not problem.overloaded:
            # Who is not there does not suffer from being asked, and its return
            # is to be noticed within an interval.
            return pause(self._failures, interval / 8, interval)
        return pause(self._failures, interval, MAX_PATIENCE_INTERVALS * interval)


def _is_unverified(problem: AutoupdateError | None) -> bool:
    return isinstance(problem, RefusedError) and not problem.verified


def _state_of(problem: AutoupdateError | None) -> str:
    """Return the key of report.STATES that `problem` means."""
    if isinstance(problem, UndoneError):
        return "undone" if problem.serving else "broken"
    if isinstance(problem, RefusedError):
        return problem.outcome
    states = {
        type(None): "current",
        HeldError: "held",
        MachineError: "broken",
    }
    return states.get(type(problem), "waiting")
