"""Where a bucket is reached: its address, by region and partition."""

# The domain of each partition that is not AWS's first, by what its regions begin with
# (botocore's partitions.json, dnsSuffix and regionRegex; a test holds this against it).
_DOMAINS = {
    "cn-": "amazonaws.com.cn",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "eu-isoe-": "cloud.adc-e.uk",
    "us-isof-": "csp.hci.ic.gov",
}


def bucket_url(bucket: str, region: str, endpoint_url: str = "") -> str:
    """Return the URL below which the bucket's keys lie, without a slash at its end.

    `endpoint_url`, if any, is another S3 server than AWS's.
    """
    if endpoint_url:
        return f"{endpoint_url.rstrip('/')}/{bucket}"
    found = (domain for start, domain in _DOMAINS.items() if region.startswith(start))
    domain = next(found, "amazonaws.com")
    # AWS's certificate covers one label before s3 (Amazon S3 User Guide, Virtual hosting).
    if "." in bucket:
        return f"https://s3.{region}.{domain}/{bucket}"
    return f"https://{bucket}.s3.{region}.{domain}"
