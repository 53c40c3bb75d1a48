"""The updater: keeps one machine on the signed release that lies in the bucket.

A service of its own on every machine, so that a broken build of the service
cannot break what repairs it. It polls one S3 object with HEAD; when that has
changed it verifies, downloads, proves, installs and restarts, and puts the
last good package back when any of that fails. Single-threaded, Linux only.

What it trusts: the keys in ``allowed_signers``, and what they signed. The
bucket, its metadata and its bodies are hostile until then.

What depends on the machine's clock: S3 answers 403 when a request's time is
more than 15 minutes off (the error then says how far), TLS certificates,
credentials and keys with a limited validity expire by it, and times in log,
report and state are its. Nothing else: intervals and time limits are monotonic,
and the outcome of a restart is told from a *changed* ``since`` in ROLE.json, not
from a later one.
"""
