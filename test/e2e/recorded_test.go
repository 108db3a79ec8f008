package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"gatebook/internal/access"
	"gatebook/internal/recording"
	"gatebook/test/lab"
)

// recorded is one operation as an export of the sealed archive has it.
type recorded struct {
	recording.Opening
	begun, ended int
	outcome      access.Outcome
	payload      string
	streams      map[recording.Stream]string // to the client
}

// exported reads what is recorded of a session from a gateway's archive, by the command line, without a gateway.
func exported(t *testing.T, g *lab.Gateway, session access.SessionID) map[access.OperationID]*recorded {
	t.Helper()
	r := must(t, g.CLI("", "export", string(session), "--archive", g.Data("archive"), "--key", g.Data("auditor.key"), "--format", "jsonl"))
	all := map[access.OperationID]*recorded{}
	lines := bufio.NewScanner(strings.NewReader(r.Stdout))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if err := readLine(all, lines.Bytes()); err != nil {
			t.Fatalf("%v\n%.500s", err, lines.Text())
		}
	}
	return all
}

func readLine(all map[access.OperationID]*recorded, text []byte) error {
	var l struct {
		Kind      string             `json:"kind"`
		Operation access.OperationID `json:"operation"`
		Stream    recording.Stream   `json:"stream"`
		Direction string             `json:"direction"`
		Text      string             `json:"text"`
		Base64    []byte             `json:"base64"`
		Body      json.RawMessage    `json:"body"`
	}
	if err := json.Unmarshal(text, &l); err != nil || l.Operation == "" {
		return err
	}
	op := all[l.Operation]
	if op == nil {
		op = &recorded{streams: map[recording.Stream]string{}}
		all[l.Operation] = op
	}
	data := l.Text + string(l.Base64)
	switch l.Kind {
	case "begin":
		op.begun++
		return json.Unmarshal(l.Body, &op.Opening)
	case "payload":
		op.payload += data
	case "stream":
		if l.Direction == "to-client" {
			op.streams[l.Stream] += data
		}
	case "end":
		op.ended++
		var c recording.Closing
		if err := json.Unmarshal(l.Body, &c); err != nil {
			return err
		}
		op.outcome = c.Outcome
	}
	return nil
}

// holds checks one thing that an agent was told against the book.
func (r *recorded) holds(seen told) error {
	stream := recording.Body
	if seen.marker != "" {
		stream = recording.Stdout
	}
	got := r.streams[stream]
	switch {
	case r.begun != 1 || r.ended != 1:
		return fmt.Errorf("it is begun %d times and ended %d times", r.begun, r.ended)
	case r.Refused != nil:
		return fmt.Errorf("it is recorded as refused: %+v", r.Refused)
	case seen.sent != "" && !sameJSON(r.payload, seen.sent):
		return fmt.Errorf("its payload is recorded as %.300q, sent was %.300q", r.payload, seen.sent)
	case !strings.HasPrefix(got, seen.got):
		return fmt.Errorf("recorded is %.300q, received was %.300q", got, seen.got)
	case seen.whole && got != seen.got:
		return fmt.Errorf("recorded are %d bytes, received were %d", len(got), len(seen.got))
	}
	return nil
}

func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	return fmt.Sprint(x) == fmt.Sprint(y)
}
