package kubernetes

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"gatebook/internal/access"
)

// K30: flags and commands are read as the API server reads them. The expectations are its conversion's: the first of
// repeated values, true unless "0" or "false".
func TestK30StreamOptions(t *testing.T) {
	for query, want := range map[string]access.Exec{
		"":                                {},
		"stdin=1&tty=T":                   {Stdin: true, TTY: true},
		"stdin=true&stdout=TRUE":          {Stdin: true, Stdout: true},
		"stdin=0&stdout=false&tty=FaLsE":  {},
		"stdin=&stdout&stderr=no":         {Stdin: true, Stdout: true, Stderr: true},
		"stdin=0&stdin=1":                 {},
		"stdin=1&stdin=0":                 {Stdin: true},
		"Stdin=1&STDIN=1&stdin[]=1":       {},
		"command=sh&command=-c&command=":  {Command: []string{"sh", "-c", ""}},
		"command=a%20b&command=c%26d":     {Command: []string{"a b", "c&d"}},
		"container=one&container=two":     {Container: "one"},
		"input=1&output=1&command=whoami": {Command: []string{"whoami"}},
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := streamOptions(q)
		if err != nil {
			t.Errorf("%q: %v", query, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", query, d)
		}
	}
}

// What is sent upstream reads as what was decided on.
func TestStreamOptionsSurviveEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := access.Exec{
			Container: rapid.String().Draw(t, "container"), Command: rapid.SliceOfN(rapid.String(), 1, 5).Draw(t, "command"),
			Stdin: rapid.Bool().Draw(t, "stdin"), Stdout: rapid.Bool().Draw(t, "stdout"),
			Stderr: rapid.Bool().Draw(t, "stderr"), TTY: rapid.Bool().Draw(t, "tty"),
		}
		q, err := url.ParseQuery(encodeOptions(&e).Encode())
		if err != nil {
			t.Fatal(err)
		}
		got, err := streamOptions(q)
		if err != nil || !cmp.Equal(e, got) {
			t.Fatalf("%v\n%s", err, cmp.Diff(e, got))
		}
	})
}

// What the client put into the query beside the options does not reach the API server.
func TestStreamURLIsWrittenAnew(t *testing.T) {
	r, err := http.NewRequest("GET", "http://gateway/api/v1/namespaces/n/pods/p%40/exec?command=id&stdout=1&stdout=0&x=y&%63ommand=-u", nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := streamOptions(r.URL.Query())
	if err != nil {
		t.Fatal(err)
	}
	u, err := streamURL(r, &access.Kubernetes{Exec: &e})
	if err != nil {
		t.Fatal(err)
	}
	if got := u.String(); got != "/api/v1/namespaces/n/pods/p%40/exec?command=id&command=-u&stdout=true" {
		t.Error(got)
	}
	if u, err = streamURL(r, &access.Kubernetes{}); err != nil || strings.Contains(u.String(), "?") {
		t.Error(u)
	}
}
