# DevTrace in a zsh below an agent: `zsh -c`, `zsh -lc` and scripts. The user's own .zshenv comes first.
#
# Records the first nested level: a shell whose parent process is no shell, as a child of the command in flight.
# Silent, without a fork and with no function left behind. Not `zshexit`: it would keep zsh from running the
# last command in place of itself, and an EXIT trap sees that command too. What the trap cannot tell (exec, a
# trap of the script's own, a signal) is the host's to find. It is short because a fourth of its cost is being
# parsed: the file `long` does what a short `zsh -c` can do without.

__devtrace_file=.zshenv
builtin . "$ZDOTDIR/forward"

if [[ -n ${DEVTRACE_SESSION-} && -p ${DEVTRACE_FIFO-} && -z ${__devtrace_shell-} && ! -o interactive ]] &&
  # Our own hook in an agent's settings, and nothing beside it, is no command of the agent's.
  [[ ${ZSH_EXECUTION_STRING-} != */python*' -I -S '*/devtrace/services/agent_hook.py' '* ||
    ${ZSH_EXECUTION_STRING% \|\| true} == *[!A-Za-z0-9/._\ -]* ]]; then
  __devtrace_begin() {
    builtin emulate -L zsh -o no_multibyte
    local stat parent='' text=${ZSH_EXECUTION_STRING-}
    local time=${(%):-%D{%s%6.}} # a module has a clock too, but would have to be loaded
    ((${#time} == 16)) || time=-
    # Who we are, as /proc has it, which holds in another PID namespace too: pid (comm) state ppid ...
    # `$(<...)` forks nothing; `read` takes a file byte by byte.
    local -a who=(${(s: :)"$(</proc/self/stat)"})
    if [[ $who[2] == *')' ]]; then
      parent=$(<"/proc/$who[4]/comm")
    else
      builtin . "$ZDOTDIR/long" who
    fi
    who[22]+=${who[28]:+.$who[28]} # start time and start of the stack
    [[ ${DEVTRACE_NESTED-} == all || $parent != (bash|rbash|bash-[0-9]*|zsh|fish|sh|dash|ash|ksh|ksh93|mksh) ]] || return 1
    # A random 16-digit span (devtrace/ids.py), which names the shell too.
    typeset -g __devtrace_shell=$(((RANDOM << 38 | RANDOM << 23 | RANDOM << 8 | RANDOM & 255) % 9000000000000000 + 1000000000000000))
    local hello=$'HELLO\t1\t-\t'"$__devtrace_shell"$'\t-\t'"$who[1]"$'\t'"$who[4]"$'\t'"$who[22]"$'\t1\tzsh '"$ZSH_VERSION"$'\n'
    local fields="$__devtrace_shell"$'\t'"${DEVTRACE_SPAN:--}"$'\t'"$time"$'\t-\te\t'
    if ((${+ZSH_EXECUTION_STRING} && ${#text} + ${#PWD} < 800)) && [[ $PWD$text != *[%$'\t\n']* ]]; then
      builtin print -rn -- "$hello"$'CMD\t1\t-\t'"$__devtrace_shell"$'\t1\t1/1\t'"$fields$PWD"$'\t'"$text"$'\n' 1<>"$DEVTRACE_FIFO"
    else
      builtin . "$ZDOTDIR/long" tell "$@"
    fi
    typeset -gx DEVTRACE_SPAN=$__devtrace_shell TRACEPARENT="00-$DEVTRACE_SESSION-$__devtrace_shell-01"
  }
  if __devtrace_begin "$@" 2>/dev/null; then
    trap '{
      __devtrace_status=$? __devtrace_pwd=$PWD __devtrace_time=${(%):-%D{%s%6.}}
      [[ ${#__devtrace_time} == 16 ]] || __devtrace_time=-
      [[ ${#__devtrace_pwd} -le 200 && $__devtrace_pwd != *[%[:cntrl:]]* ]] || __devtrace_pwd=
      [[ ! -p $DEVTRACE_FIFO ]] || builtin print -rn -- $'\''EXIT\t1\t-\t'\''"$__devtrace_shell"$'\''\t2\t1/1\t'\''"$__devtrace_shell"$'\''\t'\''"$__devtrace_time"$'\''\t'\''"$__devtrace_status"$'\''\t-\t'\''"$__devtrace_pwd"$'\''\n'\'' 1<>"$DEVTRACE_FIFO"
    } 2>/dev/null' EXIT
  fi
  unfunction __devtrace_begin
fi
