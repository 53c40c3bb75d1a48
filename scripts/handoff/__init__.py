"""Graceful restart of a network service under one constant process ID.

``handoff`` is a small supervisor and the protocol between it and the program
it runs. It knows nothing of HTTP, Flask or gunicorn: any program, in any
language, that keeps the protocol below can be put under it. Standard library
only, Linux only (``prctl``, ``sigtimedwait``).

The process that the init started is the *supervisor*. It owns the listening
socket and never serves. What serves is a *generation*: one child process,
with whatever workers that child starts, in a process group of its own.

A restart (SIGUSR2 to the supervisor)
    1. The supervisor starts the executable now on disk as a new generation,
       which inherits the listening socket.
    2. The new generation proves itself on a pipe before it accepts anything.
    3. It is let in, the old generation gets SIGTERM, finishes what it has
       begun within ``grace_seconds``, and goes.
    4. The supervisor re-executes itself in place as the new version: same
       process ID, children and socket kept.

    If the proof fails, ends or takes too long, the new generation is killed,
    the old one serves on, and the reason is in the log and the status file.

What a generation finds in its environment
    ``LISTEN_FDS``, ``LISTEN_PID``
        The inherited sockets, from descriptor 3 on, exactly as in
        sd_listen_fds(3). Absent for a role that listens on nothing.
    ``HANDOFF_PROOF_FD``
        A pipe to write to. One line each, shorter than PIPE_BUF::

            workers 2                 how many `ready` to wait for (default 1)
            supervisor {"argv": [...], "environ": {...}}
                                      optional: the command by which the
                                      supervisor becomes this version
            waits no credentials yet  optional, any number: the reason, if time runs out
            ready 1.0-57              one worker is loaded and healthy
            failed cannot import x    this generation will not serve

    ``HANDOFF_GATE_FD``
        A pipe to wait on, after `ready`, before the first accept(2). Readable
        (never read the byte: all workers share it) means: take work. A hang-up
        without data means: the supervisor is gone, exit.
    ``HANDOFF_BOUND``
        The address that the supervisor bound, as configured (``HOST:PORT`` or
        a path); absent when the init passed the socket in.

    ``HANDOFF_WAITS``
        Set if the supervisor knows the line `waits`.

    SIGTERM means: accept nothing more, finish, exit. The supervisor's death is
    the generation's too (``PR_SET_PDEATHSIG`` with SIGKILL); a generation must
    see to its own children in the same way.

The command of the `supervisor` line is tried before it is trusted: it is run
once with ``HANDOFF_TRIAL`` set, must answer `ready` on its proof pipe and exit
0. Only then does the supervisor exec it, with ``HANDOFF_INHERIT`` telling it
which descriptors and children are its own.

The status file, ``ROLE.json``, is replaced atomically and holds ``role``,
``pid``, ``version``, ``state`` (starting, ready, restarting, draining,
failed), ``since`` (RFC 3339, UTC) and ``error``. It first appears when signals
can no longer be lost. Beside it lies ``.ROLE.lock``: another supervisor of the
same role does not start while that is held.

Example, the program's side::

    generation = Generation.from_environ(os.environ)
    if generation is None:
        return Supervisor(Role("web", [sys.argv[0], "web"], ...)).run()
    app = load_and_check()
    generation.ready("1.0-57")
    if generation.wait_accepted():
        serve(app, generation.listeners())
"""

from handoff.generation import Generation
from handoff.restart import RestartError, restart
from handoff.supervisor import HandoffError, Role, Supervisor

__all__ = ["Generation", "HandoffError", "RestartError", "Role", "Supervisor", "restart"]
