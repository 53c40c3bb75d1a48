#!/usr/bin/env python3
"""usage: userdata [--output FILE]

Renders cloud-init/user-data with the settings of config.mk, the public keys that
machines are to trust, and the program: build/user-data, to be given to EC2.

settings (config.mk): NAME, BUCKET, REGION, CHANNEL, SIGNING_KEY
also: ROLES ("web vision"), LOG_HOST (host:port of a syslog server, over UDP),
      ROLE_ID (of the machine's IAM role, whose policy lets a machine write its
      own report fleet/${aws:userid}.json alone),
      and the service's own QUEUE_URL, BUCKET_URL, HOST, PORT
AWS_ENDPOINT_URL, where it is set, goes into it, too. To read what it runs:
python3 build/user-data --show FOLDER
exit status: 0 written, 1 not written, 2 usage
"""

import os
import sys
from pathlib import Path

from operate import publishing, rendering
from operate.publishing import Channel, PublishError

OUTPUT = Path(__file__).resolve().parents[2] / "build" / "user-data"


def main(words: list[str]) -> int:
    if words == ["--help"]:
        print(__doc__, end="")
        return publishing.EXIT_DONE
    if words and (len(words) != 2 or words[0] != "--output"):
        print(__doc__, end="", file=sys.stderr)
        return publishing.EXIT_USAGE
    path = Path(words[1]) if words else OUTPUT
    try:
        text = rendering.user_data(Channel.from_environ(os.environ), os.environ)
    except PublishError as error:
        print(f"userdata: cannot render {path.name}: {error}", file=sys.stderr)
        return error.exit_status
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    most = rendering.MAX_USER_DATA_BYTES
    print(f"{path}: {len(text.encode()):,} bytes, of {most:,} that EC2 takes")
    print(f"  for a machine with ROLES={os.environ.get('ROLES') or rendering.BOTH_ROLES}")
    if os.environ.get("AWS_ENDPOINT_URL"):
        print(
            f"  which reaches no AWS, but {os.environ['AWS_ENDPOINT_URL']}: AWS_ENDPOINT_URL is set"
        )
    return publishing.EXIT_DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
