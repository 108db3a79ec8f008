package kubernetes

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"gatebook/internal/access"
	"gatebook/internal/guard"
	"gatebook/internal/spool"
)

// A panic while a body is masked for its record is an error of the record, without which nothing is done; the log says so.
func TestAPanicIsNoRecord(t *testing.T) {
	var log bytes.Buffer
	x := &exchange{h: &Handler{o: Options{Log: slog.New(slog.NewTextHandler(&log, nil))}}, op: &access.Operation{ID: "op-1"},
		body: spool.Of([]byte("secret"))} // without a scope
	p := x.payload()
	b, err := io.ReadAll(p.reader())
	p.close()
	var fell *guard.Panic
	if len(b) > 0 || !errors.As(err, &fell) {
		t.Errorf("read %q, %v", b, err)
	}
	if !strings.Contains(log.String(), "op-1") {
		t.Errorf("the log says %s", log.String())
	}
}
