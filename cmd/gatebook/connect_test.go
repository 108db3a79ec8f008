package main

import (
	"errors"
	"testing"
)

// What adds a token to whatever comes listens on this machine alone.
func TestConnectListensHereAlone(t *testing.T) {
	for listen, here := range map[string]bool{"127.0.0.1:0": true, "localhost:0": true, "0.0.0.0:0": false, ":0": false} {
		o := connectOptions{listen: listen}
		l, env, err := o.listener("orders")
		var usage usageError
		if here != (err == nil) || !here && !errors.As(err, &usage) {
			t.Errorf("%s: %v", listen, err)
		}
		if err == nil {
			if env["PGHOST"] == "" || env["PGPORT"] == "0" {
				t.Errorf("%s: %v", listen, env)
			}
			l.Close()
		}
	}
}
