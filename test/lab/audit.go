package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// AuditEvent is what the API server's own audit log says of one request that reached it.
type AuditEvent struct {
	// ID is, for a request that came through the gateway, the operation's.
	ID    string `json:"auditID"`
	Stage string `json:"stage"`
	URI   string `json:"requestURI"`
	Verb  string `json:"verb"`
	User  struct {
		Username string `json:"username"`
	} `json:"user"`
	Impersonated struct {
		Username string              `json:"username"`
		UID      string              `json:"uid"`
		Groups   []string            `json:"groups"`
		Extra    map[string][]string `json:"extra"`
	} `json:"impersonatedUser"`
	UserAgent string `json:"userAgent"`
	Object    struct {
		Resource    string `json:"resource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
	Response struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

// Audit is the API server's audit log from some moment on.
type Audit struct {
	file string
	from int64
}

// Audit starts at this moment. The API server writes an event before it ends its answer.
func (c *Cluster) Audit(t testing.TB) *Audit {
	t.Helper()
	a := &Audit{file: filepath.Join(c.Run, "logs", "audit.log")}
	i, err := os.Stat(a.file)
	if err != nil {
		t.Fatal(err)
	}
	a.from = i.Size()
	return a
}

// Events gives what reached the API server as the principals whose name contains principal, through impersonation or
// not.
func (a *Audit) Events(t testing.TB, principal string) []AuditEvent {
	t.Helper()
	events, err := a.read(func(e AuditEvent) bool {
		return strings.Contains(e.Impersonated.Username, principal) || strings.Contains(e.User.Username, principal)
	})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func (a *Audit) read(match func(AuditEvent) bool) ([]AuditEvent, error) {
	f, err := os.Open(a.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(a.from, io.SeekStart); err != nil {
		return nil, err
	}
	var out []AuditEvent
	for r := bufio.NewReaderSize(f, 1<<20); ; {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return out, nil // a line without its end is still being written
		}
		if err != nil {
			return nil, err
		}
		var e AuditEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
		if match(e) {
			out = append(out, e)
		}
	}
}
