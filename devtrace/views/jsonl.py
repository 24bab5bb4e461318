"""JSON lines: one object a line, ASCII only, with documented fields.

ASCII only means that whatever a recorded text holds, control characters and bidi marks included, is an
escape in the line: it is safe to print, and any JSON reader gives the text back.

Lives here: the line of each kind of record, and what its fields mean (`FIELDS`, from which
docs/reference/json.md is generated). Not here: which records there are (query/).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from devtrace.views.probe_fields import PROBE, PROBE_SET, PROGRAM

_EVENT = {
    "record": "`event`",
    "seq": "the order of the record in its store; null while the command runs",
    "session": "the session's id: 32 hex digits, a W3C trace id",
    "id": "16 hex digits, a W3C span id, unique in its session",
    "parent": "the event it happened in; null: directly in the session",
    "kind": "see [the events](events.md)",
    "actor": "`human`, or `agent:<name>`",
    "started_us": "microseconds since the Unix epoch, UTC",
    "ended_us": "the same; null: it runs, or its end was never seen",
    "recorded_us": "when it was written to the store",
    "status": "`running`, `ok`, `failed`, `stopped` (set aside, as by Ctrl-Z; it may have gone on later),"
    " `interrupted` (no end was seen), `unknown` (nobody said how)",
    "title": "one line or more: the headline",
    "cwd": "the directory it happened in",
    "exit_code": "as the shell says it: 128+n for signal n; null: not known, or not a thing that exits",
    "source": "which channel told us: `interactive`, `bash_env`, `zshenv`, `fifo`, `host`, `cli`, `worktree`,"
    " `recorder`, `probe`, or an agent's own word: `hook`, `transcript`",
    "exit_source": "who told us the end: `shell`, `next_prompt`, `waitpid`, `pidfd`, `recorder`, `unknown`",
    "trusted": "2: carried the session's nonce; 1: from the session's process tree; 0: neither",
    "data": "an object of the kind's own fields; `<field>_b64` holds the true bytes of a text that was not"
    " UTF-8; `blobs` names kept bytes by their digests; `truncated` tells the true bytes of texts that lost"
    " their middle, `dropped` the setting for which its outputs were not kept",
    "hash": "SHA-256 over the previous hash of the session and this event",
}  # fmt: skip
_FOUND = {
    **_EVENT,
    "record": "`found`: an event",
    "where": "the field of the excerpt: `title` (the command, the tool), `paths`, `said`, `input` (of a"
    " tool), `output` (the end of it, of what failed)",
    "snippet": "the line of that field that has most of what was searched for",
    "marks": "an array of `[from, to]`: what was searched for, in characters of `snippet`",
    "missing": "an array: what was searched for and the event does not have",
    "how": "`words` (all of it, by the forms of words), `substring` (all of it, some as a part of a word or a"
    " path), `some words`",
}
_SESSION = {
    "record": "`session`",
    "id": "32 hex digits, a W3C trace id",
    "kind": "`shell`, `run`, `recorder` (a Python program), `probe` (one that was asked), or `import`",
    "parent_session": "the session in which it was started",
    "parent_event": "the command that started it",
    "agent": "the name given by `--agent`",
    "actor": "`human`, or `agent:<name>`",
    "title": "the label given by `--label`",
    "repo_root": "the repository's root",
    "cwd": "the directory it started in",
    "shell": "bash, zsh or fish, or the program's name",
    "host": "the machine",
    "branch": "the branch that was checked out at the start",
    "head_start": "the commit at the start",
    "head_end": "the commit at the end",
    "started_us": "microseconds since the Unix epoch, UTC",
    "ended_us": "the same; null: it runs, or was interrupted",
    "status": "`active`, `ended`, or `interrupted`",
    "exit_code": "of the shell or program",
    "n_events": "how many events were recorded, those that were pruned since included",
    "n_failed": "how many of them failed",
    "meta": "an object: the terminal's size and type, the techniques that were chosen and why",
}
_OUTPUT = {
    "record": "`output`",
    "session": "the session's id",
    "event": "the command's id",
    "text": "what was printed, without escape sequences, lines as they were left standing",
    "seen": "bytes the command wrote",
    "head": "bytes kept from the start",
    "tail": "bytes kept from the end; 0: nothing was cut",
    "truncated": "whether something between the two is not kept",
}
_TOTALS = {
    "record": "`totals`",
    "commands": "how many commands ran, nested ones included",
    "nested": "how many of them ran inside another command",
    "failed": "how many failed",
    "stopped": "how many were set aside, as by Ctrl-Z",
    "interrupted": "how many have no known end",
    "time_us": "microseconds they took, without the nested ones, which lie inside others",
    "sessions": "in how many sessions",
    "bytes": "without `--global`, an object: `database`, in it `outputs` (`n_outputs` of them), `checkpoints`"
    " (`n_checkpoints`), `spool`; `n_pruned`: events of which a stub is left",
    "stores": "with `--global`: the stores that were read",
    "missing": "with `--global`: the registered stores that could not be read",
}
_COMMAND = {
    "record": "`command`",
    "command": "the program, with its verb where it has verbs: `git push`; `(private)` for all private ones",
    "commands": "how many times it ran",
    "failed": "how many of them failed",
    "time_us": "microseconds they took",
}
_AGENT = {"record": "`agent`", "agent": "the name given by `--agent`"} | {
    name: meaning for name, meaning in _TOTALS.items() if name not in ("record", "bytes", "stores", "missing")
}
_SETTING = {
    "record": "`setting`",
    "key": "its name",
    "value": "what is in force",
    "default": "what it would be",
    "set": "whether config.toml names it",
    "meaning": "what it does",
}
_FINDING = {
    "record": "`finding`",
    "section": "`platform`, `shells`, `store`, `sessions`, `settings` or `environment`",
    "what": "what was looked at",
    "chosen": "what was found, or what is done",
    "because": "why; empty where there is nothing to explain",
    "state": "`ok`, `note` (a fallback, or something absent), or `problem`",
}
_FILE = {
    "record": "`file`",
    "path": "seen from the working tree's root; `path_b64` beside it holds the true bytes of one that is not"
    " UTF-8",
    "old_path": "before it was renamed; null: it was not",
    "change": "`added`, `modified`, `deleted`, `renamed`, `mode`, or `ignored` (there, but not tracked)",
    "old_oid": "git's id of the content before; null: it was not there",
    "new_oid": "git's id of the content after; null: it is not there",
    "old_mode": "as a number, 33188 for a plain file; null: it was not there",
    "new_mode": "the same, after; null: it is not there",
    "added": "lines; null: binary, or the content is not kept",
    "deleted": "the same",
    "binary": "whether it is no text",
    "withheld": "why the content is not kept whole: `path`, `secret`, `size`, ...; null: it is",
    "kept": "whether both contents are still kept",
    "events": "an array: SESSION/EVENT of the edits that made it so",
    "others": "an array: SESSION/EVENT of other edits in between, whose changes are in it too",
    "patch": "as `git diff` writes it; `patch_b64` beside it holds the true bytes of one that is not UTF-8",
}
_LINE = {
    "record": "`line`",
    "path": "relative to the working tree's root; `path_b64` beside it holds the true bytes of one that is"
    " not UTF-8",
    "line": "its number, from 1",
    "text": "without its newline; U+FFFD for what is no UTF-8",
    "event": "the `edit_files` event that brought it; null: no event did",
    "session": "the session whose command or tool did it; null: that is not known, or it was none",
    "actor": "`human`, or `agent:<name>`; `unknown`: an agent's own command ran, and no tool call names the"
    " path; null where no session is known",
    "agent": "the name given by `--agent`, or that of the agent whose call it was",
    "when_us": "when it was changed at the latest, microseconds since the Unix epoch; null without an event",
    "command": "the command or tool that did it",
    "attribution": "as in the event: `command`, `tool`, `restore`, `background`, `outside`, `ambiguous`",
    "confidence": "how sure that is: `window`, `inside`, `claim`, `none`",
    "candidates": "who it may have been, as SESSION/EVENT, or `background`; null: that is no question",
    "status": "`recorded`, `outside`, `background`, `ambiguous`, `before` (recording began), `gap` (it came"
    " in where the record has a hole), `unrecorded` (since the last recorded state), `withheld` (what is"
    " kept of it was redacted), `pruned` (an edit that was pruned, or `before`)",
    "by_time": "whether only the time connects an agent with the change: neither its call nor its command"
    " names the path",
    "call": "SESSION/EVENT of the agent's tool call that did it; null: none is known, or it may be one of"
    " several",
    "tool": "its tool, as the agent names it",
    "prompt": "SESSION/EVENT of the prompt that it was called under; null: that is not recorded",
    "reason": "what the agent said before the call, quoted; null: it stated no reason",
}
_WHY = {
    **_LINE,
    "record": "`why`",
    "edit": "the event as in a record `event`, its list of changes left out; null: no event brought the line",
    "calls": "the tool calls that it may have been, as in a record `call`",
    "commands": "events: the command or tool that did it, then those around it, the outermost last",
    "of_session": "the session as in a record `session`; null: that is not known, or it was none",
    "suspects": "events: the commands that it may have been, where it is ambiguous",
    "commit": "the first `git_commit` event to a commit that holds the line in that file; null: unknown",
    "replaced": "the line whose place it took in the same edit, as in a record `line`; null: there was none",
}
_CALL = {
    "record": "`call`",
    "session": "the session in which it was told",
    "event": "SESSION/EVENT of its `tool_call` event, the hook's where there is one",
    "events": "an array: the same of all events that tell of it",
    "told_by": "an array: `hook`, `transcript`",
    "started_us": "microseconds since the Unix epoch, UTC",
    "ended_us": "the same; null: its end was not told",
    "status": "as in a record `event`, by its own account",
    "agent": "the agent's name",
    "native": "the agent's own id of its session",
    "call": "its id of the call; null: it has none",
    "turn": "its id of the prompt that the call belongs to",
    "subagent": "its id of the subagent that made the call; null: it made it itself",
    "starts": "its id of the subagent that the call started",
    "tool": "as the agent names it",
    "does": "`shell`, `edit`, `read`, `search`, `subagent`, `mcp` or `other`",
    "command": "the command that the agent says it ran; null: it ran none",
    "paths": "an array: the files that it says it wrote or read",
    "input": "as JSON",
    "result": "as it was told; null: it was not",
    "exit_code": "as the agent says; null: it does not say",
    "interrupted": "whether it says that it was interrupted",
    "model": "as the agent names it",
    "cwd": "the directory that it was called in",
    "prompts": "an array of what it was told by, its own prompt first, the person's last: `session`, `event`,"
    " `when_us`, `subagent`, `text`",
    "reason": "what was said last before the call and after the one before it, in the same form; null:"
    " nothing",
    "ran": "an array of the commands that its shell really ran, the likeliest first: `event` (SESSION/EVENT),"
    " `command`, `exit_code`; null: none was seen",
    "edits": "an array of what changed by it: `event` (SESSION/EVENT), `paths`, and `confidence`: `call` (it"
    " stands under the call), `command` (under a command that it ran), `claim` (it changed while the call"
    " ran, and the call says that it writes that path), `candidate` (the record names several that may have"
    " made it, and all of them are calls)",
    "differs": "an array: the fields in which hook, transcript and what was seen to run disagree",
}

# Each record: which commands write it, and its fields in their order.
_VERIFY = {
    "record": "`verify`",
    "session": "the session's id; null: what is kept of all of them",
    "event": "the event at which it shows; null: the session as a whole",
    "what": "`changed`, `removed`, `inserted`, `reordered`, `truncated`, `seal`, `unsealed`, `blob_missing`,"
    " `blob_changed`, `index`, `refs`, `no_session`, `count`, `stub`, `back_dated`, `anchor` (a seal is not"
    " the one in seals.log), `anchor_file`, `unanchored`, `copy` (a seal is not the one in the copy),"
    " `copy_file`, `signature`, `unverified`",
    "number": "how many",
    "doubt": "whether it may have an innocent reason",
}
_LATE = {
    "record": "`late`",
    "session": "the session's id",
    "seals": "how many seals were put on it after its first",
    "events": "how many events stand under those, pruned ones included",
    "since_us": "when the first of them began, microseconds since the Unix epoch; null: none is left",
    "until_us": "when the last of them was over; null: none is left",
}
_SIGNATURE = {
    "record": "`signature`",
    "session": "the session's id",
    "seal": "the number of the seal that was signed",
    "head": "whether that is the session's last seal",
    "state": "`good`, `bad` (a finding too), `unchecked` (ssh-keygen is missing or too old)",
    "key": "the fingerprint of the key; null: it is not good",
    "principal": "whose key that is, by git's allowed signers; null: nobody vouched for it",
}
_VERIFIED = {
    "record": "`verified`",
    "sessions": "how many were checked",
    "events": "how many of their events",
    "seals": "how many of their seals",
    "blobs": "how many kept outputs, each once",
    "pruned": "how many events were pruned, and are in the chain as stubs",
    "dropped": "of how many events the outputs were pruned",
    "findings": "how many things were found, listed or not",
    "sound": "whether nothing was found that has no innocent reason",
    "anchored": "how many seals stand in seals.log as they stand in the database; null: it is not there",
    "compared": "how many seals the copy named by `--against` holds; null: none was named",
    "sealed": "how many sessions have a seal",
    "signed": "how many of them have a good signature of their last seal",
    "heads": "the hash of the last event of the session that was asked for, by its id",
}

_HIDDEN = {
    "record": "`hidden`",
    "line": "in which it begins, counted from 1",
    "column": "at which it begins, counted in bytes from 1",
    "rule": "the rule's id",
    "tag": "the same for the same secret: 8 hex digits; null: there is no store, or no salt",
    "text": "the line as it would be kept",
    "why": "the rule in plain words",
}
_EXAMINED = {
    "record": "`examined`",
    "lines": "of the text",
    "size": "of the text, in bytes",
    "hidden": "how many secrets",
    "by_name": "whether a file of that name leaves an HMAC and nothing else",
}

_HOOKS = {
    "record": "`hooks`",
    "agent": "its name, as `--agent` takes it",
    "title": "its name for people",
    "program": "the path of its program; null: it is not on PATH, or DevTrace knows none",
    "hooks": "`all`, `some` or `none` of ours are in place; `unreadable`: its settings file is; `unknown`: no"
    " hooks of that agent are known",
    "current": "whether they are those that this devtrace would write; null: there are none",
    "trusted": "whether the agent says that it runs them; null: it does not say, or there are none",
    "heard_us": "when they last told something, microseconds since the Unix epoch; null: never",
    "files": "where they belong, relative to the repository",
}
_SPAN = {
    "record": "`span`: lines of one origin, one behind the other",
    "path": "as in a record `line`",
    "start": "the first line, from 1",
    "end": "the last",
    "class": "`observed` (by a tool call or command), `checkpoint` (seen to change, and not by what),"
    " `human`, `before` (recording), `unexplained`",
    "why": "what the record says: `tool`, `command`, `time` (an agent's command ran then, and names no such"
    " path), `client` (an agent's own command ran then, and no tool call names the path), `restore`,"
    " `background`, `ambiguous`, `outside`, `gap`, `withheld`, `pruned`, `before`, `commit` (its commit is"
    " older than the recording), `unseen` (nothing that was recorded holds it), or why the file cannot be"
    " compared",
    "event": "the `edit_files` event that brought them; null: no event did",
    "session": "as in a record `line`, as are those below; null where the class is `before` or `unexplained`",
    "actor": "`human`, or `agent:<name>`",
    "call": "SESSION/EVENT of the agent's tool call",
    "prompt": "SESSION/EVENT of its prompt",
    "reason": "what the agent said before it, quoted",
}
_CONCERN = {
    "record": "`concern`: something to look at",
    "kind": "`test_deleted`, `test_weakened`, `test_skipped`, `no_verify`, `secret` (printed, or given to an"
    " agent), `claim` (an agent says something else than what was seen), `failed` (and never repeated"
    " successfully before the commit), `undone`, `outside` (the repository), `gap`, `hooks` (an agent without"
    " any, or that were not heard)",
    "text": "one sentence",
    "path": "the file; null: it is about none",
    "session": "where it was recorded; null: the range itself tells",
    "event": "the first event, or the last failure",
    "count": "how many",
}
_AUDITED = {
    "record": "`audited`",
    "range": "as it was asked for; null: a session was",
    "base": "the commit that the change begins at, not in it; null: nothing was before it",
    "head": "the commit that it ends with",
    "session": "the session that was asked for; null: a range was",
    "lines": "an object: new lines by class",
    "total": "new lines",
    "explained": "those of the classes `observed`, `checkpoint` and `human`",
    "percent": "of them; null: there are no new lines",
    "deleted": "lines that are gone: they are in no class",
    "binary": "an object: files that are no text by class, each counted once",
    "withheld": "the same of files whose content is not kept, so that they have no lines to compare",
    "whole": "an array of both: `path`, `class`, and `why` its content is not kept (`size`, `path`, ...;"
    " null: it is no text)",
    "sessions": "an array: the sessions in which the change was made",
}

_TRACE = {
    "record": "`trace`",
    "session": "the trace's own session",
    "event": "its `python_trace` event; null: there is none (any more)",
    "parent": "SESSION/EVENT of the command that started it, or SESSION alone; null: none",
    "status": "as in a record `event`; `unknown`: the program ended without a word",
    "title": "its command line",
    "started_us": "microseconds since the Unix epoch, UTC",
    "duration_us": "microseconds; null: it runs, or its end was not seen",
    **dict.fromkeys(
        (
            "exit_code", "argv", "cwd", "executable", "python", "pid", "engine", "engine_because", "detail",
            "label", "metrics", "trace_filter", "n_events", "n_calls", "n_exceptions", "n_threads",
            "n_folded",
        ),
        "see [the events](events.md#python_trace)",
    ),
    "gaps": "an array of the reasons for which something is missing",
    "threads": "an array: `stream`, `name`, `n_events`",
    "children": "an array of the recorded programs that it started: `session`, `title`",
    "io": "an object by `stdout`, `stderr`, `stdin`, as far as they were used: `chunks`, `bytes`, `lines`,"
    " and in bytes `mirror` (of it from below Python) and `unflushed` (that never reached the descriptor)",
}  # fmt: skip
_VALUE = "a value in [its typed form](#values)"
_TRACE_CALL = {
    "record": "`trace_call`",
    "session": "the trace's session",
    "stream": "the number of its thread",
    "thread": "the thread's name",
    "task": "the asyncio task that it began in; null: in none, or in that of the call around it",
    "event": "the number in the stream of the event that began it",
    "last_event": "of the one that ended it; null: its end was not seen",
    "parent": "`event` of the call around it; null: there is none",
    "depth": "how many recorded calls were around it",
    "name": "the function's qualified name",
    "module": "its module",
    "path": "its file",
    "line": "its first line",
    "arguments": "an array of name and value; null: they are not kept, or were not read",
    "result": f"{_VALUE}; null, too, where there is none",
    "how": "`return`, `unwind` (by an exception), `open` (it was at work when the recording ended), `lost`",
    "started_ns": "since the trace began",
    "duration_ns": "nanoseconds; null: its end was not seen",
    "folded": "an array of calls in it that have no line: `name` (null: of several functions), `count`,"
    " `total_ns`",
}
_TRACE_FRAME = {
    "record": "`trace_frame`",
    "session": "the trace's session",
    "stream": "the number of its thread",
    "call": "which call of the function it is, from 1",
    "calls": "how many there are",
    "name": "the function's qualified name",
    "module": "its module",
    "path": "its file",
    "line": "its first line",
    "event": "the number in the stream of the event that began it",
    "arguments": "an array of name and value",
    "stack": "an array of the callers, the outermost first: `name`, `path`, `line` (0: not known)",
    "how": "as in a record `trace_call`",
    "duration_ns": "nanoseconds; null: its end was not seen",
    "result": f"{_VALUE}; null, too, where there is none",
    "is_cut": "whether more lines ran than the records `trace_line` that follow: see `--limit`",
}
_TRACE_LINE = {
    "record": "`trace_line`: a line that ran",
    "session": "the trace's session",
    "stream": "the number of its thread",
    "call": "`event` of the call",
    "path": "the file",
    "event": "its number in the stream",
    "line": "the line",
    "values": "an array of the variables that it changed, name and value; of one that is no more the name",
    "told": "an array of what became of it, and a value: `returned`, `yielded`, `resumed`, `raised`,"
    " `caught`, `thrown into`, `left` (by an exception), `printed`, `read`",
}
_TRACE_HIT = {
    "record": "`trace_hit`: how often a line ran",
    "session": "the trace's session",
    "name": "the function's qualified name",
    "module": "its module",
    "path": "its file",
    "first": "its first line",
    "n_calls": "how often it was called",
    "line": "the line",
    "hits": "how often it ran",
}
_TRACE_EXCEPTION = {
    "record": "`trace_exception`",
    "session": "the trace's session",
    "stream": "the number of its thread",
    "thread": "the thread's name",
    "event": "the number in the stream of the event that raised it",
    "type": "its class",
    "message": "its text",
    "name": "the function that raised it",
    "path": "its file",
    "line": "where; 0: not known",
    "at_ns": "nanoseconds since the trace began",
    "value": _VALUE,
    "variables": "an array of the variables of its frame, name and value; null: they are not kept",
    "is_whole": "whether those are all; else what was set long before is missing",
    "stack": "an array of the callers, the outermost first: `name`, `path`, `line` (0: not known)",
    "caught": "where it was caught: `name`, `path`, `line`, `event`; null: by nothing recorded",
}
_TRACE_IO = {
    "record": "`trace_io`: what a thread printed or read in one step, of several lines each one",
    "session": "the trace's session",
    "n": "its number in the stream, from 1",
    "stream": "the number of its thread; of what came from below Python, one that is no thread's",
    "thread": "the thread's name",
    "task": "the asyncio task that was at work; null: none",
    "channel": "`stdout`, `stderr` or `stdin`",
    "path": "the file of the function that did it; null: not known",
    "line": "its line; null: not known",
    "function": "the function's qualified name; null: not known",
    "frame": "the number in the stream of the event that began its call; null: not known",
    "event": "how many events of the stream are in front of it: the step that did it is one less, or earlier",
    "at_us": "microseconds since the Unix epoch, UTC",
    "flags": "an array of why it ends there, or what it is: `newline`, `flush`, `step_boundary`, `time_split`"
    " (5 ms passed), `input`, `mirror` (from below Python), `unflushed` (it never reached the descriptor)",
    "size": "bytes",
    "text": "the bytes as text; null: they are no UTF-8, or no longer kept",
    "base64": "the bytes, where they are no UTF-8; null: see `text`",
}
_TERMINAL = {
    "record": "`terminal`: what a program printed beside what the terminal showed of its command",
    "session": "the trace's session",
    "event": "SESSION/EVENT of the command",
    "title": "the command",
    "confidence": "`approximate`: the terminal changes bytes, echoes, and cannot tell who wrote",
    "n_lines": "lines that the program printed, as far as they were compared",
    "n_found": "how many of them stand there, of each channel in their order",
    "n_bytes": "bytes of the terminal's record that are kept, each CR LF counted as one",
    "n_elsewhere": "how many of them no line of the program covers",
    "is_whole": "whether all was compared; else one of the two was cut, or is too long",
}
_TRACE_MATCH = {
    "record": "`trace_match`: a text in what a program was doing, each variable once, each place that printed"
    " it once",
    "session": "the trace's session",
    "stream": "the number of its thread",
    "thread": "the thread's name",
    "event": "the number in the stream of the event with which it was seen",
    "what": "`value`, `argument`, `result`, `exception`; `printed` or `read` (the line that holds it)",
    "channel": "`stdout`, `stderr` or `stdin`; null: it is a value",
    "variable": "its name; null: it is none",
    "name": "the function",
    "path": "its file",
    "line": "the line that did it",
    "value": _VALUE,
    "count": "how often it held the text, as far as was read",
    "traces": "in how many traces the same was found; this is the newest",
    "stack": "an array of the callers, the outermost first: `name`, `path`, `line` (0: not known)",
    "stores": "an array of the values that the variable had before, the oldest first: `line`, `value`",
    "same": "an array of other variables that held it then, here and in the caller: `name`, `variable`,"
    " `value`",
    "command": "what started the program: `session`, `event`, `title`, `actor`; null: that is not known",
}

FIELDS: dict[str, tuple[str, dict[str, str]]] = {
    "event": ("`show`, `log` and `export --format jsonl`", _EVENT),
    "found": ("`search`, the best match first", _FOUND),
    "session": ("`sessions`, and the first line of `show` of a session", _SESSION),
    "output": ("`show --output`", _OUTPUT),
    "trace": ("`show` of a recorded program, in the first line", _TRACE),
    "trace_call": ("`show` of a recorded program", _TRACE_CALL),
    "trace_frame": ("`show --lines`, in the first line", _TRACE_FRAME),
    "trace_line": ("`show --lines`", _TRACE_LINE),
    "trace_hit": ("`show --lines --all`", _TRACE_HIT),
    "trace_exception": ("`show --exceptions`", _TRACE_EXCEPTION),
    "trace_io": ("`show --io`, a chunk a line, in the order of time", _TRACE_IO),
    "terminal": (
        "the last line of `show --io`, where nothing is narrowed and the command's output is kept",
        _TERMINAL,
    ),
    "trace_match": ("`why --text`, behind the lines", _TRACE_MATCH),
    "file": ("`diff`", _FILE),
    "totals": ("the first line of `stats`", _TOTALS),
    "command": ("`stats`, the most frequent first", _COMMAND),
    "agent": ("`stats`, after the programs", _AGENT),
    "setting": ("`config list` and `config get`", _SETTING),
    "finding": ("`doctor`", _FINDING),
    "line": ("`blame`, and `why --text`, where `line` counts in the version that brought it", _LINE),
    "why": ("`why`", _WHY),
    "call": ("`why`, within its record", _CALL),
    "span": ("`audit`", _SPAN),
    "concern": ("`audit`, behind the spans", _CONCERN),
    "audited": ("the last line of `audit`", _AUDITED),
    "verify": ("`verify`, one for each thing that was found", _VERIFY),
    "late": ("`verify`, one for each session into which something came after its seal", _LATE),
    "signature": ("`verify`, one for each signature", _SIGNATURE),
    "verified": ("the last line of `verify`", _VERIFIED),
    "hidden": ("`policy test`, one for each secret", _HIDDEN),
    "examined": ("the last line of `policy test`", _EXAMINED),
    "hooks": ("`agent list`", _HOOKS),
    "probe_set": ("`probe add`, one line at its end", PROBE_SET),
    "probe": ("`probe list`", PROBE),
    "program": ("`probe ps`", PROGRAM),
}

# The typed form of values of recorded programs. What stands for itself: null, true, false, and numbers and
# texts that are exact and short. A list that is shorter than its length was cut.
VALUES: dict[str, str] = {
    '`["str", length, "start"]`': "a text that was cut",
    '`["bytes", length, "base64"]`, `["bytearray", ...]`': "bytes, or their start",
    '`["int", "digits"]`': 'an integer beyond 2^53; `["int", "0x...", bits]`: the upper 64 of so many bits',
    '`["float", "nan"]`': "`nan`, `inf` or `-inf`",
    '`["complex", real, imaginary]`': "both as floats",
    '`["list", length, [...]]`': "so do `tuple`, `set`, `frozenset` and `deque`",
    '`["dict", length, [[key, value], ...]]`': "in its order",
    '`["object", "module.Class", id, [["field", value], ...]]`': "an instance, by its attributes",
    '`["exception", "module.Class", [...]]`': "with its arguments",
    '`["enum", "module.Class", "NAME", value]`': "a member",
    '`["array", "module.Class", [shape], "dtype"]`': "without its items",
    '`["text", "module.Class", "1.10"]`': "a decimal, a date: what says itself best by its text",
    '`["range", start, stop, step]`': "a range",
    '`["type", "name"]`, `["function", "name"]`, `["module", "name"]`': "by their names",
    '`["sub", "module.Class", value]`': "an instance of a subclass of a builtin",
    '`["ref", levels]`': "a cycle: the container so many levels up",
    '`["deep"]`': "deeper than is kept",
    '`["opaque", "module.Class", id]`': "nothing of it can be read without running code",
    '`["redacted", "why"]`, `["dropped"]`': "withheld by a filter or a rule",
}


def line(record: str, fields: Mapping[str, Any]) -> str:
    """One object as one line, without its newline; `record` says what it is."""
    return json.dumps({"record": record, **fields}, separators=(",", ":"))
