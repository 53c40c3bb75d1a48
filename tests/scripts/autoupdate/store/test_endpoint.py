"""Where a bucket is reached, held against what botocore knows of AWS."""

import botocore.session
import pytest

from autoupdate.store.endpoint import bucket_url


def partitions() -> list[tuple[str, str]]:
    """Return each region, and the domain of its partition."""
    loader = botocore.session.Session().get_component("data_loader")
    return [
        (region, partition["outputs"]["dnsSuffix"])
        for partition in loader.load_data("partitions")["partitions"]
        for region in partition["regions"]
        if not region.endswith("-global")
    ]


@pytest.mark.parametrize(("region", "suffix"), partitions())
def test_region_has_the_domain_of_its_partition(region: str, suffix: str) -> None:
    assert bucket_url("demo", region) == f"https://demo.s3.{region}.{suffix}"


def test_every_partition_is_tried() -> None:
    assert {suffix for _, suffix in partitions()} >= {
        "amazonaws.com", "amazonaws.com.cn", "amazonaws.eu", "c2s.ic.gov", "sc2s.sgov.gov"
    }  # fmt: skip


def test_name_with_dots_is_in_the_path() -> None:
    # AWS's certificate covers one label.
    assert bucket_url("my.demo", "eu-west-1") == "https://s3.eu-west-1.amazonaws.com/my.demo"


@pytest.mark.parametrize("url", ["http://127.0.0.1:5000", "http://127.0.0.1:5000/"])
def test_another_server_is_asked_where_it_is(url: str) -> None:
    assert bucket_url("demo", "eu-west-1", url) == "http://127.0.0.1:5000/demo"
