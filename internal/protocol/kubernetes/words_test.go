package kubernetes

import (
	"errors"
	"strings"
	"testing"

	"gatebook/internal/access"
)

// A known secret that an agent sends is in no word of the record or the log, wherever in its request it stands.
func TestKnownValuesInEveryWord(t *testing.T) {
	const pods = "/api/v1/namespaces/a/pods"
	for name, c := range map[string]struct {
		method, uri, body string
		header            []string
	}{
		"user agent":        {uri: pods, header: []string{"User-Agent", hiddenValue}},
		"invocation":        {uri: pods, header: []string{"Kubectl-Session", hiddenValue}},
		"reason":            {uri: pods, header: []string{"Gatebook-Reason", hiddenValue}},
		"content type":      {method: "PATCH", uri: pods + "/p", body: "{}", header: []string{"Content-Type", hiddenValue}},
		"accept":            {uri: pods, header: []string{"Accept", "application/" + hiddenValue}},
		"encoding":          {method: "POST", uri: pods, body: "{}", header: []string{"Content-Encoding", hiddenValue}},
		"another header":    {uri: pods, header: []string{"Impersonate-" + hiddenValue, "x"}},
		"upgrade":           {uri: pods, header: []string{"Connection", "Upgrade", "Upgrade", hiddenValue}},
		"protocols":         {uri: pods + "/p/log", header: []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-Websocket-Version", "13", "Sec-Websocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-Websocket-Protocol", hiddenValue}},
		"exec protocols":    {uri: pods + "/p/exec?command=a&stdout=1", header: []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-Websocket-Version", "13", "Sec-Websocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-Websocket-Protocol", hiddenValue}},
		"spdy protocols":    {method: "POST", uri: pods + "/p/exec?command=a&stdout=1", header: []string{"Connection", "Upgrade", "Upgrade", "SPDY/3.1", "X-Stream-Protocol-Version", hiddenValue}},
		"forward protocols": {method: "POST", uri: pods + "/p/portforward", header: []string{"Connection", "Upgrade", "Upgrade", "SPDY/3.1", "X-Stream-Protocol-Version", hiddenValue}},
		"limit":             {uri: pods + "/p/log?limitBytes=" + hiddenValue},
		"method":            {method: hiddenValue, uri: pods},
		"path":              {uri: "/healthz/" + hiddenValue},
		"resource":          {uri: "/api/v1/namespaces/a/" + hiddenValue},
		"subresource":       {uri: pods + "/p/" + hiddenValue},
		"group":             {uri: "/apis/" + hiddenValue + "/v1/things"},
		"name":              {uri: pods + "/" + hiddenValue},
		"namespace":         {uri: "/api/v1/namespaces/" + hiddenValue + "/pods"},
		"query":             {uri: pods + "?x=" + hiddenValue},
		"field manager":     {method: "PATCH", uri: pods + "/p?fieldManager=" + hiddenValue, body: "{}", header: []string{"Content-Type", typeMerge}},
		"selector":          {uri: pods + "?labelSelector=a%3D" + hiddenValue},
		"container":         {method: "POST", uri: pods + "/p/exec?command=a&container=" + hiddenValue},
		"an option":         {method: "POST", uri: pods + "/p/exec?command=a&stdin=" + hiddenValue},
		"another option":    {method: "POST", uri: pods + "/p/exec?command=a&tty=" + hiddenValue},
		"port":              {method: "POST", uri: pods + "/p/portforward?ports=" + hiddenValue},
		"kind":              {method: "POST", uri: pods, body: `{"kind":"` + hiddenValue + `"}`},
		"twice":             {method: "POST", uri: pods, body: `{"` + hiddenValue + `":1,"` + hiddenValue + `":2}`},
		"field":             {method: "POST", uri: pods, body: `{"` + hiddenValue + `":1}`},
		"no JSON":           {method: "POST", uri: pods, body: hiddenValue},
		"YAML":              {method: "POST", uri: pods, body: hiddenValue + ": a: b", header: []string{"Content-Type", typeYAML}},
		"JSON patch":        {method: "PATCH", uri: pods + "/p", body: `[{"op":"add","path":"/` + hiddenValue + `","value":1}]`, header: []string{"Content-Type", typeJSONPatch}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, reply(200, typeJSON, `{}`))
			w.h.o.Masks.Learn([]byte(hiddenValue))
			if c.method == "" {
				c.method = "GET"
			}
			w.do(c.method, c.uri, c.body, c.header...)
			if l := leaks(w.recorded(), hiddenValue); l != nil {
				t.Errorf("the record holds it as %v", l)
			}
			if l := leaks(w.log.bytes(), hiddenValue); l != nil {
				t.Errorf("the log holds it as %v", l)
			}
		})
	}
}

// What the log says of a refusal is hidden like the rest of it.
func TestCausesAreHidden(t *testing.T) {
	w := newWorld(t, nil)
	w.h.o.Masks.Learn([]byte(hiddenValue))
	x := exchange{scope: w.h.o.Masks.Scope("s")}
	why := access.Refuse(access.CodeMalformed, errors.New("parsing "+hiddenValue), "no: %s", hiddenValue)
	x.hideRefusal(why)
	if s := why.Message + why.Cause.Error(); leaks([]byte(s), hiddenValue) != nil || !strings.Contains(s, "parsing ") {
		t.Errorf("it says %s", s)
	}
}
