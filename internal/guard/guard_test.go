package guard

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func fall() error { panic("the ground is gone") }

func TestCall(t *testing.T) {
	var p *Panic
	if err := Call(fall); !errors.As(err, &p) || p.Value != "the ground is gone" || !strings.Contains(err.Error(), "guard.fall") {
		t.Errorf("a panic became %v", err)
	}
	if err := Run(func() { panic(io.EOF) }); !errors.As(err, &p) || p.Value != io.EOF {
		t.Errorf("a panic became %v", err)
	}
	if err := Call(func() error { return io.EOF }); err != io.EOF {
		t.Errorf("an error became %v", err)
	}
	if err := Run(func() {}); err != nil {
		t.Errorf("nothing became %v", err)
	}
}
