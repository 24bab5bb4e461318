#!/bin/sh
# DevTrace in the shells of Claude Code, which runs this with the whole command line where it is named in
# CLAUDE_CODE_SHELL_PREFIX: for each command, hook and server of its own.
#
# Its versions differ in what they leave in the environment of these shells: what records them is put back.
# Each line runs in the shell that it was written for, in place of this one.

if [ -n "${DEVTRACE_SESSION-}" ] && [ -z "${BASH_ENV-}" ]; then
  BASH_ENV=${0%/*}/nested.bash
  export BASH_ENV
fi
case $1 in
  *snapshot-zsh-*' && pwd -P >| '*) exec "${CLAUDE_CODE_SHELL:-zsh}" -c "$1" ;;
  *' && pwd -P >| '*) exec "${CLAUDE_CODE_SHELL:-bash}" -c "$1" ;;
esac
exec /bin/sh -c "$1"
