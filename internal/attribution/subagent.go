package attribution

import (
	"encoding/json"
	"slices"
	"strings"

	"gatebook/internal/access"
)

// Tools by which a coding agent gives a prompt to another.
var agentTools = []string{"Agent", "Task", "SendMessage"}

// starter finds, among the calls of a session, the one that gave a sub-agent the prompt of its turn: the latest before it
// whose prompt is that one, letter by letter, as the model emitted it. Nil where there is none.
func starter(calls []access.Call, turn access.Operation) *access.Call {
	if turn.Model == nil || turn.Model.Agent == "" || turn.Model.Prompt == "" {
		return nil
	}
	var found *access.Call
	for i, c := range calls {
		if slices.Contains(agentTools, c.Name) && c.Emitted.Before(turn.Time) && given(c.Input) == strings.TrimSpace(turn.Model.Prompt) && (found == nil || !c.Emitted.Before(found.Emitted)) {
			found = &calls[i]
		}
	}
	return found
}

// given is the prompt in a call's input.
func given(input string) string {
	var in struct{ Prompt, Message string }
	if json.Unmarshal([]byte(input), &in) != nil {
		return ""
	}
	if in.Prompt == "" {
		in.Prompt = in.Message
	}
	return strings.TrimSpace(in.Prompt)
}
