"""Policies to test with: a salt, an environment that holds secrets, and a way to look for what is left.

Lives here: fixtures of this folder, what no rule may take long for. Not here: any secret that exists.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from devtrace.policy.chain import Policy

SALT = bytes(range(32))


@pytest.fixture
def policy() -> Policy:
    """The rules, and nothing known of the environment."""
    return Policy.for_session({}, SALT)


def takes_no_rule_for_ever(policy: Policy, hostile: str) -> None:
    """A pattern that backtracks without an end would run into the timeout of the suite."""
    endings = ("a " * 20_000, "a" * 40_000, "-" * 40_000)
    for text in (hostile * 3000, f"{hostile}\n" * 3000, *(hostile + ending for ending in endings)):
        policy.redact_text(text)

    assert "policy-failure" not in policy.counts


@pytest.fixture
def knowing() -> Callable[..., Policy]:
    """`knowing(API_TOKEN="...")`: a policy that knows this environment."""
    return lambda **environment: Policy.for_session(environment, SALT)
