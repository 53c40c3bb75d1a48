"""The HTTP server of the lab's parts that many machines ask at once."""

from http.server import ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Lets them wait in line: a connection that has to knock again does so a second later."""

    request_queue_size = 128
