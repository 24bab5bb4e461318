# shellcheck shell=bash disable=SC2154  # the lower-case names come from the host's start-up file
# DevTrace in an interactive bash, 3.2 to 5.3: what was typed, where, when, and how it ended.
#
# Sourced by the start-up file that the host writes for one shell (sources/shell/hooks.py), after the user's
# own start-up files. That file sets, un-exported: __devtrace_nonce, __devtrace_mark (the marks' nonce),
# __devtrace_marks (the paths the marks go to), __devtrace_fifo, __devtrace_scratch ("" where no memory file
# system is at hand), __devtrace_env (our BASH_ENV part), __devtrace_seed (16 digits), __devtrace_quiet (1: no
# line editing, the commands come by a pipe).
#
# Manners: every name starts with __devtrace_; $?, $_, PIPESTATUS, options, traps, PS0 and PROMPT_COMMAND of
# the user stay theirs; nothing is printed, and stderr is shut because `set -x` would print us.
#   bash >= 5.3   PS0 with ${ ...; }: no fork at all
#   4.4 to 5.2    PS0: arithmetic in this shell (ids, history number), then one fork for the record
#   <= 4.3        no PS0: a DEBUG trap, armed at the prompt and taken away at its first hit
# `set -e` and `set -u` may be on: `local -` keeps them out from bash 5.1 on. The one of 4.4 reads the history file
# in anew whenever it puts the options back, as long as no line was typed.
# Records go to the FIFO by `1<>` behind a `-p` test: without a reader that neither blocks nor kills us.
# The protocol: docs/adr/0001-hook-protocol.md.

if [[ -z ${__devtrace_shell-} && $- == *i* && -n ${__devtrace_fifo-} ]]; then

  printf -v __devtrace_shell '%04x%04x%04x%04x' "$((RANDOM ^ ($$ & 0x7fff)))" "$RANDOM" "$RANDOM" "$RANDOM"
  __devtrace_v=$((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1]))
  __devtrace_seq=0     # this shell's record counter
  __devtrace_on=0      # 1 while a command typed at the prompt runs
  __devtrace_old=0     # the history number before the command ...
  __devtrace_new=0     # ... and with it; equal when bash did not keep the line
  __devtrace_fresh=0   # 1 once that number was read behind the user's part of PROMPT_COMMAND,
  __devtrace_known=0   # and so before the command that runs
  __devtrace_before=0  # input lines read before the command ...
  __devtrace_lines=0   # ... and how many it took
  __devtrace_control=  # HISTCONTROL as we left it, while we do the work of `ignoredups`
  __devtrace_last=     # the last history line, kept only under `erasedups`
  __devtrace_late=0    # 1 where a start can be missed, and the prompt makes up for it
  __devtrace_armed=0   # bash <= 4.3: 1 when the next simple command is the user's,
  __devtrace_undo=     # what puts the user's DEBUG trap back,
  __devtrace_body=     # and what that trap runs
  __devtrace_bp=       # 1 once bash-preexec calls us
  __devtrace_warned=
  __devtrace_z=1       # ${__devtrace_z:$((...)):0} is how PS0 computes without printing
  __devtrace_only_0=(0) __devtrace_rescue=0
  __devtrace_span=$__devtrace_seed # the command in flight; DEVTRACE_SPAN is its copy in the environment
  declare -ix DEVTRACE_SPAN="$__devtrace_seed"

  # --- sending ------------------------------------------------------------------------------------------

  # Percent-escape $1 into __devtrace_r: %, tab and newline; every other byte goes as it is.
  __devtrace_escape() {
    __devtrace_r=$1
    [[ $1 == *[%$'\t\n']* ]] || return 0
    local rest=$1 piece
    __devtrace_r=
    while [[ -n $rest ]]; do # by pieces: substitution in one long string is quadratic in old versions
      piece=${rest:0:2048} rest=${rest:2048}
      piece=${piece//\%/%25}
      piece=${piece//$'\t'/%09}
      __devtrace_r+=${piece//$'\n'/%0A}
    done
  }

  # One record in parts of at most 1,000 bytes: $1 kind, $2 the short fields, $3 the text that may be long.
  __devtrace_send() {
    [[ -p $__devtrace_fifo ]] || return 0
    local head="$1"$'\t1\t'"$__devtrace_nonce"$'\t'"$__devtrace_shell"$'\t'"$__devtrace_seq" text=$3
    local part=1 parts=$(((${#text} + 799) / 800))
    ((parts > 0)) || parts=1
    while ((part <= parts)); do
      \builtin printf '%s\t%s\t%s\t%s\n' "$head" "$part/$parts" "$2" "${text:0:800}" 1<>"$__devtrace_fifo"
      text=${text:800}
      ((part += 1))
    done
  }

  # Tell the host, once, of something that makes the record weaker: $1 a stable word (sources/shell/fifo.py).
  __devtrace_warn() {
    [[ $__devtrace_warned != *" $1 "* && -p $__devtrace_fifo ]] || return 0
    __devtrace_warned+=" $1 "
    \builtin printf 'WARN\t1\t%s\t%s\t%s\n' "$__devtrace_nonce" "$__devtrace_shell" "$1" 1<>"$__devtrace_fifo"
  }

  # An in-band mark, C before a command's output and D after it, on every path the host cuts output from.
  __devtrace_cut() {
    local path
    for path in ${__devtrace_marks[@]+"${__devtrace_marks[@]}"}; do
      \builtin printf '\033]6973;%s;%s;%016d\a' "$__devtrace_mark" "$1" "$__devtrace_span" 1<>"$path"
    done
  }

  # Step the span along the walk of devtrace/ids.py; PS0 does the same by itself.
  __devtrace_step='DEVTRACE_SPAN=__devtrace_span='
  __devtrace_step+='(__devtrace_span-1000000000000000+5562305898749053)%9000000000000000+1000000000000000'

  # --- what was typed -----------------------------------------------------------------------------------

  # `history $1` into __devtrace_r, without a fork where a memory file system is at hand.
  __devtrace_list() {
    if [[ -n $__devtrace_scratch ]]; then
      HISTTIMEFORMAT='' \builtin history "$1" >|"$__devtrace_scratch"
      IFS='' \builtin read -rd '' __devtrace_r <"$__devtrace_scratch"
      : >|"$__devtrace_scratch"
      __devtrace_r=${__devtrace_r%$'\n'}
    else
      __devtrace_r=$(HISTTIMEFORMAT='' \builtin history "$1")
    fi
  }

  # Split a history entry in __devtrace_r, `   12* text`, into __devtrace_n and __devtrace_r.
  __devtrace_split() {
    __devtrace_r=${__devtrace_r#"${__devtrace_r%%[! ]*}"}
    __devtrace_n=${__devtrace_r%%[!0-9]*}
    __devtrace_r=${__devtrace_r:${#__devtrace_n}}
    __devtrace_r=${__devtrace_r:2}
  }

  # What was typed into __devtrace_r, and how well that is known into __devtrace_f:
  #   e exact, n normalised, p private (leading space), a private or a repeated line, h not kept by the
  #   history, o history is off, s it may be of another terminal, z there is no history. Never the text of
  #   another command.
  __devtrace_typed() {
    local __devtrace_off=
    ((__devtrace_v < 403)) || [[ -o history ]] || __devtrace_off=1 # bash 3.2 says no inside any trap
    __devtrace_list 1
    __devtrace_split
    __devtrace_f=e
    if [[ -z $__devtrace_n ]]; then
      __devtrace_f=z
      if [[ -o history && ${HISTSIZE-1} != 0 ]]; then
        __devtrace_f=h
        [[ ${HISTCONTROL-} != *ignore[sb]* ]] || __devtrace_f=p
      fi
    elif ((__devtrace_new != __devtrace_n + 1 || (__devtrace_v < 404 && ${#__devtrace_off}))); then
      __devtrace_f=o
    elif ((!__devtrace_known && __devtrace_new != __devtrace_old)) &&
      [[ ${PROMPT_COMMAND[*]-} == *history* || $((__devtrace_old && __devtrace_new - __devtrace_old != 1)) == 1 ]]; then
      __devtrace_f=s # `history -n` of the user's own may have put another terminal's line there
    elif ((__devtrace_new == __devtrace_old)); then
      if [[ ${HISTCONTROL-} == *erasedups* && $__devtrace_r != "$__devtrace_last" ]]; then
        : # an older copy went and this one came, so that the number stood still
      elif [[ ${HISTCONTROL-} == *ignore[sb]* ]]; then
        __devtrace_f=p
        [[ $HISTCONTROL != *erasedups* ]] || __devtrace_f=a
      elif [[ ${HISTCONTROL-} != *dups* || -n ${HISTIGNORE-} ]]; then
        __devtrace_f=h
      fi
    fi
    if [[ $__devtrace_f != e ]]; then
      __devtrace_r=
    elif ((__devtrace_v < 404)); then
      [[ $__devtrace_r != *[';&|<({']* ]] || __devtrace_f=n # may be several lines, joined: nothing tells
    else
      # bash joins lines: those of a compound command unless `lithist` is set, and those behind a backslash
      # always. Were more read than are here?
      local rest=$__devtrace_r piece left=$__devtrace_lines
      while ((left > 1)) && [[ -n $rest ]]; do
        piece=${rest:0:2048} rest=${rest:2048}
        piece=${piece//[!$'\n']/}
        ((left -= ${#piece}))
      done
      ((left <= 1)) || __devtrace_f=n
    fi
    # The history ends a here-document with a newline that was not typed.
    [[ ${__devtrace_r: -1} != $'\n' ]] || __devtrace_r=${__devtrace_r%?}
  }

  # A command begins. $1: the status before it, which repairs an EXIT that was lost. $2: x in PS0, with stderr as 3.
  __devtrace_pre() {
    ((__devtrace_v < 501)) || { local - && set +eux; }
    local LC_ALL=C IFS=' ' __devtrace_n='' __devtrace_r='' __devtrace_f='' text time
    local prev=$1 more=$((__devtrace_known ? __devtrace_new - __devtrace_old : 1))
    if ((more > 1)) && \builtin shopt -q cmdhist; then
      __devtrace_missed "$prev"
      prev=-
    fi
    __devtrace_typed
    ((more < 2)) || \builtin shopt -q cmdhist || [[ $__devtrace_f != [en] ]] || __devtrace_together "$more"
    __devtrace_escape "$__devtrace_r"
    text=$__devtrace_r
    __devtrace_escape "$PWD"
    text=$__devtrace_r$'\t'$text
    time=${EPOCHREALTIME--}
    __devtrace_send CMD "$__devtrace_span"$'\t-\t'"${time/[.,]/}"$'\t'"$prev"$'\t'"$__devtrace_f" "$text"
    if [[ -n ${2-} && ${PS0-} != "$__devtrace_ps0" && -t 3 && ${#__devtrace_marks[@]} == 1 ]]; then
      # PS0 is shown when it is whole: what the user has in it, and then our mark.
      \builtin printf '\033]6973;%s;C;%016d\a' "$__devtrace_mark" "$__devtrace_span"
    else
      __devtrace_cut C
    fi
    return 0
  }

  # The history grew by more than one line while one was read: the last but one was run from the line editor
  # (edit-and-execute-command), which knows no PS0 and leaves $? alone. Before it there may be a draft that never ran.
  __devtrace_missed() {
    local text __devtrace_span
    __devtrace_list 1
    \builtin printf -v text '\n%s' "$__devtrace_r"
    __devtrace_list 2
    __devtrace_r=${__devtrace_r%"$text"}
    __devtrace_split
    __devtrace_escape "$__devtrace_r"
    text=$__devtrace_r
    __devtrace_escape "$PWD"
    # A random 16-digit span: devtrace/ids.py.
    \builtin printf -v __devtrace_span '%d%05d%05d%05d' "$((RANDOM % 9 + 1))" "$((RANDOM * 3 + RANDOM % 3))" \
      "$((RANDOM * 3 + RANDOM % 3))" "$((RANDOM * 3 + RANDOM % 3))"
    time=${EPOCHREALTIME--}
    __devtrace_send CMD "$__devtrace_span"$'\t-\t'"${time/[.,]/}"$'\t'"$1"$'\tn' "$__devtrace_r"$'\t'"$text"
    __devtrace_cut C
    __devtrace_cut D
    __devtrace_warn line_editor
  }

  # Without `cmdhist` every line of a command is a line of the history: put the last $1 of them together.
  __devtrace_together() {
    local rest all=
    __devtrace_list "$1"
    rest=$__devtrace_r$'\n'
    while [[ -n $rest ]]; do
      __devtrace_r=${rest%%$'\n'*} rest=${rest#*$'\n'}
      __devtrace_split
      all+=${all:+$'\n'}$__devtrace_r
    done
    __devtrace_r=$all
  }

  # --- at the prompt ------------------------------------------------------------------------------------

  # First in PROMPT_COMMAND. $1 is LINENO, the number of lines read; $2 is $_, passed so that it stays what it was.
  # Returns whether the status it met was 0. Where __devtrace_again is not empty, it puts PIPESTATUS back.
  __devtrace_precmd() {
    __devtrace_s=$? __devtrace_p=("${PIPESTATUS[@]}")
    [[ -z $__devtrace_bp ]] || __devtrace_p=(${BP_PIPESTATUS[@]+"${BP_PIPESTATUS[@]}"})
    ((__devtrace_v < 501)) || { local - && set +eux; }
    __devtrace_armed=0
    local LC_ALL=C IFS=, __devtrace_n='' __devtrace_r='' __devtrace_f='' time=${EPOCHREALTIME--}
    if ((__devtrace_on)); then
      __devtrace_end
    elif ((__devtrace_late)); then
      __devtrace_makeup
    fi
    __devtrace_before=$1
    IFS=' '
    __devtrace_repeated
    __devtrace_attach
    local next
    ((next = (__devtrace_span - 1000000000000000 + 5562305898749053) % 9000000000000000 + 1000000000000000))
    # One ahead: an export inside PS0's fork would be lost.
    [[ -z ${DEVTRACE_SESSION-} ]] || export TRACEPARENT="00-$DEVTRACE_SESSION-$next-01"
    __devtrace_again=
    if ((__devtrace_s < 2)); then
      for next in "${!__devtrace_p[@]}"; do
        __devtrace_again+="PIPESTATUS[$next]=${__devtrace_p[next]},"
      done
      __devtrace_again+=0
    fi
    return "$__devtrace_s"
  }

  # Whether PIPESTATUS can be put back, and the status that __devtrace_precmd met. $1: $_.
  __devtrace_has_again() {
    [[ -n $__devtrace_again ]]
  }

  __devtrace_status() {
    return "$__devtrace_s"
  }

  # All of PROMPT_COMMAND for one prompt, when it had been unset.
  __devtrace_rescue() {
    { __devtrace_precmd "$__devtrace_before" '' || :; } >/dev/null 2>&1
    { __devtrace_number || :; } >/dev/null 2>&1
  }

  # The command in flight has ended: the mark first, so that nothing of the prompt is cut into its output.
  __devtrace_end() {
    __devtrace_cut D
    __devtrace_on=0
    ((__devtrace_seq += 1))
    local pipe="${__devtrace_p[*]}"
    [[ $pipe == *,* && ${__devtrace_p[${#__devtrace_p[@]} - 1]} == "$__devtrace_s" && ! -o pipefail ]] || pipe=-
    __devtrace_escape "$PWD"
    __devtrace_send EXIT "$__devtrace_span"$'\t'"${time/[.,]/}"$'\t'"$__devtrace_s"$'\t'"$pipe" "$__devtrace_r"
  }

  # No start was seen (`promptvars` is off, or bash <= 4.3 ran no simple command): is there a new line?
  __devtrace_makeup() {
    __devtrace_old=$__devtrace_new
    __devtrace_list 1
    __devtrace_split
    ((__devtrace_new = ${__devtrace_n:-0} + 1))
    ((__devtrace_new != __devtrace_old && __devtrace_old != 0)) || return 0
    local text=${__devtrace_r#"${__devtrace_r%%[!$' \t']*}"}
    [[ -n $text && $text != "#"* ]] || return 0 # blanks or a comment
    # What does not parse was never run: a syntax error, a line that Ctrl-C cut off.
    ((!__devtrace_s)) || BASH_ENV='' "$BASH" --norc --noprofile -nc "$__devtrace_r" || return 0
    ((__devtrace_seq += 1, __devtrace_known = __devtrace_fresh, __devtrace_step))
    __devtrace_pre -
    __devtrace_end
  }

  # The work of `ignoredups`, where it would hide whether a line was private.
  __devtrace_repeated() {
    if [[ -n $__devtrace_control && ${HISTCONTROL-} == "$__devtrace_control" ]]; then
      __devtrace_list 2
      local two=$__devtrace_r one mark
      __devtrace_list 1
      __devtrace_split
      \builtin printf -v mark '\n%5d' "${__devtrace_n:-0}"
      if ((${#two} > 16384)); then
        : # a pattern takes old versions seconds there
      elif [[ $two == *"$mark"[\ *]\ "$__devtrace_r" ]]; then
        one=$__devtrace_r __devtrace_r=${two%"$mark"[ *] "$one"}
        local n=$__devtrace_n
        __devtrace_split
        [[ $__devtrace_r != "$one" ]] || { \builtin history -d "$n" && ((__devtrace_new -= 1)); }
      fi
    elif [[ ${HISTCONTROL-} == *ignore[bd]* ]] &&
      [[ $HISTCONTROL == *ignore[sb]* || -n ${HISTIGNORE-} ]]; then
      HISTCONTROL=${HISTCONTROL//ignoreboth/ignorespace}
      HISTCONTROL=${HISTCONTROL//ignoredups/}
      __devtrace_control=$HISTCONTROL
      [[ -n $__devtrace_control ]] || __devtrace_control=: HISTCONTROL=:
    fi
  }

  # Last in PROMPT_COMMAND, behind a `history -n` of the user's: the number that the next command is told by.
  __devtrace_number() {
    ((__devtrace_v < 501)) || { local - && set +eux; }
    local LC_ALL=C __devtrace_n='' __devtrace_r=''
    __devtrace_fresh=1
    # HISTCMD is 1 here before bash 5.1, and the list must be read.
    if ((__devtrace_v >= 501 && HISTCMD > 1)) && [[ ${HISTCONTROL-} != *erasedups* ]]; then
      __devtrace_new=$HISTCMD
    else
      __devtrace_list 1
      __devtrace_split
      ((__devtrace_new = ${__devtrace_n:-0} + 1))
      __devtrace_last=$__devtrace_r
    fi
    # `PROMPT_COMMAND=x` replaces the first part of an array, and so our head.
    [[ ${PROMPT_COMMAND-} == "$__devtrace_head"* ]] || __devtrace_attach
    return 0
  }

  # Take our parts, with the separator behind each, out of a part of PROMPT_COMMAND: $1, into __devtrace_r.
  __devtrace_without_us() {
    local ours end
    __devtrace_r=$1
    for ours in "$__devtrace_head" "$__devtrace_short" "$__devtrace_tail" __devtrace_rescue; do
      for end in '; ' ';' $'\n' ''; do
        __devtrace_r=${__devtrace_r//"$ours$end"/}
      done
    done
    __devtrace_r=${__devtrace_r%"${__devtrace_r##*[! ]}"}
  }

  # bash-preexec edits PROMPT_COMMAND with patterns whose time grows with the third power of its length.
  __devtrace_shorten() {
    [[ -n ${bash_preexec_imported-}${__bp_imported-} && $__devtrace_head != "$__devtrace_short" ]] || return 0
    local part
    for part in "${!PROMPT_COMMAND[@]}"; do
      __devtrace_without_us "${PROMPT_COMMAND[part]}"
      PROMPT_COMMAND[part]=$__devtrace_r
    done
    __devtrace_head=$__devtrace_short
  }

  # Put our parts back where something took them away; what a user may not change we cannot either.
  __devtrace_attach() {
    if [[ -n $__devtrace_env && ${BASH_ENV-} != "$__devtrace_env" ]]; then
      export DEVTRACE_BASH_ENV="${BASH_ENV-}" BASH_ENV="$__devtrace_env"
    fi
    [[ ${DEVTRACE_SPAN-} == "$__devtrace_span" ]] || export DEVTRACE_SPAN="$__devtrace_span"
    ((__devtrace_v < 404)) || __devtrace_attach_ps0
    if ((__devtrace_v >= 404)) && [[ ${PROMPT_COMMAND@a} == *r* ]]; then
      __devtrace_warn prompt_command_readonly # ends come from the next start, or from the shell's own end
    elif ((__devtrace_v >= 501)); then
      __devtrace_shorten
      __devtrace_attach_array
    else
      __devtrace_shorten
      if ((__devtrace_v < 404)) && [[ $__devtrace_head == "$__devtrace_short" ]]; then
        __devtrace_attach_preexec
      else
        __devtrace_attach_string
      fi
    fi
  }

  # bash <= 4.3 beside bash-preexec: we are among its functions, where it has our text in PROMPT_COMMAND taken apart
  # at every prompt, which costs seconds.
  __devtrace_attach_preexec() {
    local each kept=()
    __devtrace_bp=1
    if [[ ${precmd_functions[0]-} != __devtrace_bp_precmd ||
      ${precmd_functions[${#precmd_functions[@]} - 1]} != __devtrace_bp_number ]]; then
      for each in ${precmd_functions[@]+"${precmd_functions[@]}"}; do
        [[ $each == __devtrace_bp_* ]] || kept+=("$each")
      done
      precmd_functions=(__devtrace_bp_precmd ${kept[@]+"${kept[@]}"} __devtrace_bp_number)
    fi
    [[ " ${preexec_functions[*]-} " == *" __devtrace_bp_preexec "* ]] ||
      preexec_functions=(__devtrace_bp_preexec ${preexec_functions[@]+"${preexec_functions[@]}"})
  }

  __devtrace_bp_precmd() {
    { __devtrace_precmd 0 "$_" || :; } >/dev/null 2>&1
  }

  __devtrace_bp_number() {
    { __devtrace_number || :; } >/dev/null 2>&1
    __devtrace_armed=1
  }

  __devtrace_bp_preexec() {
    { __devtrace_hit "$?" "$_" preexec || :; } 2>/dev/null
  }

  # What the user has stays in the part where it was, also where that is the only one: `$PROMPT_COMMAND` is that
  # part, and `PROMPT_COMMAND=x` replaces it and not our tail, which then puts our head back.
  # bash-preexec must come last: what follows it, it takes for a command that was typed.
  __devtrace_attach_array() {
    local part parts=() last=
    [[ ${PROMPT_COMMAND-} != "$__devtrace_head"* || ${PROMPT_COMMAND[*]: -1} != "$__devtrace_tail" ]] || return 0
    for part in "${PROMPT_COMMAND[@]}"; do
      __devtrace_without_us "$part"
      if [[ $__devtrace_r == __bp_interactive_mode ]]; then
        last=$__devtrace_r
      elif [[ $__devtrace_r == *[!$' \n']* ]]; then
        parts+=("$__devtrace_r")
      fi
    done
    if [[ $__devtrace_head == "$__devtrace_short" ]]; then # bash gives $? and PIPESTATUS to each part as they were
      parts=('' "${parts[@]}")
    fi
    PROMPT_COMMAND=("$__devtrace_head${parts[0]:+; ${parts[0]}}" "${parts[@]:1}" "$__devtrace_tail" ${last:+"$last"})
  }

  __devtrace_attach_string() {
    local last=
    [[ ${PROMPT_COMMAND-} != *__bp_interactive_mode ]] || last='; __bp_interactive_mode'
    [[ ${PROMPT_COMMAND-} != "$__devtrace_head; "*"$__devtrace_tail$last" ]] || return 0
    __devtrace_without_us "${PROMPT_COMMAND-}"
    __devtrace_r=${__devtrace_r%"${last#; }"}
    __devtrace_r=${__devtrace_r%"${__devtrace_r##*[! ]}"}
    # No line breaks: bash 4.4 and older put the second line of PROMPT_COMMAND into the history.
    [[ -z $__devtrace_r || $__devtrace_r == *[$';&\n'] ]] || __devtrace_r+=\;
    # shellcheck disable=SC2178  # a string here: the caller has looked for the array
    PROMPT_COMMAND="$__devtrace_head; ${__devtrace_r:+$__devtrace_r }$__devtrace_tail$last"
  }

  __devtrace_attach_ps0() {
    if [[ ${PS0@a} == *r* ]]; then
      __devtrace_late=1
      __devtrace_warn ps0_readonly
    elif ! \builtin shopt -q promptvars; then # PS0 would be printed as it stands
      [[ -z ${PS0-} ]] || PS0=${PS0//"$__devtrace_ps0"/}
      __devtrace_late=1
      __devtrace_warn promptvars_off
    elif [[ ${PS0-} != *"$__devtrace_ps0" ]]; then
      PS0=${PS0-}
      PS0=${PS0//"$__devtrace_ps0"/}$__devtrace_ps0
      __devtrace_late=0
    fi
  }

  # --- bash <= 4.3: the DEBUG trap ------------------------------------------------------------------------

  # Last in PROMPT_COMMAND: keep the user's own trap for later; 1 when ours is still set. What `trap -p` says is
  # in the scratch file or in __devtrace_r: in a function it would say nothing.
  __devtrace_arm() {
    local LC_ALL=C
    if [[ -n $__devtrace_scratch ]]; then
      IFS='' \builtin read -rd '' __devtrace_r <"$__devtrace_scratch"
      : >|"$__devtrace_scratch"
    fi
    [[ $__devtrace_r != *__devtrace_hit* ]] || return 1
    __devtrace_undo="\\builtin ${__devtrace_r:-trap - DEBUG}"
    \builtin eval "set -- $__devtrace_r" # trap -- 'body' DEBUG
    __devtrace_body=${3-}
  }

  # The first simple command after the prompt, which a completion function or a `bind -x` is not. $1: the status
  # before it, $2: $_, $3: not empty where bash-preexec calls, which may have kept our trap besides.
  __devtrace_hit() {
    [[ -z $__devtrace_bp || -n ${3-} ]] || return 1
    __devtrace_was=$1 __devtrace_arg=$2
    [[ $__devtrace_armed == 1 && $BASH_SUBSHELL == 0 && -z ${COMP_LINE-}${COMP_POINT-}${READLINE_LINE+x} ]] || return 1
    # Nothing was run: PROMPT_COMMAND begins, or goes on behind us as bash-preexec leaves it at first.
    [[ $BASH_COMMAND != __devtrace_* && $BASH_COMMAND != __bp_* ]] || return 1
    local LC_ALL=C __devtrace_n='' __devtrace_r=''
    __devtrace_armed=0
    __devtrace_old=$__devtrace_new
    __devtrace_list 1
    __devtrace_split
    ((__devtrace_new = ${__devtrace_n:-0} + 1, __devtrace_seq += 1, __devtrace_on = 1, __devtrace_step))
    ((__devtrace_known = __devtrace_fresh, __devtrace_fresh = 0, 1))
    [[ -z ${DEVTRACE_SESSION-} ]] || export TRACEPARENT="00-$DEVTRACE_SESSION-$__devtrace_span-01"
    __devtrace_pre "$1"
  }

  # Give the user's trap, and then the command, the $? and $_ that were there: $1 and $2.
  __devtrace_as() {
    [[ $- != *e* ]] || return 0
    return "$1"
  }

  # --- install --------------------------------------------------------------------------------------------

  # shellcheck disable=SC2016  # expanded by the prompt, not here
  {
    # `set -e` cannot end the shell in `if f` or `f && :`. What comes last gives $?, PIPESTATUS and $_ back: a `for`
    # without a step leaves PIPESTATUS alone and may write to it, but ends with 0, or with `!` before it 1; for any
    # other status there is a function, and PIPESTATUS is that one.
    # stdout is shut too: a DEBUG trap of the user's fires for our lines, and what it prints is not wanted here.
    __devtrace_short='{ __devtrace_precmd "$LINENO" "$_" && : "$_"; } >/dev/null 2>&1'
    __devtrace_head='{ if __devtrace_precmd "$LINENO" "$_"; then '
    __devtrace_head+='for __devtrace_r in ${__devtrace_z:$((__devtrace_again)):0}; do :; done; '
    __devtrace_head+='elif __devtrace_has_again "$_"; then '
    __devtrace_head+='! for __devtrace_r in ${__devtrace_z:$((__devtrace_again)):0}; do :; done; '
    __devtrace_head+='else __devtrace_status "$_" && : "$_"; fi; } >/dev/null 2>&1'
    # The call that is never made is there for bash-preexec, to which a command that is no part of
    # PROMPT_COMMAND, cut at `;`, is one that was typed: so it knows the one in our head.
    __devtrace_tail='{ __devtrace_number || { :; __devtrace_precmd "$LINENO" "$_"; }; } >/dev/null 2>&1'
    __devtrace_ps0='${__devtrace_z:$(('"$__devtrace_step"',__devtrace_seq+=1,__devtrace_on=1,'
    __devtrace_ps0+='__devtrace_lines=LINENO-__devtrace_before,__devtrace_before=LINENO,'
    __devtrace_ps0+='__devtrace_old=__devtrace_new,__devtrace_new=HISTCMD,'
    __devtrace_ps0+='__devtrace_known=__devtrace_fresh,__devtrace_fresh=0,0)):0}'
    # Where somebody has taken PROMPT_COMMAND away, PS0 gives it our name, which as a number is harmless.
    __devtrace_ps0+='${__devtrace_only_0[0${PROMPT_COMMAND:+1}]+'
    __devtrace_ps0+='${__devtrace_z:$((${PROMPT_COMMAND:=__devtrace_rescue},0)):0}}'
    if ((__devtrace_v >= 503)); then
      __devtrace_ps0+='${ { __devtrace_pre "$?" x; } 3>&2 2>/dev/null; }'
    else
      __devtrace_ps0+='$({ __devtrace_pre "$?" x; } 3>&2 2>/dev/null)'
    fi
    if ((__devtrace_v < 404)); then
      __devtrace_late=1
      __devtrace_ps0=
      # Short in PROMPT_COMMAND: bash-preexec edits that text with patterns which take old versions for ever.
      __devtrace_arms='__devtrace_r=; if [[ -n $__devtrace_scratch ]]; then \builtin trap -p DEBUG >|"$__devtrace_scratch"; '
      __devtrace_arms+='else __devtrace_r=$(\builtin trap -p DEBUG); fi; __devtrace_arm && \builtin trap -- '\''@'\'' DEBUG; '
      __devtrace_arms+='__devtrace_armed=1'
      __devtrace_r='{ __devtrace_hit "$?" "$_" && \builtin eval "$__devtrace_undo"; '
      __devtrace_r+='__devtrace_as "$__devtrace_was" "$__devtrace_arg" && : "$__devtrace_arg"; \builtin eval "$__devtrace_body" 2>&3; '
      __devtrace_r+='__devtrace_as "$?" "$__devtrace_arg" && : "$__devtrace_arg"; } 3>&2 2>/dev/null'
      __devtrace_arms=${__devtrace_arms/@/$__devtrace_r}
      __devtrace_tail='{ __devtrace_number || { :; __devtrace_precmd "$LINENO" "$_"; }; \builtin eval "$__devtrace_arms"; } 2>/dev/null'
    fi
  }

  # Who we are: pid and start time as /proc has them, which holds in another PID namespace too.
  __devtrace_hello() {
    local LC_ALL=C IFS=' ' stat='' fields pid=$$ ppid=$PPID start=-
    if [[ -r /proc/self/stat ]]; then
      IFS='' \builtin read -r stat </proc/self/stat
      pid=${stat%% *}
      # shellcheck disable=SC2206  # numbers and one letter: nothing to split or to glob
      fields=(${stat##*) })
      ppid=${fields[1]} start=${fields[19]}
    fi
    [[ ! -p $__devtrace_fifo ]] ||
      \builtin printf 'HELLO\t1\t%s\t%s\t-\t%s\t%s\t%s\t0\tbash %s\n' "$__devtrace_nonce" "$__devtrace_shell" \
        "$pid" "$ppid" "$start" "$BASH_VERSION" 1<>"$__devtrace_fifo"
  }

  __devtrace_install() {
    ((__devtrace_v < 501)) || { local - && set +eux; }
    if [[ -n ${__devtrace_quiet-} ]]; then # the lines come by a pipe: nobody typed them, no prompt is wanted
      unset HISTFILE PROMPT_COMMAND
      HISTCONTROL='' HISTIGNORE='' PS1='' PS2=''
    fi
    __devtrace_hello
    __devtrace_attach
    [[ -z ${BLE_VERSION-} ]] || __devtrace_warn blesh
  }
  { __devtrace_install || :; } 2>/dev/null
fi
