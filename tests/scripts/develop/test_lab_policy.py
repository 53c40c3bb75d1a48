"""The lab's reading of IAM's rules, by which the tests decide what the stack's roles may do."""

import pytest

from develop.lab.policy import allows


@pytest.mark.parametrize(
    ("resource", "key", "allowed"),
    [
        ("arn:aws:s3:::b/fleet/${aws:userid}.json", "fleet/A:i-1.json", True),
        ("arn:aws:s3:::b/fleet/${aws:userid}.json", "fleet/A:i-2.json", False),
        ("arn:aws:s3:::b/fleet/${aws:userid}.json", "fleet/${aws:userid}.json", False),
        ("arn:aws:s3:::b/fleet/${aws:username}.json", "fleet/.json", False),
        ("arn:aws:s3:::b/*/x.deb", "stable/x.deb", True),
        ("arn:aws:s3:::b/*/x.deb", "stable/xxdeb", False),
        ("arn:aws:s3:::b/?.deb", "x.deb", True),
        ("arn:aws:s3:::b/?.deb", "xx.deb", False),
    ],
)
def test_policy_matches_as_iam_does(resource: str, key: str, allowed: bool) -> None:
    policy = {"Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": resource}]}
    context = {"aws:userid": "A:i-1"}
    assert allows([policy], "s3:GetObject", f"arn:aws:s3:::b/{key}", context) is allowed
    assert not allows([policy], "s3:PutObject", f"arn:aws:s3:::b/{key}", context)


def test_variable_with_a_wildcard_in_it_matches_itself_alone() -> None:
    policy = {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "${aws:userid}"}}
    assert allows([policy], "s3:GetObject", "*", {"aws:userid": "*"})
    assert not allows([policy], "s3:GetObject", "other", {"aws:userid": "*"})


def test_policy_that_is_not_understood_is_an_error() -> None:
    for extra in ({"NotResource": "*"}, {"Condition": {"StringLike": {"a": "b"}}}):
        policy = {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", **extra}}
        with pytest.raises(ValueError, match="not understood"):
            allows([policy], "s3:GetObject", "x", {})
