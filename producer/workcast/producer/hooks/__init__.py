"""Claude Code's hooks: a payload in, events in the session's log out. Loads fast, as each call of a tool waits."""
