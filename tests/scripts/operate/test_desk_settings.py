"""The kinds of settings, and the table: what each may be, told in words."""

import pytest

from operate import kinds, settings
from operate.settings import SETTINGS, SettingsError


@pytest.mark.parametrize(
    "name", ["releases", "releases-acme", "releases.acme.example", "abc", "a" * 63, "1-2", "xn-a"]
)
def test_names_that_a_bucket_may_have(name: str) -> None:
    assert kinds.bucket(name) == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ab", "use 3 to 63"),
        ("a" * 64, "use 3 to 63"),
        ("Releases", "lower-case"),
        ("releases_acme", "use 3 to 63"),
        ("s3://releases", "without s3://"),
        ("releases/", "or a folder"),
        ("-releases", "begin and end"),
        ("releases-", "begin and end"),
        (".releases", "begin and end"),
        ("re..leases", "two dots"),
        ("192.168.5.4", "IP address"),
        ("xn--releases", "begin with xn--"),
        ("sthree-releases", "begin with sthree-"),
        ("amzn-s3-demo-bucket", "begin with amzn-s3-demo-"),
        ("releases-s3alias", "end with -s3alias"),
        ("releases--ol-s3", "end with --ol-s3"),
        ("releases.mrap", "end with .mrap"),
        ("releases--x-s3", "end with --x-s3"),
        ("releases--table-s3", "end with --table-s3"),
    ],
)
def test_names_that_no_bucket_may_have(name: str, words: str) -> None:
    assert words in kinds.bucket(name)


def test_bucket_of_a_stack_leaves_room_for_that_of_the_pictures() -> None:
    assert kinds.stack_bucket("a" * 54) == ""
    assert "-pictures" in kinds.stack_bucket("a" * 55)


@pytest.mark.parametrize(
    "name", ["us-east-1", "eu-central-1", "us-gov-west-1", "ap-southeast-5", "eusc-de-east-1",
             "us-isob-east-1", "cn-northwest-1", "me-central-1"]
)  # fmt: skip
def test_regions(name: str) -> None:
    assert kinds.region(name) == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("eu-west-1a", "that is a zone; its region is eu-west-1"),
        ("Frankfurt", "written like us-east-1"),
        ("us-east", "written like us-east-1"),
        ("US-EAST-1", "written like us-east-1"),
        ("us_east_1", "written like us-east-1"),
        ("https://s3.eu-west-1.amazonaws.com", "written like us-east-1"),
    ],
)
def test_what_is_no_region(name: str, words: str) -> None:
    assert words in kinds.region(name)


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("Ann <ann@example.org>", True),
        ("Ann O'Hara, Acme <ops@acme.example>", True),
        (kinds.EXAMPLE_MAINTAINER, False),
        ("ann@example.org", False),
        ("Ann <ann>", False),
        ("Ann <ann@example.org>\nEvil: yes", False),
    ],
)
def test_who_answers_for_a_package(text: str, fine: bool) -> None:
    assert (kinds.own_maintainer(text) == "") is fine


def test_table_is_whole() -> None:
    names = [each.name for each in SETTINGS]
    assert len(names) == len(set(names))
    for each in SETTINGS:
        assert each.doc and (each.needed_by or each.taken_by), each.name
        if each.default:
            for verb in each.needed_by | each.taken_by:
                assert each.problem(verb, each.default) == "", each.name


def test_all_problems_are_in_one_message() -> None:
    with pytest.raises(SettingsError) as raised:
        settings.read("scale", {"NAME": "-", "REGION": "moon", "N": "2"})
    lines = str(raised.value).splitlines()
    assert lines[0] == "3 settings are missing or wrong:"
    assert [line.split()[0] for line in lines[1:]] == ["NAME", "REGION", "ROLE"]


def test_verb_gets_its_own_settings_with_their_defaults() -> None:
    found = settings.read("scale", {"NAME": "tiny", "ROLE": "web", "N": "2", "BUCKET": "-"})
    assert found["REGION"] == "us-east-1"
    assert "BUCKET" not in found
