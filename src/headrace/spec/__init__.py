"""What the user asks for: the spec.

What enters: YAML text, or plain data from the API. What leaves: checked, immutable models (``models``), table
patterns (``patterns``), and one ``Invalid`` that lists every problem with file, line and accepted values.
Pure: no driver, no HTTP, no ORM, and no knowledge of what exists on any server.
"""
