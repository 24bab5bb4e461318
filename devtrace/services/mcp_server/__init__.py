"""What answers a model's questions from the record, by the Model Context Protocol: `devtrace mcp serve`.

From the protocol to the record: serve.py, calls.py, tools.py, answers.py and its like, query/. All of it only
reads. The protocol's library comes with the extra `mcp`, and is imported late.
"""
