# What starts in the agent's pod: everything it needs is written by gatebook, and Claude Code gets a prompt.
set -e
gatebook env --agent --dir "$HOME/.gatebook" >/dev/null
claude --settings "$HOME/.gatebook/claude.json" -p "$1" --allowedTools "Bash,Agent" --output-format stream-json --verbose | node "$2"
