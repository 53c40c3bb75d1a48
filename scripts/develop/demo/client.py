"""The client that keeps asking: it retries nothing and counts what it loses."""

import http.client
import json
import threading
import time
from collections import Counter

THREADS_PER_SERVER = 4
PAUSE_SECONDS = 0.02  # some 40 requests a second and thread: the machines share this computer


class Client:
    """Asks every web server for its health on kept-alive and on fresh connections."""

    def __init__(self, ports: list[int]) -> None:
        self.sent = 0
        self.lost: list[str] = []
        self.versions: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep_asking, args=(port, number % 2 == 0), daemon=True)
            for port in ports
            for number in range(THREADS_PER_SERVER)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _keep_asking(self, port: int, keep_alive: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not self._stopping.is_set():
            try:
                connection.request("GET", "/healthz")
                response = connection.getresponse()
                body = response.read()
                outcome = "" if response.status == 200 else f"status {response.status}"
                version = json.loads(body).get("version", "")
            except (OSError, http.client.HTTPException, ValueError) as error:
                outcome, version = repr(error), ""
                connection.close()
            with self._lock:
                self.sent += 1
                self.versions[version] += not outcome
                if outcome:
                    self.lost.append(outcome)
            if not keep_alive:
                connection.close()
            time.sleep(PAUSE_SECONDS)
        connection.close()
