"""Policies to test with: a salt, an environment that holds secrets, and a way to look for what is left.

Lives here: fixtures of this folder. Not here: any secret that exists; every one is made up.
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


@pytest.fixture
def knowing() -> Callable[..., Policy]:
    """`knowing(API_TOKEN="...")`: a policy that knows this environment."""
    return lambda **environment: Policy.for_session(environment, SALT)
