# shellcheck shell=bash disable=SC2154,SC2317  # the names come from nested.bash, which reads this; called below
# DevTrace in a nested bash: what nested.bash leaves out, since a short `bash -c` can do without it.
#
#   who         __devtrace_stat where the program's name has a space in it, or without /proc
#   tell "$@"   the records of a script, of text that must be escaped, or of more than fits into one record

__devtrace_who() {
  local IFS=$' \t\n' stat=''
  if IFS='' \builtin read -r stat </proc/self/stat; then
    # shellcheck disable=SC2206  # numbers and one letter: nothing to glob
    __devtrace_stat=("${stat%% *}" '()' ${stat##*) })
  else # our shells name themselves to their children
    __devtrace_stat=([0]=$$ [3]=$PPID [21]=-)
    [[ ${DEVTRACE_SHELL_PID-} != "$PPID" ]] || __devtrace_parent=bash
    export DEVTRACE_SHELL_PID=$$
  fi
}

__devtrace_tell() {
  local LC_ALL=C IFS=$' \t\n' text='' words=() rest piece part=1 parts head=$'CMD\t1\t-\t'$__devtrace_shell$'\t1'
  if [[ -n ${BASH_EXECUTION_STRING+x} ]]; then
    text=$BASH_EXECUTION_STRING
  else
    # While BASH_ENV is read, $0 is still the shell's own name, and in old versions $@ is empty.
    while IFS='' \builtin read -rd '' piece; do words+=("$piece"); done </proc/self/cmdline
    [[ ${#words[@]} != 0 ]] || words=(bash "$@")
    [[ ${#words[@]} == 1 ]] || \builtin printf -v text ' %q' "${words[@]:1}"
    text=bash$text
  fi
  rest=$PWD$'\001'$text
  text=
  while [[ -n $rest ]]; do
    piece=${rest:0:2048} rest=${rest:2048}
    piece=${piece//\%/%25}
    piece=${piece//$'\t'/%09}
    text+=${piece//$'\n'/%0A}
  done
  text=${text%%$'\001'*}$'\t'${text#*$'\001'}
  parts=$(((${#text} + 799) / 800))
  \builtin printf 'HELLO\t1\t-\t%s\t-\t%s\t%s\t%s\t1\tbash %s\n' "$__devtrace_shell" "${__devtrace_stat[0]}" \
    "${__devtrace_stat[3]}" "${__devtrace_stat[21]}" "$BASH_VERSION" 1<>"$DEVTRACE_FIFO"
  while ((part <= parts)); do
    \builtin printf '%s\t%s\t%s\t%s\t%s\t-\te\t%s\n' "$head" "$part/$parts" "$__devtrace_shell" "${DEVTRACE_SPAN:--}" \
      "${__devtrace_time/[.,]/}" "${text:0:800}" 1<>"$DEVTRACE_FIFO"
    text=${text:800}
    ((part += 1))
  done
}

"__devtrace_$1" "${@:2}"
unset -f __devtrace_who __devtrace_tell
