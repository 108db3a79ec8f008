package httpheader

import (
	"net/http"
	"reflect"
	"testing"
)

// A header that is dropped is dropped in every spelling, and what a Connection header names with it; all else goes on.
func TestForwarded(t *testing.T) {
	h := http.Header{"Connection": {"close, x-hop", "X_Under"}, "X-Hop": {"1"}, "X-Under": {"1"}, "Te": {"trailers"}, "x_forwarded_for": {"1"}, "X-Forwarded-Host": {"1"}, "remote_user": {"1"},
		"Remote-User": {"1"}, "X-Kept": {"1", "2"}, "X_kept": {"3"}}
	got := Forwarded(h, SetOf(Connection, []string{"Remote-User"}), []string{"X-Forwarded-"})
	if want := (http.Header{"X-Kept": {"1", "2"}, "X_kept": {"3"}, "X-Under": {"1"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	got = Relayed(h, SetOf(Connection, []string{"Remote-User"}))
	if got.Get("X-Hop") != "" || got.Get("Te") != "" || got.Get("Remote-User") != "" || got.Get("X-Forwarded-Host") == "" {
		t.Errorf("%v", got)
	}
}

func TestAsksUpgrade(t *testing.T) {
	for _, c := range []struct {
		h    http.Header
		asks bool
	}{{http.Header{}, false}, {http.Header{"Upgrade": {"h2c"}}, true}, {http.Header{"Connection": {"keep-alive, Upgrade"}}, true}, {http.Header{"Connection": {"close"}}, false}} {
		if AsksUpgrade(c.h) != c.asks {
			t.Errorf("%v", c.h)
		}
	}
}
