"""Why a verb could not do its work. Caught once, in cli.py; each family has its exit status."""

EXIT_DONE, EXIT_FAILED = 0, 1  # 2, for wrong usage, is argparse's own
EXIT_LOST_RACE = EXIT_NOT_ALL = 3


class OperateError(Exception):
    """It was not done; the message says why and what to do."""

    exit_status = EXIT_FAILED


class ForeignReleaseError(OperateError):
    """What is in the bucket is not signed by a key that we trust."""


class LostRaceError(OperateError):
    """Somebody else published meanwhile."""

    exit_status = EXIT_LOST_RACE


class AwsError(OperateError):
    """AWS refused, or could not be asked."""

    def __init__(self, message: str, code: str = "", said: str = "") -> None:
        super().__init__(message)
        self.code = code  # of AWS, "" if it was not reached
        self.said = said  # AWS's own message
