"""The proxy in front of MCP servers: whose record it is (run.py), and the process that records (recorder.py).

Bytes and messages are the matter of sources/mcp/. Standard library only, but for what HTTP needs: guests.
"""
