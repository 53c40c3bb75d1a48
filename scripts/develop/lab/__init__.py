"""A small cloud of real machines on this computer, for the tests and the bench.

A machine is Debian or Ubuntu, whichever this computer is, booted by systemd-nspawn with systemd
as process 1 and cloud-init, in a network namespace with instance metadata, S3, SQS and the rest
of moto's AWS behind the roles' own policies, and a mirror of the few packages that it may need.

Needs root, mmdebstrap, systemd-nspawn and ip. Example::

    with Cloud(folder) as cloud, cloud.machine(Instance("i-1", user_data, role)) as machine:
        machine.boot()
        machine.run("cloud-init", "status", "--wait")
"""
