"""Messages to systemd, sd_notify(3); silent under any other init."""

import os
import socket
import time

# A manager that is too busy to listen must not hold up a restart.
SEND_SECONDS = 1.0


class Notifier:
    """Tells the service manager what the supervisor does, and that it lives."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        usec = os.environ.get("WATCHDOG_USEC", "")
        mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # sd_watchdog_enabled(3): notify at half of the interval.
        self.watchdog_seconds = int(usec) / 2e6 if usec.isdecimal() and mine else None
        self._next_watchdog = 0.0

    def ready(self, text: str) -> None:
        self._send(f"READY=1\nSTATUS={text}")

    def reloading(self) -> None:
        # sd_notify(3): RELOADING=1 needs the time, so that a later READY=1 can be told apart.
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={usec}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Say that the supervisor lives, if it is time to; call it at least so often."""
        if self.watchdog_seconds and time.monotonic() >= self._next_watchdog:
            # A little sooner: the loop's waits end a little late.
            self._next_watchdog = time.monotonic() + self.watchdog_seconds * 0.9
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(SEND_SECONDS)
            try:
                channel.sendto(message.encode(), address)
            except OSError as error:
                # A manager that does not listen must not cost a request.
                os.write(2, f"handoff: cannot notify {self._address}: {error}\n".encode())
