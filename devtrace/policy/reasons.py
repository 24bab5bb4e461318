"""Why a rule hides what it hides, in plain words, by the rule's id.

Lives here: the words. Not here: the rules. Standard library only.
"""

from __future__ import annotations

RULE_REASONS: dict[str, str] = {
    "private-key": "a private key, whole or in part",
    "url-password": "the password, or a token in the user's place, of a URL",
    "secret-variable": "the value of a name that says it is a secret",
    "known-value": "a secret of your environment or credential files, or one that was masked before",
    "command-password": "the place in a command where its password stands",
    "piped-password": "it is piped to a command that reads a password",
    "prompt-answer": "a script sends it where a password is asked for",
    "authorization": "the credential of an Authorization header",
    "cookie": "a cookie that looks like a session's",
    "netrc-password": "the password of a machine, as netrc has it",
    "npm-auth": "the credentials of a registry, as .npmrc has them",
    "docker-auth": "user and password in base64, as Docker's configuration has them",
    "pgpass-password": "the password of a database, as .pgpass has it",
    "connection-password": "the password of a connection string",
    "password-hash": "the hash of a password, from which it can be guessed",
    "cut-value": "it may be the rest of a secret whose beginning was not kept",
}


def reason_of(rule: str) -> str:
    """One line; a rule that is none of ours is the user's own."""
    from devtrace.policy.tokens import RULE_IDS

    if rule in RULE_IDS:
        return f"it has the form of a {rule.replace('-', ' ')}: its prefix, its alphabet, its length"
    return RULE_REASONS.get(rule, f"a rule of your own, policy.rules.{rule}")
