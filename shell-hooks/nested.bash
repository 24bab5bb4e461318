# shellcheck shell=bash
# DevTrace in a bash that reads $BASH_ENV: `bash -c`, `bash -lc`, `bash -s` and scripts, 3.2 to 5.3.
#
# Records the first nested level: a shell whose parent process is no shell (an agent, make, python), as a
# child of the command in flight. Silent, without a fork, and with no function left behind, since agents copy
# the functions of a shell. Without a session or its FIFO it does nothing. The user's own BASH_ENV comes first.
# An end that the EXIT trap cannot tell (exec, a trap of the script's own, SIGKILL) is the host's to find.
# It is short because a third of its cost is being parsed: nested-long.bash does what a short `-c` can do without.

if [[ -n ${DEVTRACE_BASH_ENV-} ]]; then
  \builtin eval "__devtrace_user=\"$DEVTRACE_BASH_ENV\"" # bash too expands BASH_ENV before it reads the file
  # shellcheck disable=SC1090,SC2154  # the user's file, named by the line above
  [[ ! -r $__devtrace_user ]] || \builtin . "$__devtrace_user"
  unset __devtrace_user
fi

# shellcheck disable=SC1091  # the file beside this one
if [[ -n ${DEVTRACE_SESSION-} && -p ${DEVTRACE_FIFO-} && -z ${__devtrace_shell-} && $- != *i* ]] &&
  # Our own hook in an agent's settings, and nothing beside it, is no command of the agent's.
  [[ ${BASH_EXECUTION_STRING-} != */python*' -I -S '*/devtrace/services/agent_hook.py' '* ||
    ${BASH_EXECUTION_STRING% || true} == *[!A-Za-z0-9/._\ -]* ]]; then
  {
    __devtrace_time=${EPOCHREALTIME--} __devtrace_parent=
    # Who we are, as /proc has it, which holds in another PID namespace too: pid (comm) state ppid ...
    IFS=' ' \builtin read -ra __devtrace_stat </proc/self/stat
    [[ ${__devtrace_stat[1]-} == *')' ]] || \builtin . "${BASH_SOURCE[0]%/*}/nested-long.bash" who
    [[ ${__devtrace_stat[21]--} == - ]] || IFS='' \builtin read -r __devtrace_parent <"/proc/${__devtrace_stat[3]}/comm"
    [[ -z ${__devtrace_stat[27]-} ]] || __devtrace_stat[21]+=.${__devtrace_stat[27]} # start time and start of the stack
    case ${DEVTRACE_NESTED-}/$__devtrace_parent in
      all/*) __devtrace_parent= ;;
      */bash | */rbash | */bash-[0-9]* | */zsh | */fish | */sh | */dash | */ash | */ksh | */ksh93 | */mksh) ;;
      *) __devtrace_parent= ;;
    esac
    if [[ -z $__devtrace_parent ]]; then
      # A random 16-digit span (devtrace/ids.py), which names the shell too.
      __devtrace_shell=$(((RANDOM << 38 | RANDOM << 23 | RANDOM << 8 | RANDOM & 255) % 9000000000000000 + 1000000000000000))
      if [[ -n ${BASH_EXECUTION_STRING+x} && $PWD$BASH_EXECUTION_STRING != *[%$'\t\n']* ]] &&
        ((${#PWD} + ${#BASH_EXECUTION_STRING} < 200)); then # a character has at most four bytes
        \builtin printf 'HELLO\t1\t-\t%s\t-\t%s\t%s\t%s\t1\tbash %s\nCMD\t1\t-\t%s\t1\t1/1\t%s\t%s\t%s\t-\te\t%s\t%s\n' \
          "$__devtrace_shell" "${__devtrace_stat[0]}" "${__devtrace_stat[3]}" "${__devtrace_stat[21]}" "$BASH_VERSION" \
          "$__devtrace_shell" "$__devtrace_shell" "${DEVTRACE_SPAN:--}" "${__devtrace_time/[.,]/}" "$PWD" \
          "$BASH_EXECUTION_STRING" 1<>"$DEVTRACE_FIFO"
      else
        \builtin . "${BASH_SOURCE[0]%/*}/nested-long.bash" tell "$@"
      fi
      export DEVTRACE_SPAN=$__devtrace_shell TRACEPARENT="00-$DEVTRACE_SESSION-$__devtrace_shell-01"
      # A trap that the user's BASH_ENV set stays; only then is a fork spent on looking.
      # shellcheck disable=SC2016,SC2154  # expanded when the shell ends
      [[ -n ${DEVTRACE_BASH_ENV-} && -n $(trap -p EXIT) ]] || trap '{
        __devtrace_status=$? __devtrace_pwd=$PWD __devtrace_time=${EPOCHREALTIME--}
        [[ ${#__devtrace_pwd} -le 200 && $__devtrace_pwd != *[%[:cntrl:]]* ]] || __devtrace_pwd=
        [[ ! -p $DEVTRACE_FIFO ]] || \builtin printf "EXIT\t1\t-\t%s\t2\t1/1\t%s\t%s\t%s\t-\t%s\n" "$__devtrace_shell" \
          "$__devtrace_shell" "${__devtrace_time/[.,]/}" "$__devtrace_status" "$__devtrace_pwd" 1<>"$DEVTRACE_FIFO"
      } 2>/dev/null' EXIT
    fi
    unset __devtrace_time __devtrace_stat __devtrace_parent
  } 2>/dev/null || : # `set -e` of the user's BASH_ENV ends nothing here
fi
