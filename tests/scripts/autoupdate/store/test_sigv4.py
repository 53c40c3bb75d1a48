"""Signatures of requests, held against botocore's, which signs nothing on a server any more."""

import string
import time

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from autoupdate.store.keys import Keys
from autoupdate.store.sigv4 import signed

word = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=12)
printable = st.text(string.ascii_letters + string.digits + " =/:;.*\t", max_size=30)
path = st.text(string.ascii_letters + string.digits + "-._~/%:", max_size=40)
headers = st.dictionaries(
    word.map(lambda name: f"x-amz-meta-{name.lower()}"), printable.map(str.strip), max_size=4
)
query = st.dictionaries(word, word, max_size=4)


@given(
    method=st.sampled_from(["GET", "HEAD", "PUT"]),
    host=st.sampled_from(["b.s3.eu-west-1.amazonaws.com", "127.0.0.1:5000", "s3.example.org"]),
    path=path,
    query=query,
    headers=headers,
    body=st.binary(max_size=64),
    secret=st.text(string.printable.strip(), min_size=1, max_size=40),
    token=st.sampled_from(["", "FwoGZXIvYXdzE//token=="]),
    region=st.sampled_from(["eu-west-1", "us-gov-west-1", "eusc-de-east-1"]),
    now=st.integers(0, 2**32),
)
def test_request_is_signed_as_botocore_signs_it(
    method: str,
    host: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
    secret: str,
    token: str,
    region: str,
    now: int,
) -> None:
    words = "&".join(f"{name}={value}" for name, value in query.items())
    url = f"https://{host}/{path}" + (f"?{words}" if words else "")
    ours = signed(method, url, headers, body, Keys("AKIDEXAMPLE", secret, token), region, now=now)
    request = AWSRequest(method, url, headers=dict(headers), data=body)
    # What botocore would take from the clock.
    request.context["timestamp"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    request.headers["X-Amz-Content-SHA256"] = ours["x-amz-content-sha256"]
    if token:
        request.headers["X-Amz-Security-Token"] = token
    signer = S3SigV4Auth(Credentials("AKIDEXAMPLE", secret, token or None), "s3", region)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signature = signer.signature(text, request)
    assert ours["authorization"] == (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{signer.scope(request).split('/', 1)[1]}, "
        f"SignedHeaders={signer.signed_headers(signer.headers_to_sign(request))}, "
        f"Signature={signature}"
    )
