# The user's own .zshrc: a zsh below an agent finds its files through DevTrace's ZDOTDIR.
__devtrace_file=.zshrc
builtin . "$ZDOTDIR/forward"
