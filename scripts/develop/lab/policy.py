"""IAM's decision on one request: does a set of policies allow it?

As the IAM User Guide says in "Policy evaluation logic", "Policy variables" and "Condition
operators", for what the stack's policies use. Whatever else a policy holds is an error, so that
no rule is passed over in silence.

    allows(documents, "s3:GetObject", "arn:aws:s3:::bucket/key", {"aws:userid": "AROA1:i-1"})
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

Document = Mapping[str, Any]


def allows(
    documents: Iterable[Document], action: str, resource: str, context: Mapping[str, str]
) -> bool:
    """Return whether one statement allows it and none denies it.

    Raises:
        ValueError: a policy holds what is not understood here.
    """
    effects = {
        statement["Effect"]
        for document in documents
        for statement in _list(document["Statement"])
        if _applies(statement, action, resource, context)
    }
    return effects == {"Allow"}


def _applies(statement: Document, action: str, resource: str, context: Mapping[str, str]) -> bool:
    unknown = set(statement) - {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
    if unknown or statement.get("Principal", "*") != "*":
        raise ValueError(f"a statement that is not understood here: {statement}")
    return (
        any(_matches(each.lower(), action.lower(), {}) for each in _list(statement["Action"]))
        and any(_matches(each, resource, context) for each in _list(statement["Resource"]))
        and all(
            _holds(operator, key, wanted, context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _holds(operator: str, key: str, wanted: Any, context: Mapping[str, str]) -> bool:
    if operator != "Bool":
        raise ValueError(f"a condition that is not understood here: {operator}")
    return context.get(key) in _list(wanted)


def _matches(pattern: str, value: str, context: Mapping[str, str]) -> bool:
    """Match with * and ?, and with variables, whose values are taken as they are."""
    expression = ""
    for part in re.split(r"(\$\{[^}]*\}|\*|\?)", pattern):
        if part.startswith("${"):
            if part[2:-1] not in context:
                return False
            expression += re.escape(context[part[2:-1]])
        else:
            expression += {"*": ".*", "?": "."}.get(part, re.escape(part))
    return re.fullmatch(expression, value, re.DOTALL) is not None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
