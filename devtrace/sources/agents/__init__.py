"""Coding agents: what their hooks send and what their transcripts hold, as facts in one form.

base.py the form of a fact, and finding an adapter · one file for each client: claude_code.py codex.py ...

An adapter is a module with these names, of which those that a client knows nothing of are left out:

    NAME, TITLE     as `--agent` takes it (config.AGENTS), and for people
    COMMANDS        the programs by which it is started
    parse           a hook's payload becomes facts
    hooks           the files that make the client call our hook, as they have to be
    transcripts     the client's own records of its work in a directory
    read            one of them becomes facts
    unwrapped       what the client's shell was told, without what the client puts around it

Not here: what becomes of facts (services/agent_hook.py, services/agents.py).
Standard library only, no dataclass: the hook process imports this.
"""
