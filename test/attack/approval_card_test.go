package attack

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/test/lab"
)

// I84: nothing that a browser can be made to send approves anything: not a GET, not a form, not a request without the
// token in its header, not a WebSocket; and no page elsewhere may read an answer.
func TestI84NoApprovalByBrowser(t *testing.T) {
	a := newAsk(t, "", lab.Options{})
	q := a.creating("browser")
	id := a.pending(q)
	ada := a.g.Person("ada", "approvers")
	path, yes := "/gatebook/v1/approvals/"+string(id)+"/answer", `{"yes":true}`
	evil := "Origin: https://evil.test"
	for name, r := range map[string]request{
		"GET":                     {method: "GET", path: path, token: ada},
		"GET with a query":        {method: "GET", path: path + "?yes=true&scope=once", token: ada},
		"GET with a body":         {method: "GET", path: path, token: ada, header: []string{"Content-Type: application/json"}, body: yes},
		"HEAD":                    {method: "HEAD", path: path, token: ada},
		"PUT":                     {method: "PUT", path: path, token: ada, header: []string{"Content-Type: application/json"}, body: yes},
		"overridden method":       {method: "GET", path: path, token: ada, header: []string{"X-HTTP-Method-Override: POST", "Content-Type: application/json"}, body: yes},
		"no type":                 {method: "POST", path: path, token: ada, body: yes},
		"as text":                 {method: "POST", path: path, token: ada, header: []string{"Content-Type: text/plain", evil}, body: yes},
		"as text, JSON mentioned": {method: "POST", path: path, token: ada, header: []string{"Content-Type: text/plain; application/json"}, body: yes},
		"as a form":               {method: "POST", path: path, token: ada, header: []string{"Content-Type: application/x-www-form-urlencoded", evil}, body: yes + "="},
		"as multipart":            {method: "POST", path: path, token: ada, header: []string{"Content-Type: multipart/form-data; boundary=x", evil}, body: yes},
		"by cookie":               {method: "POST", path: path, header: []string{"Content-Type: application/json", "Cookie: token=" + ada + "; Authorization=Bearer " + ada, evil}, body: yes},
		"token in the query":      {method: "POST", path: path + "?access_token=" + ada + "&token=" + ada, header: []string{"Content-Type: application/json"}, body: yes},
		"basic":                   {method: "POST", path: path, header: []string{"Content-Type: application/json", "Authorization: Basic " + ada}, body: yes},
		"two tokens":              {method: "POST", path: path, token: a.agent, header: []string{"Content-Type: application/json", "Authorization: Bearer " + ada}, body: yes},
		"WebSocket":               {method: "GET", path: path, token: ada, header: []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", evil}},
		"WebSocket, token inside": {method: "GET", path: path, header: []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol: bearer, " + ada, evil}},
		"preflight":               {method: "OPTIONS", path: path, header: []string{evil, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization, content-type"}},
		"an unknown field":        {method: "POST", path: path, token: ada, header: []string{"Content-Type: application/json"}, body: `{"yes":true,"approver":{"name":"root"}}`},
		"the agent":               {method: "POST", path: path, token: a.agent, header: []string{"Content-Type: application/json"}, body: yes},
		"through the target":      {method: "POST", path: "/t/lab" + path, token: ada, header: []string{"Content-Type: application/json"}, body: yes},
	} {
		t.Run(name, func(t *testing.T) {
			r := over(t, a.g, h1).do(r)
			if r.code/100 == 2 || r.code == http.StatusSwitchingProtocols {
				t.Errorf("answered %d %s", r.code, r.body)
			}
			if r.header.Get("Access-Control-Allow-Origin") != "" || r.header.Get("Set-Cookie") != "" {
				t.Errorf("a page elsewhere may read this: %v", r.header)
			}
			if x, err := a.desk.Approval(t.Context(), id); err != nil || x.State != access.ApprovalPending || len(x.Answers) > 0 {
				t.Errorf("the approval is %s: %v", x.State, err)
			}
		})
	}
	a.approve(id)
	a.runs(q, "browser")
}

// I86: what an agent chose to write cannot act on an approver's terminal, and none of it is hidden.
func TestI86InertNames(t *testing.T) {
	a := newAsk(t, "", lab.Options{})
	pod(t, a.ns, "box", "")
	long := strings.Repeat("A very long argument. ", 400) + "rm -rf /the-end"
	args := []string{"echo", "\x1b[2J\x1b[1;1Hharmless", "\x1b]52;c;ZXZpbA==\x07", "\u202egnp.txt\u202c", "a\rb\nc", "<script>alert(1)</script>", "zero\u200bwidth", "\u0085\u009b2J", "tag\U000e0041", long}
	config := a.g.Kubeconfig(a.agent)
	r, err := cluster.Kubectl(t.Context(), config, "", append([]string{"-n", a.ns, "exec", "box", "--"}, args...)...)
	if err != nil || r.Code == 0 {
		t.Fatalf("not held: %s %v", r.Out(), err)
	}
	p := pending(t, a.desk, "harmless")
	object := a.creating("x")
	object.body = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"inert-"},"data":{"a":"\u001b[31mred\u202e\u0000","<b>":"<img src=x onerror=alert(1)>"}}`
	object.header[1] = "User-Agent: \u202eagent\u2066"
	o := a.pending(object)
	ada := a.g.Person("ada", "approvers")
	list := must(t, a.g.CLI(ada, "approvals")).Stdout
	one := must(t, a.g.CLI(ada, "approvals", string(p.ID))).Stdout
	two := must(t, a.g.CLI(ada, "approvals", string(o))).Stdout
	for name, out := range map[string]string{"list": list, "card of the command": one, "card of the object": two} {
		for _, c := range out {
			if c != '\n' && (unicode.IsControl(c) || unicode.In(c, unicode.Bidi_Control, unicode.Cf, unicode.Variation_Selector)) {
				t.Errorf("%s: %U reaches the terminal", name, c)
			}
		}
	}
	for _, want := range []string{`$'\u001b[2J\u001b[1;1Hharmless'`, `$'\u001b]52;c;ZXZpbA==\u0007'`, `$'\U0000202egnp.txt\U0000202c'`, `$'a\u000db\nc'`, "'<script>alert(1)</script>'", `$'zero\U0000200bwidth'`, `$'\u0085\u009b2J'`, `$'tag\U000e0041'`, long} {
		for name, out := range map[string]string{"list": list, "card": one} {
			if !strings.Contains(out, want) {
				t.Errorf("%s does not show %.60q whole:\n%.3000s", name, want, out)
			}
		}
	}
	for _, want := range []string{"<img src=x onerror=alert(1)>", `"\u202eagent\u2066"`, `\e[31mred\u{202e}\0`} {
		if !strings.Contains(two, want) {
			t.Errorf("the card of the object does not show %q:\n%s", want, two)
		}
	}
}

// I87: what cannot be shown whole is said to be uninspectable, to who asks the API and to who reads the terminal.
func TestI87Uninspectable(t *testing.T) {
	a := newAsk(t, "", lab.Options{Policy: map[string]string{"ask.yaml": askPolicy("")["ask.yaml"] +
		"  - {id: proxied, protocol: kubernetes, effect: approve, verbs: [proxy], reason: a person looks at it}\n"}})
	lines := strings.Builder{}
	for i := range 25_000 {
		fmt.Fprintf(&lines, `,"k%d":"v"`, i)
	}
	object := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"big"},"data":{"a":"b"` + lines.String() + `}}`
	must(t, admin(t, object, "-n", a.ns, "create", "-f", "-"))
	must(t, admin(t, "", "-n", a.ns, "create", "configmap", "applied"))
	in := "/t/lab/api/v1/namespaces/" + a.ns
	for name, c := range map[string]struct {
		request
		field string
	}{
		"a diff that is too long": {request{method: "PUT", path: in + "/configmaps/big", header: []string{"Content-Type: application/json"}, body: strings.Replace(object, `"b"`, `"c"`, 1)}, "diff"},
		"an apply of a field that no ConfigMap has": {request{method: "PATCH", path: in + "/configmaps/applied?fieldManager=x", header: []string{"Content-Type: application/apply-patch+yaml"},
			body: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: b}\nspec: {a: b}\n"}, "kubernetes.object"},
		"bytes for a pod": {request{method: "POST", path: in + "/pods/box/proxy/x", header: []string{"Content-Type: application/octet-stream"}, body: "\x00\x01\xff\xfe\x1b[2J"}, "kubernetes.object"},
	} {
		t.Run(name, func(t *testing.T) {
			a := *a
			a.t = t
			c.token = a.agent
			id := a.pending(c.request)
			x, err := a.desk.Approval(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, u := range x.Card.Uninspectable {
				found = found || u.Field == c.field && u.Why != ""
			}
			out := must(t, a.g.CLI(a.g.Person("ada", "approvers"), "approvals", string(id))).Stdout
			if !found || !strings.Contains(out, "NOT SHOWN  "+c.field) {
				t.Errorf("uninspectable: %+v; the terminal says:\n%.1000s", x.Card.Uninspectable, out)
			}
		})
	}
	for name, q := range map[string]request{ // cannot be read at all
		"garbage as Protobuf": {method: "POST", path: in + "/configmaps", header: []string{"Content-Type: application/vnd.kubernetes.protobuf"}, body: "k8s\x00garbage"},
		"garbage as JSON":     {method: "POST", path: in + "/configmaps", header: []string{"Content-Type: application/json"}, body: `{"kind":"ConfigMap"`},
		"a key twice":         {method: "POST", path: in + "/configmaps", header: []string{"Content-Type: application/json"}, body: `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"metadata":{"name":"b"}}`},
		"two documents":       {method: "POST", path: in + "/configmaps", header: []string{"Content-Type: application/yaml"}, body: "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n---\nkind: Secret\napiVersion: v1\nmetadata: {name: b}\n"},
		"compressed":          {method: "POST", path: in + "/configmaps", header: []string{"Content-Type: application/json", "Content-Encoding: gzip"}, body: "\x1f\x8b"},
	} {
		t.Run(name, func(t *testing.T) {
			q.token = a.agent
			r := over(t, a.g, h1).do(q)
			id := approvalOf(t, r)
			if id == "" && r.code/100 == 4 {
				return // refused: nobody is asked to believe anything
			}
			x, err := a.desk.Approval(t.Context(), id)
			if err != nil || x.Card.Object != "" || len(x.Card.Uninspectable) == 0 {
				t.Errorf("answered %d %s; the card is %+v %v", r.code, r.body, x.Card, err)
			}
		})
	}
}

// I103: the card is all there is, to the last byte of the largest object; and it is what would be stored.
func TestI103CardIsWhole(t *testing.T) {
	a := newAsk(t, "", lab.Options{})
	var data []string
	for i := range 3000 {
		data = append(data, fmt.Sprintf(`"key-%04d":"%s-%d"`, i, strings.Repeat("0123456789", 99), i))
	}
	q := a.creating("whole")
	q.body = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"whole-"},"data":{` + strings.Join(data, ",") + `,"zz":"the last one"}}`
	if len(q.body) < 3_000_000 {
		t.Fatalf("the object has %d bytes only", len(q.body))
	}
	id := a.pending(q)
	x, err := a.desk.Approval(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	out := must(t, a.g.CLI(a.g.Person("ada", "approvers"), "approvals", string(id))).Stdout
	for i := range 3000 {
		want := fmt.Sprintf("key-%04d: %s-%d\n", i, strings.Repeat("0123456789", 99), i)
		if !strings.Contains(x.Card.Object, want) || !strings.Contains(out, want) {
			t.Fatalf("key %d of the object is not on the card", i)
		}
	}
	if !strings.Contains(out, "zz: the last one") || len(x.Card.Uninspectable) > 0 {
		t.Errorf("the end is not there, or something is said not to be: %+v", x.Card.Uninspectable)
	}
	// Of a command nothing is left out either.
	long := strings.Repeat("x", 20_000)
	exec := "/t/lab/api/v1/namespaces/" + a.ns + "/pods/box/exec?" + url.Values{"command": {"echo", long, "the end"}, "stdout": {"1"}}.Encode()
	a.send(request{path: exec, token: a.agent, header: []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol: v5.channel.k8s.io"}})
	if p := pending(t, a.desk, "the end"); !strings.Contains(p.Operation.Command, long) {
		t.Errorf("the command is cut: %d bytes", len(p.Operation.Command))
	}
	if _, err := a.desk.Answer(t.Context(), id, client.Answer{Reason: "no"}); err != nil {
		t.Error(err)
	}
}
