# DevTrace in a zsh below an agent: `zsh -c`, `zsh -lc` and scripts. The user's own .zshenv comes first.
#
# Records the first nested level: a shell whose parent process is no shell, as a child of the command in flight.
# Silent, without a fork and with no function left behind. Not `zshexit`: it would keep zsh from running the
# last command in place of itself, and an EXIT trap sees that command too. What the trap cannot tell (exec, a
# trap of the script's own, a signal) is the host's to find.

__devtrace_file=.zshenv
builtin . "$ZDOTDIR/forward"

if [[ -n ${DEVTRACE_SESSION-} && -p ${DEVTRACE_FIFO-} && -z ${__devtrace_shell-} && ! -o interactive ]]; then
  __devtrace_begin() {
    builtin emulate -L zsh -o no_multibyte
    local stat='' parent='' pid=$$ ppid=$PPID start=- text time=- head
    local -a fields
    local -i part=1 parts
    if [[ -r /proc/self/stat ]]; then
      IFS= builtin read -r stat </proc/self/stat
      pid=${stat%% *}
      fields=(${(s: :)${stat##*\) }})
      ppid=${fields[2]} start=${fields[20]}
      IFS= builtin read -r parent <"/proc/$ppid/comm"
    else # no /proc: our shells name themselves to their children
      [[ ${DEVTRACE_SHELL_PID-} != $PPID ]] || parent=zsh
      typeset -gx DEVTRACE_SHELL_PID=$$
    fi
    if [[ ${DEVTRACE_NESTED-} != all ]]; then
      case $parent in (bash|rbash|bash-[0-9]*|zsh|fish|sh|dash|ash|ksh|ksh93|mksh) return 1 ;; esac
    fi
    zmodload zsh/datetime && time=$((epochtime[1] * 1000000 + epochtime[2] / 1000))
    printf -v __devtrace_shell '%08x%04x%04x' $((pid & 0xffffffff)) $RANDOM $RANDOM
    # A random 16-digit span: devtrace/ids.py.
    printf -v __devtrace_span '%d%05d%05d%05d' $((RANDOM % 9 + 1)) $((RANDOM * 3 + 1)) \
      $((RANDOM * 3 + RANDOM % 3)) $((RANDOM * 3 + RANDOM % 3))
    if ((${+ZSH_EXECUTION_STRING})); then
      text=$ZSH_EXECUTION_STRING
    elif [[ ${0:t} == (-|)zsh* ]]; then
      text="zsh${*:+ ${(j: :)${(@q)*}}}"
    else
      text="zsh $0${*:+ ${(j: :)${(@q)*}}}"
    fi
    text=${text//\%/%25}
    text=${text//$'\t'/%09}
    text=${text//$'\n'/%0A}
    stat=${PWD//\%/%25}
    stat=${stat//$'\t'/%09}
    text=${stat//$'\n'/%0A}$'\t'$text
    parts=$(((${#text} + 799) / 800))
    builtin print -rn -- $'HELLO\t1\t-\t'"$__devtrace_shell"$'\t-\t'"$pid"$'\t'"$ppid"$'\t'"$start"$'\t1\tzsh '"$ZSH_VERSION"$'\n' 1<>"$DEVTRACE_FIFO"
    head=$'CMD\t1\t-\t'$__devtrace_shell$'\t1'
    while ((part <= parts)); do
      builtin print -rn -- "$head"$'\t'"$part/$parts"$'\t'"$__devtrace_span"$'\t'"${DEVTRACE_SPAN:--}"$'\t'"$time"$'\t-\te\t'"${text[1,800]}"$'\n' 1<>"$DEVTRACE_FIFO"
      text=${text[801,-1]}
      ((part += 1))
    done
    typeset -gx DEVTRACE_SPAN=$__devtrace_span TRACEPARENT="00-$DEVTRACE_SESSION-$__devtrace_span-01"
  }
  if __devtrace_begin "$@" 2>/dev/null; then
    trap '{
      __devtrace_status=$? __devtrace_pwd=$PWD
      [[ ${#__devtrace_pwd} -le 200 && $__devtrace_pwd != *[%[:cntrl:]]* ]] || __devtrace_pwd=
      [[ ! -p $DEVTRACE_FIFO ]] || builtin print -rn -- $'\''EXIT\t1\t-\t'\''"$__devtrace_shell"$'\''\t2\t1/1\t'\''"$__devtrace_span"$'\''\t'\''$((epochtime[1] * 1000000 + epochtime[2] / 1000))$'\''\t'\''"$__devtrace_status"$'\''\t-\t'\''"$__devtrace_pwd"$'\''\n'\'' 1<>"$DEVTRACE_FIFO"
    } 2>/dev/null' EXIT
  fi
  unfunction __devtrace_begin
fi
