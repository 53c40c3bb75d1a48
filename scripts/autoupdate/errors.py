"""What can go wrong, as few families: each message is one line, cause last.

Every family has its exit status (see ``cli.py``) and its consequence:

==============  ======================================================
SettingsError   the program does not start
StateError      nothing is changed; tried again
BucketError     nothing is changed; tried again
PostponedError  nothing is changed; the same release is tried again
UndecidedError  the same, three times in a row at most; then refused
RefusedError    nothing is changed; not tried again
MachineError    a step of the installation failed; it is undone
UndoneError     the release was installed and taken back; not tried again
ProvisionError  a new machine does not serve yet
==============  ======================================================

`release.ReleaseError` stands beside them, for the operator's tools too.
"""

# Exit status of `provision`: all is done, the updater runs, but a role does not start. User-data
# ends with it; whatever else `provision` ends with is tried again.
ROLE_FAILED = 13


class AutoupdateError(Exception):
    """Base of all; the message is one line for the log."""


class SettingsError(AutoupdateError):
    """A setting is missing or out of its bounds."""


class StateError(AutoupdateError):
    """The state folder cannot be read, written or locked."""


class BucketError(AutoupdateError):
    """The bucket did not give what was asked.

    Attributes:
        reached: some server answered; a report may get through.
        overloaded: it asked for patience (throttling, 5xx).
    """

    def __init__(self, text: str, *, reached: bool = True, overloaded: bool = False) -> None:
        super().__init__(text)
        self.reached = reached
        self.overloaded = overloaded


class PostponedError(AutoupdateError):
    """This release cannot be installed now, for a reason that passes."""


class UndecidedError(PostponedError):
    """A proof did not come to its end: this machine may be at fault, or the release."""


class HeldError(AutoupdateError):
    """An operator stopped updates on this machine."""


class RefusedError(AutoupdateError):
    """This release will not be installed.

    Attributes:
        outcome: where this machine stands for it, a key of report.STATES: a
            release that was tried before may have been taken back.
        verified: a key that is trusted has signed it.
    """

    def __init__(self, text: str, *, outcome: str = "refused", verified: bool = True) -> None:
        super().__init__(text)
        self.outcome = outcome
        self.verified = verified


class MachineError(AutoupdateError):
    """dpkg, a role or its init failed."""


class UndoneError(AutoupdateError):
    """The release was installed, did not work, and was taken back.

    Attributes:
        serving: the last good package is in place and its roles are ready.
    """

    def __init__(self, text: str, *, serving: bool) -> None:
        super().__init__(text)
        self.serving = serving


class ProvisionError(AutoupdateError):
    """A new machine does not serve, or not as it was told to."""


class StoppedError(AutoupdateError):
    """A signal told the updater to stop, at a point where it may."""
