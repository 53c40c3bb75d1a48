"""The release's text: one spelling, every field bounded, nothing else accepted."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoupdate.release.format import (
    MAX_METADATA_BYTES,
    Release,
    from_metadata,
    to_metadata,
)
from autoupdate.release.signature import ReleaseError

RELEASE = Release(
    package="panorama-server",
    version="1.0-57",
    architecture="amd64",
    sha256="0123456789abcdef" * 4,
    size=4_100_000,
    sequence=12,
    published="2026-11-23T08:10:00Z",
    commit="8c1f9d0",
    channel="stable",
)


def respelled(**changes: Any) -> str:
    fields = {**json.loads(RELEASE.to_json()), **changes}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def test_text_and_release_are_each_others_inverse() -> None:
    assert Release.parse(RELEASE.to_json()) == RELEASE


def test_text_is_compact_sorted_ascii() -> None:
    text = RELEASE.to_json()
    assert text.isascii()
    assert " " not in text
    assert list(json.loads(text)) == sorted(json.loads(text))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("package", ""),
        ("package", "../../etc"),
        ("package", "-x"),
        ("package", "p" * 65),
        ("package", None),
        ("package", ["panorama-server"]),
        ("version", "1.0;reboot"),
        ("version", "v1"),
        ("version", 1.0),
        ("version", "1" * 65),
        ("version", "1.0-5\n"),
        ("version", "1.0-\u0665"),  # a digit, but not an ASCII one
        ("architecture", "AMD64"),
        ("architecture", {}),
        ("sha256", "A" * 64),
        ("sha256", "a" * 63),
        ("size", 0),
        ("size", -1),
        ("size", 2**63),
        ("size", "4100000"),
        ("size", 4.1e6),
        ("size", True),
        ("sequence", 0),
        ("sequence", 2**53),
        ("sequence", False),
        ("sequence", None),
        ("published", "yesterday"),
        ("published", "2026-13-40T99:99:99Z"),
        ("published", "2026-11-23T08:10:00+00:00"),
        ("commit", "HEAD"),
        ("commit", "8C1F9D0"),
        ("commit", 8),
    ],
)
def test_field_out_of_its_bounds_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ReleaseError, match=f"release: {field} is "):
        Release.parse(respelled(**{field: value}))


@pytest.mark.parametrize("field", sorted(json.loads(RELEASE.to_json())))
def test_missing_field_is_named(field: str) -> None:
    fields = json.loads(RELEASE.to_json())
    del fields[field]
    with pytest.raises(ReleaseError, match=f"missing field '{field}'"):
        Release.parse(json.dumps(fields))


def test_unknown_field_is_refused() -> None:
    with pytest.raises(ReleaseError, match="unknown field 'then_run'"):
        Release.parse(respelled(then_run="reboot"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "1",
        "NaN",
        "[" * 1500,
        '{"a":' * 300,
        "9" * 2000,
        RELEASE.to_json() + " ",
        " " + RELEASE.to_json(),
        RELEASE.to_json().replace(":", ": "),
        # A field twice: readers differ on which one counts.
        RELEASE.to_json().replace('"size"', '"sequence":99,"size"'),
        RELEASE.to_json().replace("amd64", "amd\\u00364"),
        RELEASE.to_json().replace("12", "12.0"),
        RELEASE.to_json() + "x" * MAX_METADATA_BYTES,
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ReleaseError):
        Release.parse(text)


@given(st.text(max_size=3000))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        release = Release.parse(text)
    except ReleaseError as error:
        assert "\n" not in str(error)
    else:
        assert release.to_json() == text


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(json.loads(RELEASE.to_json()))), _json_values))
def test_any_field_of_any_type_is_accepted_as_it_is_or_refused(changes: dict[str, Any]) -> None:
    text = respelled(**changes)
    try:
        assert Release.parse(text).to_json() == text
    except ReleaseError as error:
        assert len(str(error)) < 200


def test_release_that_says_untrue_things_cannot_be_made() -> None:
    with pytest.raises(ReleaseError, match="release: size"):
        Release(
            "panorama-server",
            "1.0-1",
            "amd64",
            "0" * 64,
            0,
            1,
            "2026-11-23T08:10:00Z",
            "",
            "stable",
        )


def test_metadata_beyond_what_s3_keeps_is_refused_before_the_upload() -> None:
    with pytest.raises(ReleaseError, match="S3 keeps 2048; sign with an Ed25519 key"):
        to_metadata(RELEASE, "A" * 1900)


def test_metadata_and_its_texts_are_each_others_inverse() -> None:
    metadata = to_metadata(RELEASE, "c2ln")
    assert from_metadata(metadata) == (RELEASE.to_json(), "c2ln")


def test_object_without_a_release_says_how_to_publish() -> None:
    with pytest.raises(ReleaseError, match="published with make deploy"):
        from_metadata({})
