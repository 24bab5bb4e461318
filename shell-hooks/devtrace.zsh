# DevTrace in an interactive zsh: what was typed, where, when, and how it ended.
#
# Sourced from the .zshenv that the host writes for one shell (sources/shell/hooks.py), before the user's other
# start-up files; it installs itself at the first prompt, since frameworks reset the hook arrays on their way.
# The host's file sets __devtrace_nonce, _mark, _marks, _fifo, _seed, _zdotdir, _env, _quiet, _private, _agent.
#
# Manners: every name starts with __devtrace_; `emulate -L zsh` keeps the user's options out and ours in, `+o
# xtrace` our lines out of a `set -x`, which would show our nonces; no fork. The protocol: docs/adr/0001-hook-protocol.md.

if [[ -z ${__devtrace_shell-} && -o interactive && -n ${__devtrace_fifo-} ]]; then

  zmodload zsh/datetime 2>/dev/null
  typeset -g __devtrace_shell=
  printf -v __devtrace_shell '%08x%04x%04x' $(($$ & 0xffffffff)) $RANDOM $RANDOM
  typeset -g __devtrace_from=$'1\t'"$__devtrace_nonce"$'\t'"$__devtrace_shell"
  typeset -gi __devtrace_seq=0 # this shell's record counter
  typeset -gi __devtrace_on=0  # 1 while a command typed at the prompt runs
  typeset -g __devtrace_eol=   # the end's mark, as PROMPT_EOL_MARK has it while a command runs

  # Percent-escape $1 into REPLY: %, tab and newline; every other byte goes as it is.
  __devtrace_escape() {
    REPLY=$1
    [[ $REPLY == *[%$'\t\n']* ]] || return 0
    REPLY=${REPLY//\%/%25}
    REPLY=${REPLY//$'\t'/%09}
    REPLY=${REPLY//$'\n'/%0A}
  }

  # One record, escaped and in parts of at most 1,000 bytes: $1 kind, $2 the short fields, $3 the directory, $4 what
  # was typed (CMD only).
  __devtrace_send() {
    [[ -p $__devtrace_fifo ]] || return 0
    local REPLY text head="$1"$'\t'"$__devtrace_from"$'\t'"$__devtrace_seq"
    __devtrace_escape "$3"
    text=$REPLY
    if (($# > 3)); then
      __devtrace_escape "$4"
      text+=$'\t'$REPLY
    fi
    local -i part=1 parts=$(((${#text} + 799) / 800))
    while ((part <= parts)); do
      builtin print -rn -- "$head"$'\t'"$part/$parts"$'\t'"$2"$'\t'"${text[1,800]}"$'\n' 1<>"$__devtrace_fifo"
      text=${text[801,-1]}
      ((part += 1))
    done
  }

  # A short line is told by one function alone, since zsh maps fresh memory for every call: the record, and an
  # in-band mark, C before the output and D after it, on every path the host cuts output from.

  # A command begins. $1 is exactly what was typed; the user's options are read before ours are set.
  __devtrace_preexec() {
    local __devtrace_status=$? __devtrace_form=e
    [[ -n $__devtrace_quiet || ! -o histignorespace || $1 != ' '* ]] || __devtrace_form=p
    builtin emulate -L zsh -o no_multibyte -o extended_glob +o xtrace
    [[ -n $__devtrace_quiet || -z ${HISTORY_IGNORE-} || $1 != ${~HISTORY_IGNORE} ]] || __devtrace_form=h
    local text= time=- file
    local -a now=($epochtime) # once: it is another one whenever it is read
    ((!$#now)) || time=$((now[1] * 1000000 + now[2] / 1000))
    if [[ $__devtrace_form == e || $__devtrace_private == text ]]; then
      __devtrace_form=e
      text=$1
    fi
    # The walk of devtrace/ids.py.
    typeset -gx DEVTRACE_SPAN=$(((DEVTRACE_SPAN - 1000000000000000 + 5562305898749053) % 9000000000000000 + 1000000000000000))
    typeset -gx TRACEPARENT="00-$DEVTRACE_SESSION-$DEVTRACE_SPAN-01"
    ((__devtrace_seq += 1, __devtrace_on = 1))
    local fields="$DEVTRACE_SPAN"$'\t-\t'"$time"$'\t'"$__devtrace_status"$'\t'"$__devtrace_form"
    if ((${#text} + ${#PWD} >= 800)) || [[ $PWD$text == *[%$'\t\n']* ]]; then
      __devtrace_send CMD "$fields" "$PWD" "$text"
    elif [[ -p $__devtrace_fifo ]]; then
      builtin print -rn -- $'CMD\t'"$__devtrace_from"$'\t'"$__devtrace_seq"$'\t1/1\t'"$fields"$'\t'"$PWD"$'\t'"$text"$'\n' \
        1<>"$__devtrace_fifo"
    fi
    for file in $__devtrace_marks; do
      builtin print -rn -- $'\e]6973;'"$__devtrace_mark;C;$DEVTRACE_SPAN"$'\a' 1<>"$file"
    done
    # Before precmd, and before the user's own function of that name, zsh marks a line without its end: that shows
    # our mark too. A child that inherited it would show it as well.
    if [[ -z $__devtrace_quiet && "$__devtrace_marks" == /dev/tty && ${(t)PROMPT_EOL_MARK} != *(export|readonly)* ]]; then
      __devtrace_eol=$'%{\e]6973;'"$__devtrace_mark;D;$DEVTRACE_SPAN"$'\a%}'
      typeset -gi __devtrace_eol_own=${+PROMPT_EOL_MARK}
      typeset -g PROMPT_EOL_MARK="$__devtrace_eol${PROMPT_EOL_MARK-%B%S%#%s%b}"
    fi
    ((${precmd_functions[(I)__devtrace_precmd]})) || precmd_functions=(__devtrace_precmd $precmd_functions)
  } 2>/dev/null

  # A prompt comes: the mark first, so that nothing of the prompt is cut into the command's output.
  __devtrace_precmd() {
    local -a __devtrace_pipe=($? "${pipestatus[@]}") # at once: any command would overwrite both
    [[ ! -o pipefail ]] || __devtrace_pipe=("${__devtrace_pipe[@]:0:1}")
    ! builtin zle || return 0 # a widget that redraws the prompt
    builtin emulate -L zsh -o no_multibyte +o xtrace
    local __devtrace_status=$__devtrace_pipe[1]
    shift __devtrace_pipe
    if [[ -n $__devtrace_eol && ${PROMPT_EOL_MARK-} == *$__devtrace_eol* ]]; then
      ((__devtrace_eol_own)) || PROMPT_EOL_MARK=${PROMPT_EOL_MARK#"$__devtrace_eol%B%S%#%s%b"}
      PROMPT_EOL_MARK=${PROMPT_EOL_MARK//$__devtrace_eol}
      ((__devtrace_eol_own)) || [[ -n $PROMPT_EOL_MARK ]] || unset PROMPT_EOL_MARK
    fi
    if ((__devtrace_on)); then
      local pipe=- time=- file
      local -a now=($epochtime)
      for file in $__devtrace_marks; do
        builtin print -rn -- $'\e]6973;'"$__devtrace_mark;D;$DEVTRACE_SPAN"$'\a' 1<>"$file"
      done
      ((!$#now)) || time=$((now[1] * 1000000 + now[2] / 1000))
      ((__devtrace_seq += 1, __devtrace_on = 0))
      ((${#__devtrace_pipe} < 2 || __devtrace_pipe[-1] != __devtrace_status)) || pipe=${(j:,:)__devtrace_pipe}
      local fields="$DEVTRACE_SPAN"$'\t'"$time"$'\t'"$__devtrace_status"$'\t'"$pipe"
      if ((${#PWD} >= 800)) || [[ $PWD == *[%$'\t\n']* ]]; then
        __devtrace_send EXIT "$fields" "$PWD"
      elif [[ -p $__devtrace_fifo ]]; then
        builtin print -rn -- $'EXIT\t'"$__devtrace_from"$'\t'"$__devtrace_seq"$'\t1/1\t'"$fields"$'\t'"$PWD"$'\n' \
          1<>"$__devtrace_fifo"
      fi
    fi
    # What a user's file or a framework may have taken away.
    if ((!${preexec_functions[(I)__devtrace_preexec]} || !${zshexit_functions[(I)__devtrace_zshexit]})) ||
      [[ -n $__devtrace_env && ${BASH_ENV-} != $__devtrace_env ]] ||
      [[ -n $__devtrace_agent && -n $__devtrace_zdotdir && ${ZDOTDIR-} != $__devtrace_zdotdir ]]; then
      __devtrace_attach
    fi
    return $__devtrace_status
  } 2>/dev/null

  # The shell ends by itself; the status that `exit` was given is in $?.
  __devtrace_zshexit() {
    local __devtrace_status=$?
    ((!ZSH_SUBSHELL)) || return 0 # `(exit 7)` comes here too
    builtin emulate -L zsh +o xtrace
    __devtrace_seq+=1
    [[ ! -p $__devtrace_fifo ]] || builtin print -rn -- \
      $'BYE\t1\t'"$__devtrace_nonce"$'\t'"$__devtrace_shell"$'\t'"$__devtrace_seq"$'\t'"$__devtrace_status"$'\n' 1<>"$__devtrace_fifo"
  } 2>/dev/null

  # What a user's file took away comes back: hooks, BASH_ENV and, under an agent, ZDOTDIR.
  __devtrace_attach() {
    ((${preexec_functions[(I)__devtrace_preexec]})) || preexec_functions+=(__devtrace_preexec)
    ((${zshexit_functions[(I)__devtrace_zshexit]})) || zshexit_functions+=(__devtrace_zshexit)
    if [[ -n $__devtrace_env && ${BASH_ENV-} != $__devtrace_env ]]; then
      typeset -gx DEVTRACE_BASH_ENV="${BASH_ENV-}" BASH_ENV=$__devtrace_env
    fi
    if [[ -n $__devtrace_agent && -n $__devtrace_zdotdir && ${ZDOTDIR-} != $__devtrace_zdotdir ]]; then
      typeset -gx DEVTRACE_ZDOTDIR="${ZDOTDIR-}" ZDOTDIR=$__devtrace_zdotdir
    fi
  }

  # Who we are: pid and start time as /proc has them, which holds in another PID namespace too.
  __devtrace_hello() {
    local stat='' pid=$$ ppid=$PPID start=-
    local -a fields
    if [[ -r /proc/self/stat ]]; then
      stat=$(</proc/self/stat) # which forks nothing; `read` takes a file byte by byte
      pid=${stat%% *}
      fields=(${(s: :)${stat##*\) }})
      ppid=${fields[2]} start=${fields[20]}
    fi
    [[ ! -p $__devtrace_fifo ]] || builtin print -rn -- \
      $'HELLO\t1\t'"$__devtrace_nonce"$'\t'"$__devtrace_shell"$'\t-\t'"$pid"$'\t'"$ppid"$'\t'"$start"$'\t0\tzsh '"$ZSH_VERSION"$'\n' 1<>"$__devtrace_fifo"
  }

  # At the first prompt, after the user's files: by precmd, or by `sched` where the array was reset.
  __devtrace_install() {
    builtin emulate -L zsh
    ((!${+__devtrace_installed})) || return 0
    typeset -g __devtrace_installed=1
    typeset -gx DEVTRACE_SPAN=$__devtrace_seed
    typeset -gx DEVTRACE_SESSION DEVTRACE_FIFO DEVTRACE_DIR DEVTRACE_AGENT
    typeset -ga precmd_functions preexec_functions zshexit_functions
    precmd_functions=(__devtrace_precmd ${precmd_functions:#__devtrace_(install|precmd)})
    if [[ -n $__devtrace_quiet ]]; then # the lines come by a pipe: no prompt is wanted, no history is theirs
      PS1= PS2= RPS1=
      unset HISTFILE
    fi
    __devtrace_hello
    __devtrace_attach
  } 2>/dev/null

  [[ -z $__devtrace_quiet ]] || setopt no_prompt_sp no_prompt_cr
  typeset -ga precmd_functions
  precmd_functions+=(__devtrace_install)
  zmodload zsh/sched 2>/dev/null && sched +0 __devtrace_install
fi
