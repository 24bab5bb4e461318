# The user's own .zlogin: a zsh below an agent finds its files through DevTrace's ZDOTDIR.
__devtrace_file=.zlogin
builtin . "$ZDOTDIR/forward"
