"""AWS Signature Version 4: a request's headers, signed.

By hand, on the standard library alone, because a new machine has nothing else
when it asks for its first release: user-data carries this very module. One
signer for both; tests hold it against botocore's.

Source: AWS Identity and Access Management User Guide, "Create a signed AWS API
request"; Amazon S3 API Reference, "Authenticating Requests (AWS Signature
Version 4)", for what S3 does differently: the path is encoded once and never
normalized, and the body's hash is a header.
"""

import hashlib
import hmac
import time
import urllib.parse
from collections.abc import Mapping

from autoupdate.store.keys import Keys


def signed(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    keys: Keys,
    region: str,
    *,
    service: str = "s3",
    now: float | None = None,
) -> dict[str, str]:
    """Return `headers` and those that sign them.

    Args:
        method: GET, HEAD, PUT, ...
        url: its path and query are percent-encoded already, as they will be sent.
        headers: sent with the request; all of them are signed.
        body: the whole of it.
        keys: of whoever asks.
        region: of the bucket.
        service: as AWS names it in credential scopes.
        now: seconds since the epoch; by default the machine's time.
    """
    parts = urllib.parse.urlsplit(url)
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    digest = hashlib.sha256(body).hexdigest()
    found = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    found |= {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": at}
    if keys.token:
        found["x-amz-security-token"] = keys.token
    names = ";".join(sorted(found))
    lines = "".join(f"{name}:{found[name]}\n" for name in sorted(found))
    query = "&".join(sorted(parts.query.split("&")))
    request = f"{method}\n{parts.path or '/'}\n{query}\n{lines}\n{names}\n{digest}"
    scope = f"{at[:8]}/{region}/{service}/aws4_request"
    hashed = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{keys.secret_key}".encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashed}"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    found["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, "
        f"SignedHeaders={names}, Signature={key.hex()}"
    )
    return found
