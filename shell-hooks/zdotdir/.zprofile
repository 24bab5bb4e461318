# The user's own .zprofile: a zsh below an agent finds its files through DevTrace's ZDOTDIR.
__devtrace_file=.zprofile
builtin . "$ZDOTDIR/forward"
