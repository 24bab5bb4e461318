# DevTrace in an interactive fish: what was typed, where, when, and how it ended.
#
# Sourced by --init-command after the user's configuration (sources/shell/hooks.py), with __devtrace_nonce, _mark,
# _marks, _fifo, _env, _quiet, _private set. fish cannot open a FIFO for reading and writing, and opening one for
# writing blocks without a reader: so each record is sent by one `sh`, which can. The protocol: docs/adr/0001.

if not set -q __devtrace_shell; and status is-interactive; and test -n "$__devtrace_fifo"
    set -g __devtrace_shell (printf '%08x%04x%04x' $fish_pid (random 0 65535) (random 0 65535))
    set -g __devtrace_seq 0
    set -g __devtrace_on 0
    set -gx DEVTRACE_SPAN (random 1000000000000000 9999999999999999)

    # Percent-escape: %, tab and newline; one line comes out.
    function __devtrace_escape
        string replace -a '%' '%25' -- $argv[1] | string collect -N | string replace -a \t '%09' | string collect -N | string split \n | string join '%0A'
    end

    # Write ready lines to the FIFO: one process, silent without a reader.
    function __devtrace_write
        command sh -c '[ -p "$0" ] && for line; do printf "%s\n" "$line" 1<>"$0"; done' $__devtrace_fifo $argv 2>/dev/null
    end

    # One record: kind, short fields, directory, and for CMD what was typed. What is short and needs no escape goes
    # as it is: every substitution costs as much as all else here.
    function __devtrace_send
        set -l head $argv[1]\t1\t$__devtrace_nonce\t$__devtrace_shell\t$__devtrace_seq
        if not string match -qr '^[^%\t\n]{0,200}\z' -- "$argv[3]$argv[4]"
            __devtrace_send_parts $head $argv[2..]
        else if set -q argv[4]
            __devtrace_write $head\t1/1\t$argv[2]\t$argv[3]\t$argv[4]
        else
            __devtrace_write $head\t1/1\t$argv[2]\t$argv[3]
        end
    end

    # The same in parts of at most 1,000 bytes (a character has at most four): head, short fields, the texts.
    function __devtrace_send_parts
        set -l text (__devtrace_escape $argv[3])
        set -q argv[4]; and set text $text\t(__devtrace_escape $argv[4])
        set -l size (string length -- $text)
        set -l parts (math "max(1, ceil($size / 200))")
        set -l lines
        set -l part 1
        while test $part -le $parts
            set -l piece (string sub -s (math "($part - 1) * 200 + 1") -l 200 -- $text)
            set -a lines $argv[1]\t$part/$parts\t$argv[2]\t"$piece"
            set part (math $part + 1)
        end
        __devtrace_write $lines
    end

    # An in-band mark on every path the host cuts output from.
    function __devtrace_cut
        for path in $__devtrace_marks
            printf '\e]6973;%s;%s;%s\a' $__devtrace_mark $argv[1] $DEVTRACE_SPAN >$path 2>/dev/null
        end
    end

    function __devtrace_preexec --on-event fish_preexec
        set -l before $status
        string match -qr '^\s*(#[^\n]*(\n\s*|$))*$' -- $argv[1]; and return # blanks or a comment
        set -l form e
        if test -n "$__devtrace_quiet"
            # the lines come by a pipe: nobody typed them, and no history keeps them
        else if test -n "$fish_private_mode"
            set form h
        else if string match -q ' *' -- $argv[1]
            set form p
        end
        set -l text ''
        if test $form = e; or test "$__devtrace_private" = text
            set form e
            set text $argv[1]
        end
        set -l next (math $__devtrace_seq + 1; random 1000000000000000 9999999999999999)
        set -g __devtrace_seq $next[1]
        set -gx DEVTRACE_SPAN $next[2]
        set -gx TRACEPARENT 00-$DEVTRACE_SESSION-$DEVTRACE_SPAN-01
        set -g __devtrace_on 1
        __devtrace_send CMD $DEVTRACE_SPAN\t-\t-\t$before\t$form $PWD "$text"
        __devtrace_cut C
    end

    function __devtrace_postexec --on-event fish_postexec
        set -l last $status $pipestatus
        test $__devtrace_on = 1; or return
        __devtrace_cut D
        set -g __devtrace_on 0
        set -l pipe -
        set -q last[3]; and set pipe (string join , -- $last[2..])
        set -g __devtrace_seq (math $__devtrace_seq + 1)
        __devtrace_send EXIT $DEVTRACE_SPAN\t-\t$last[1]\t$pipe $PWD
    end

    # BASH_ENV for the agents' bash, set again when something took it away.
    function __devtrace_attach --on-event fish_prompt
        if test -n "$__devtrace_env"; and test "$BASH_ENV" != "$__devtrace_env"
            set -gx DEVTRACE_BASH_ENV $BASH_ENV
            set -gx BASH_ENV $__devtrace_env
        end
    end

    # With commands from a pipe an interactive fish would read them all at once: this reads one at a time. It
    # leaves the reading to `sh`, since the `read` of fish drops bytes that are not UTF-8.
    function __devtrace_drive
        set -l command
        set -l last 0
        while set -l line (command sh -c 'IFS= read -r line || [ -n "$line" ] && printf "%s\n" "$line"')
            set -a command $line
            set -l text (string join \n -- $command | string collect)
            if printf '%s\n' $text | command fish --no-execute 2>/dev/null
                set command
                emit fish_preexec $text
                eval $text
                set last $status
                emit fish_postexec $text
            end
        end
        if set -q command[1] # an end is missing: fish says so itself
            eval (string join \n -- $command | string collect)
            set last $status
        end
        exit $last
    end

    __devtrace_attach
    set -l stat
    if test -r /proc/self/stat
        builtin read stat </proc/self/stat
        set stat (string split ' ' -- (string replace -r '^.*\) ' '' -- $stat)) (string split ' ' -- $stat)[1]
        __devtrace_write (string join \t -- HELLO 1 $__devtrace_nonce $__devtrace_shell - $stat[-1] $stat[2] $stat[20] 0 "fish $version")
    else
        __devtrace_write (string join \t -- HELLO 1 $__devtrace_nonce $__devtrace_shell - $fish_pid 0 - 0 "fish $version")
    end
end
