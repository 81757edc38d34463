"""What Claude Code's structures mean, as fields of events: one mapping for its stream, its transcripts and its hooks.

Pure, and without pydantic: ``workcast hook`` has to load fast.
"""
