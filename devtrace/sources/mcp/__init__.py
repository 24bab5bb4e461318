"""The Model Context Protocol from outside: a proxy between a client and its server, and their settings.

Two processes. The forwarder moves bytes and is all that client and server depend on (stdio.py, http.py). The
recording process reads copies through a pipe (tap.py), finds messages in them (lines.py, sse.py) and calls in
those (conversation.py). It may be slow, stuck or killed: the traffic goes on, and what it missed is a gap.

Standard library only, but for http.py: a proxy starts with every server of every agent.
"""
