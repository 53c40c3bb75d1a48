"""One release's way onto the machine, and back: each step is journalled before it begins.

FETCHING → PROVING → INSTALLING → RESTARTING → TRYING → kept as the last good one;
from INSTALLING on a failure leads to RESTORING. Every step may be done again
from its beginning, which is what happens after a kill or a power cut.
"""

from collections.abc import Callable
from typing import NoReturn

from autoupdate.acceptance import describe
from autoupdate.clock import Clock
from autoupdate.errors import (
    BucketError,
    MachineError,
    PostponedError,
    RefusedError,
    StoppedError,
    UndecidedError,
    UndoneError,
)
from autoupdate.journal.state import Journal, Refusal, Step
from autoupdate.journal.state_folder import StateFolder
from autoupdate.log import Log, one_line
from autoupdate.machine.machine import Machine
from autoupdate.release.format import Release
from autoupdate.settings import Settings
from autoupdate.store.bucket import Bucket, Offer

# An installation that was cut short is finished, a proof that was cut short begun again. What is
# cut short as often as this is so by the release.
MAX_ATTEMPTS = 3

# Between tries of the new updater: a machine that restarts its roles meanwhile may be slow.
_TRIAL_PAUSES_SECONDS = (1.0, 2.0, 4.0)


class Installer:
    """Moves the machine from the last good release to another."""

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
        self._undecided: list[Release] = []  # one for each proof in a row without an end

    def is_installed(self, release: Release) -> bool:
        """Tell whether the release's package, which is kept here, is what is installed."""
        return self._machine.has_installed(self._folder.package(release), release.version)

    def is_last_good(self, release: Release) -> bool:
        """Tell whether `release` carries the very package that is kept to go back to."""
        good = self._folder.state.last_good
        return good is not None and good.sha256 == release.sha256 and self._folder.holds(good)

    def finish_interrupted(self) -> bool:
        """Finish or undo what the journal says was under way; tell whether anything was.

        Raises:
            UndoneError: the release was taken back.
            PostponedError, MachineError, StateError: it is still under way.
        """
        journal = self._folder.state.journal
        if journal is None:
            return False
        if journal.step in {Step.FETCHING, Step.PROVING}:
            self._folder.change(journal=None)
            return False
        if journal.step is Step.RESTORING:
            self._restore(journal.release, journal.reason)
        elif journal.attempts >= MAX_ATTEMPTS:
            self._undo(journal.release, f"its installation was cut short {journal.attempts} times")
        elif not self._folder.holds(journal.release):
            self._undo(journal.release, "its installation was cut short and its package is gone")
        else:
            self._log.say(f"{describe(journal.release)}: goes on with {journal.step.value}")
            self.apply(journal.release)
        return True

    def fetch(self, release: Release, offer: Offer) -> None:
        """Have the package on this machine, whole.

        Raises:
            RefusedError: the object is not what was signed.
            PostponedError: the download was cut short, or there is no room.
        """
        self._stop_if_told()
        if self._folder.holds(release):
            return
        self._begin(Step.FETCHING, release)
        self._log.say(f"{describe(release)}: downloads {release.size / 1e6:.1f} MB")

        def download(write: Callable[[bytes], object]) -> None:
            def take(chunk: bytes) -> None:
                self._stop_if_told()
                write(chunk)

            self._bucket.download(
                self._settings.release_key,
                offer.etag,
                release.size,
                take,
                self._settings.download_seconds,
            )

        try:
            whole = self._folder.add_package(release, download)
        except BucketError as error:
            raise PostponedError(f"{describe(release)} waits: {error}") from error
        if not whole:
            raise RefusedError(f"refused {describe(release)}: its sha256 is not the signed one")

    def install_first(self, release: Release) -> None:
        """Install the first release of a machine, and keep it.

        Without a proof, for nothing serves here that the release could harm, and
        its roles prove themselves as they start. Without a journal, for there
        is nothing to go back to: what was cut short is begun again.

        Raises:
            RefusedError: its package is not what was signed; never tried again.
            PostponedError, MachineError: a dependency is missing, dpkg is busy, or fails.
        """
        package = self._folder.package(release)
        try:
            self._machine.look_through(release, package)
        except MachineError as error:
            self._refuse_unproven(release, error)
        self._machine.install_dependencies(package)
        self._log.say(f"{describe(release)}: installs")
        with self._machine.packages_locked():
            self._machine.install(package)
        self.keep(release)

    def prove(self, release: Release) -> None:
        """Let the new build check itself, unpacked aside.

        Raises:
            RefusedError: it does not pass; never tried again.
            PostponedError: a dependency is missing, there is no room, or no end was seen.
        """
        self._stop_if_told()
        self._begin(Step.PROVING, release)
        package = self._folder.package(release)
        # First: what the new build is linked with may be among them.
        self._machine.install_dependencies(package)
        try:
            self._machine.prove(release, package)
            self._undecided.clear()
        except (MachineError, UndecidedError) as error:
            if isinstance(error, UndecidedError):
                self._undecided.append(release)
                if self._undecided.count(release) < MAX_ATTEMPTS:
                    raise UndecidedError(f"{describe(release)} waits: {error}") from error
            self._refuse_unproven(release, error)

    def _refuse_unproven(self, release: Release, error: Exception) -> NoReturn:
        reason = f"refused {describe(release)} before installing it: {error}"
        self._refuse(release, reason, "refused")
        raise RefusedError(reason) from error

    def apply(self, release: Release) -> None:
        """Install, restart the roles, and wait until they are ready; else undo.

        Raises:
            PostponedError: dpkg is busy; nothing has begun.
            UndoneError: it was taken back.
        """
        self._stop_if_told()
        began = self._clock.monotonic()
        package = self._folder.package(release)
        try:
            with self._machine.packages_locked():
                self._begin(Step.INSTALLING, release)
                self._machine.install(package)
            self._begin(Step.RESTARTING, release)
            roles = self._machine.restart_roles(release.version)
            self._begin(Step.TRYING, release)
            self._try_updater(release)
        except MachineError as error:
            # A shutdown ends the roles too; what was begun goes on at the next start.
            self._stop_if_told()
            self._undo(release, str(error))
        self.keep(release)
        took = self._clock.monotonic() - began
        ready = f"{', '.join(roles)} ready" if roles else "no role runs here"
        self._log.say(f"{describe(release)}: installed, {ready}, in {took:.1f} s")

    def _try_updater(self, release: Release) -> None:
        """Let the installed updater look at the bucket once, as it will for ever.

        An updater that cannot look would be the last one of this machine. What
        keeps it from looking may be the bucket's fault, or a stranger's: it is
        the updater's own only if this one sees its release there meanwhile.

        Raises:
            MachineError: it cannot.
        """
        for seconds in _TRIAL_PAUSES_SECONDS:
            if not self._machine.rehearse_installed_updater():
                return
            self._clock.rest(seconds)
        try:
            offer = self._bucket.head(self._settings.release_key)
        except BucketError:
            return
        if offer.release != release.to_json():
            return
        problem = self._machine.rehearse_installed_updater()
        if problem:
            raise MachineError(f"its updater cannot look at the bucket: {problem}")

    def keep(self, release: Release) -> None:
        """Make `release` the one to go back to."""
        self._folder.change(last_good=release, journal=None)
        self._folder.remove_packages_except(release)

    def _undo(self, release: Release, reason: str) -> NoReturn:
        self._log.say(f"{describe(release)} failed: {reason}")
        self._begin(Step.RESTORING, release, reason)
        self._restore(release, reason)

    def _restore(self, release: Release, reason: str) -> NoReturn:
        """Put the last good package back. Needs no network.

        Raises:
            UndoneError: done, or there is none.
            PostponedError, MachineError: not done yet; tried again.
        """
        good = self._folder.state.last_good
        if good is None or not self._folder.holds(good):
            text = (
                f"{describe(release)} failed: {reason}; there is no earlier package to go back to"
            )
            self._refuse(release, text, "broken")
            raise UndoneError(text, serving=False)
        with self._machine.packages_locked():
            self._machine.install(self._folder.package(good))
        trouble = self._bring_back(good)
        text = f"undid {describe(release)}: {reason}" + (f"; but {trouble}" if trouble else "")
        self._refuse(release, text, "broken" if trouble else "undone")
        raise UndoneError(text, serving=not trouble)

    def _bring_back(self, good: Release) -> str:
        """Restart the roles into `good`; return what is wrong afterwards, or ""."""
        try:
            ready = self._machine.restart_roles(good.version)
        except MachineError as error:
            return f"{good.version} is back, and {error}"
        # A clean stop takes the status file away.
        left = [name for name, status in self._machine.role_statuses().items() if status]
        dead = [name for name in left if name not in ready]
        return f"role {dead[0]} has ended, and nobody starts it" if dead else ""

    def _refuse(self, release: Release, reason: str, outcome: str) -> None:
        state = self._folder.state
        refusal = Refusal(release, one_line(reason), self._clock.utc(), outcome)
        self._folder.change(refused=state.refused_with(refusal), journal=None)
        self._folder.remove_packages_except(state.last_good)

    def _begin(self, step: Step, release: Release, reason: str = "") -> None:
        """Write down that `step` begins."""
        previous = self._folder.state.journal
        attempts = previous.attempts if previous and previous.release == release else 0
        if step is Step.INSTALLING:
            attempts += 1
        self._folder.change(journal=Journal(step, release, attempts, one_line(reason)))

    def _stop_if_told(self) -> None:
        if self._clock.stop_wanted:
            raise StoppedError("told to stop")
