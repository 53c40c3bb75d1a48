"""What can go wrong with the stores of jobs and pictures."""


class StoreError(Exception):
    """Jobs or pictures cannot be kept or had now; the message says why in one line."""


class StoreAwayError(StoreError):
    """A store does not answer now, and may in a moment."""
