// Package guard keeps a panic to what it happened in. net/http does so for a request's own goroutine; in any other, a
// panic would end the process, and with it everybody else's requests. It guarantees that what ran into one is told so by
// an error, on which it fails as on any other: closed, and on the record.
package guard

import (
	"fmt"
	"runtime/debug"
)

// Panic is the error that a panic became.
type Panic struct {
	Value any
	// Stack is of where it happened.
	Stack []byte
}

func (p *Panic) Error() string { return fmt.Sprintf("panic: %v\n%s", p.Value, p.Stack) }

// Call gives what f returns, or a *Panic where it ran into one.
func Call(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Panic{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}

// Run is Call for what returns nothing.
func Run(f func()) error {
	return Call(func() error {
		f()
		return nil
	})
}
