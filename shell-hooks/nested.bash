# shellcheck shell=bash
# DevTrace in a bash that reads $BASH_ENV: `bash -c`, `bash -lc`, `bash -s` and scripts, 3.2 to 5.3.
#
# Records the first nested level: a shell whose parent process is no shell (an agent, make, python), as a
# child of the command in flight. Silent, without a fork, and with no function left behind, since agents copy
# the functions of a shell. Without a session or its FIFO it does nothing. The user's own BASH_ENV comes first.
# An end that the EXIT trap cannot tell (exec, a trap of the script's own, SIGKILL) is the host's to find.

if [[ -n ${DEVTRACE_BASH_ENV-} ]]; then
  \builtin eval "__devtrace_user=\"$DEVTRACE_BASH_ENV\"" # bash too expands BASH_ENV before it reads the file
  # shellcheck disable=SC1090,SC2154  # the user's file, named by the line above
  [[ ! -r $__devtrace_user ]] || \builtin . "$__devtrace_user"
  unset __devtrace_user
fi

if [[ -n ${DEVTRACE_SESSION-} && -p ${DEVTRACE_FIFO-} && -z ${__devtrace_shell-} && $- != *i* ]]; then
  __devtrace_begin() {
    local LC_ALL=C IFS=$' \t\n' stat='' fields pid=$$ ppid=$PPID start=- parent='' text time=${EPOCHREALTIME--} part=1
    if [[ -r /proc/self/stat ]]; then
      IFS='' \builtin read -r stat </proc/self/stat
      pid=${stat%% *}
      # shellcheck disable=SC2206  # numbers and one letter: nothing to glob
      fields=(${stat##*) })
      ppid=${fields[1]} start=${fields[19]}
      IFS='' \builtin read -r parent <"/proc/$ppid/comm"
    else # no /proc: our shells name themselves to their children
      [[ ${DEVTRACE_SHELL_PID-} != "$PPID" ]] || parent=bash
      export DEVTRACE_SHELL_PID=$$
    fi
    if [[ ${DEVTRACE_NESTED-} != all ]]; then
      case $parent in bash | rbash | bash-[0-9]* | zsh | fish | sh | dash | ash | ksh | ksh93 | mksh) return 1 ;; esac
    fi
    \builtin printf -v __devtrace_shell '%08x%04x%04x' "$((pid & 0xffffffff))" "$RANDOM" "$RANDOM"
    # A random 16-digit span: devtrace/ids.py.
    \builtin printf -v __devtrace_span '%d%05d%05d%05d' "$((RANDOM % 9 + 1))" "$((RANDOM * 3 + 1))" \
      "$((RANDOM * 3 + RANDOM % 3))" "$((RANDOM * 3 + RANDOM % 3))"
    if [[ -n ${BASH_EXECUTION_STRING+x} ]]; then
      text=$BASH_EXECUTION_STRING
    else
      [[ $# == 0 ]] || \builtin printf -v text ' %q' "$@"
      case $0 in bash | -bash | "$BASH") text=bash$text ;; *) text="bash $0$text" ;; esac
    fi
    text=$PWD$'\001'$text
    if [[ $text == *[%$'\t\n']* ]]; then
      local rest=$text piece
      text=
      while [[ -n $rest ]]; do
        piece=${rest:0:2048} rest=${rest:2048}
        piece=${piece//\%/%25}
        piece=${piece//$'\t'/%09}
        text+=${piece//$'\n'/%0A}
      done
    fi
    text=${text%%$'\001'*}$'\t'${text#*$'\001'}
    local head=$'CMD\t1\t-\t'$__devtrace_shell$'\t1' parts=$(((${#text} + 799) / 800))
    \builtin printf 'HELLO\t1\t-\t%s\t-\t%s\t%s\t%s\t1\tbash %s\n' "$__devtrace_shell" "$pid" "$ppid" "$start" \
      "$BASH_VERSION" 1<>"$DEVTRACE_FIFO"
    while ((part <= parts)); do
      \builtin printf '%s\t%s\t%s\t%s\n' "$head" "$part/$parts" \
        "$__devtrace_span"$'\t'"${DEVTRACE_SPAN:--}"$'\t'"${time/[.,]/}"$'\t-\te' "${text:0:800}" 1<>"$DEVTRACE_FIFO"
      text=${text:800}
      ((part += 1))
    done
    export DEVTRACE_SPAN=$__devtrace_span TRACEPARENT="00-$DEVTRACE_SESSION-$__devtrace_span-01"
    # A trap that the user's BASH_ENV set stays; only then is a fork spent on looking.
    [[ -z ${DEVTRACE_BASH_ENV-} || -z $(trap -p EXIT) ]]
  }
  # shellcheck disable=SC2016,SC2154  # expanded when the shell ends
  { __devtrace_begin "$@" && trap '{
    __devtrace_status=$? __devtrace_pwd=$PWD
    [[ ${#__devtrace_pwd} -le 200 && $__devtrace_pwd != *[%[:cntrl:]]* ]] || __devtrace_pwd=
    __devtrace_time=${EPOCHREALTIME--}
    [[ ! -p $DEVTRACE_FIFO ]] || \builtin printf "EXIT\t1\t-\t%s\t2\t1/1\t%s\t%s\t%s\t-\t%s\n" "$__devtrace_shell" \
      "$__devtrace_span" "${__devtrace_time/[.,]/}" "$__devtrace_status" "$__devtrace_pwd" 1<>"$DEVTRACE_FIFO"
  } 2>/dev/null' EXIT; } 2>/dev/null
  unset -f __devtrace_begin
fi
