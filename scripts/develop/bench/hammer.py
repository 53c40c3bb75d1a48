"""As many requests as a service answers: a process of its own.

    python -m develop.bench.hammer PORT SECONDS

Prints how many answers eight kept-alive connections got.
"""

import socket
import sys
import threading
import time

from develop.bench.load import QUICK, TIMEOUT_SECONDS, read_answer

CONNECTIONS = 8


def main() -> int:
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    deadline = time.monotonic() + seconds
    counts = [0] * CONNECTIONS

    def ask(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
            while time.monotonic() < deadline:
                connection.sendall(QUICK)
                read_answer(connection)
                counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sum(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
