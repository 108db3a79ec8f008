package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gatebook/internal/access"
	"gatebook/internal/mask"
)

// Whoever could make any word known by asking could have it masked for everybody. Only what the API server has stored
// is known.
func TestOnlyWhatWasStoredIsLearned(t *testing.T) {
	const word = "apiVersion-of-the-word"
	const path = "/api/v1/namespaces/a/secrets"
	body := secretJSON("s", "x", word)
	deny := func(*access.Operation) (access.Decision, []string) { return access.Decision{Effect: access.Deny}, nil }
	for _, c := range []struct {
		name, method, uri, contentType, body string
		decide                               func(*access.Operation) (access.Decision, []string)
		code                                 int
		known                                bool
	}{
		{name: "denied", method: "POST", uri: path, body: body, decide: deny, code: 403},
		{name: "misplaced and denied", method: "POST", uri: path, body: `{"kind":"Secret","dta":{"x":"` + word + `"}}`, decide: deny, code: 403},
		{name: "not taken", method: "POST", uri: path, body: body, code: 409},
		{name: "dry run", method: "POST", uri: path + "?dryRun=All", body: body, code: 201},
		{name: "a patch that is denied", method: "PATCH", uri: path + "/s", contentType: typeMerge, body: body, decide: deny, code: 403},
		{name: "a config map", method: "POST", uri: "/api/v1/namespaces/a/configmaps", body: `{"kind":"ConfigMap","data":{"release":"` + word + `"}}`, code: 201},
		{name: "a token review", method: "POST", uri: "/apis/authentication.k8s.io/v1/tokenreviews", body: `{"kind":"TokenReview","spec":{"token":"` + word + `"}}`, code: 201},
		{name: "a namespace's name", method: "POST", uri: path, body: secretJSON("s", "namespace", word), code: 201},
		{name: "stored", method: "POST", uri: path, body: body, code: 201, known: true},
		{name: "patched", method: "PATCH", uri: path + "/s", contentType: typeJSONPatch, body: `[{"op":"add","path":"/data/x","value":"` + b64(word) + `"}]`, code: 200, known: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := c.body
			if c.contentType != "" || c.known {
				answer = `{}` // as with PartialObjectMetadata
			}
			code := c.code
			w := newWorld(t, nil)
			w.upstream = reply(code, typeJSON, answer)
			if c.decide != nil {
				w.decide = c.decide
			}
			if a := w.do(c.method, c.uri, c.body, "Content-Type", c.contentType); a.code != c.code {
				t.Fatalf("answered %d, %s", a.code, a.body)
			}
			w.decide, w.upstream = allow, reply(200, typeJSON, `{"word":"`+word+`"}`)
			got := w.do("GET", "/api/v1/namespaces/a/pods/p", "").body
			if strings.Contains(got, word) == c.known {
				t.Errorf("known should be %v: %s", c.known, got)
			}
			if !c.known {
				return
			}
			if l := leaks(w.recorded(), word); l != nil {
				t.Errorf("the record holds the value as %v", l)
			}
		})
	}
}

// A request that repeats its secret is recorded without it, though nothing is learned from it.
func TestRepeatedSecretsAreNotRecorded(t *testing.T) {
	for name, c := range map[string]struct{ contentType, body string }{
		"annotation":   {"", `{"kind":"Secret","metadata":{"annotations":{"a":"it is ` + hiddenValue + `","b":"` + b64(hiddenValue) + `"}},"data":{"x":"` + b64(hiddenValue) + `"}}`},
		"stringData":   {"", `{"kind":"Secret","metadata":{"annotations":{"a":"` + b64(hiddenValue) + `"}},"stringData":{"x":"` + hiddenValue + `"}}`},
		"a JSON patch": {typeJSONPatch, `[{"op":"add","path":"/metadata/labels/l","value":"` + hiddenValue + `"},{"op":"add","path":"/data/x","value":"` + b64(hiddenValue) + `"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, reply(409, typeJSON, `{"kind":"Status","status":"Failure","code":409}`))
			method, uri := "POST", "/api/v1/namespaces/a/secrets"
			if c.contentType != "" {
				method, uri = "PATCH", uri+"/s"
			}
			w.do(method, uri, c.body, "Content-Type", c.contentType)
			if w.last() == nil || w.sent[0].Method == method && w.sent[0].body != c.body {
				t.Errorf("upstream got %+v", w.last())
			}
			if l := leaks(w.recorded(), hiddenValue); l != nil {
				t.Errorf("the record holds the value as %v", l)
			}
		})
	}
}

// What goes along with a request is in the words that an approver reads.
func TestUnusualHeadersAreInTheCommand(t *testing.T) {
	w := newWorld(t, reply(200, "text/plain", ""))
	w.h.o.Masks.Learn([]byte(hiddenValue))
	w.do("POST", "/api/v1/namespaces/a/services/s/proxy/x", "", "X-Action", "delete-all", "X-Key", hiddenValue)
	rows := w.rows()
	if c := rows[0].Operation.Command; !strings.Contains(c, "# X-Action: delete-all # X-Key: ") || strings.Contains(c, hiddenValue) {
		t.Errorf("the command is %s", c)
	}
}

// A word that a rule looks for decides as it stands, though it is known as a secret and hidden from the record.
func TestPolicySeesWhatTheAPIServerReads(t *testing.T) {
	const word = "hostNetwork"
	w := newWorld(t, reply(201, typeJSON, `{}`))
	w.h.o.Masks.Learn([]byte(word))
	var exact, shown access.Kubernetes
	w.decide = func(op *access.Operation) (access.Decision, []string) {
		exact, shown = *op.Exact, *op.Kubernetes
		return allow(op)
	}
	w.do("POST", "/api/v1/namespaces/a/pods", `{"kind":"Pod","spec":{"`+word+`":true}}`)
	if spec, _ := exact.Object["spec"].(map[string]any); spec[word] != true {
		t.Errorf("policy saw %v", exact.Object)
	}
	if spec, _ := shown.Object["spec"].(map[string]any); spec[word] != nil {
		t.Errorf("the record has %v", shown.Object)
	}
	w.do("POST", "/api/v1/namespaces/a/pods/p/exec?command="+word, "")
	if exact.Exec.Command[0] != word || shown.Exec.Command[0] == word {
		t.Errorf("policy saw %v, the record has %v", exact.Exec, shown.Exec)
	}
	if bytes.Contains(w.recorded(), []byte(word)) {
		t.Error("the record holds the word")
	}
}

// Why a patch of a Secret cannot be computed is on record, and on the card, without the values that the libraries repeat in
// their errors, be they the patch's or what is stored.
func TestErrorsOfComputingRepeatNoSecret(t *testing.T) {
	const number = "4012888888881881"
	for name, c := range map[string][3]string{
		"a number":            {typeApply, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":{"x":` + number + `}}`, `{"y":"YQ=="}`},
		"no map":              {typeApply, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":"` + hiddenValue + `"}`, `{"y":"YQ=="}`},
		"an unknown strategy": {typeStrategic, `{"data":{"$patch":"` + hiddenValue + `"}}`, `{"y":"YQ=="}`},
		"a stored number":     {typeApply, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":{"x":"YQ=="}}`, `{"y":` + number + `}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				code, body := 422, `{"kind":"Status","status":"Failure","code":422}`
				if r.Method == http.MethodGet {
					code, body = 200, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":`+c[2]+`}`
				}
				reply(code, typeJSON, body)(rw, r)
			})
			w.decide = func(op *access.Operation) (access.Decision, []string) {
				if late := op.Late(); len(late) > 0 {
					return access.Decision{}, late
				}
				return allow(op)
			}
			w.do("PATCH", "/api/v1/namespaces/a/secrets/s?fieldManager=m", c[1], "Content-Type", c[0])
			rec := w.recorded()
			if !bytes.Contains(rec, []byte("cannot be computed")) {
				t.Error("the record does not say that it cannot be computed")
			}
			if l := append(leaks(rec, hiddenValue), leaks(rec, number)...); l != nil {
				t.Errorf("the record holds a value as %v", l)
			}
		})
	}
}

// A credential that nobody knew is recorded and shown as a placeholder wherever a request holds it, and the same stands for it in
// what is stored; policy, and the API server, have it as it is.
func TestCredentialsInRequestsAreNotRecorded(t *testing.T) {
	secret := "gh" + "p_" + strings.Repeat("Aa9xQz", 6)
	const configMaps = "/api/v1/namespaces/a/configmaps"
	object := `{"kind":"ConfigMap","metadata":{"name":"c","annotations":{"n":"it is ` + secret + ` here"}},"data":{"token":"` + secret + `","other":"1"}}`
	for name, c := range map[string]struct{ method, uri, contentType, body string }{
		"create":         {"POST", configMaps, "", object},
		"replace":        {"PUT", configMaps + "/c", "", object},
		"merge patch":    {"PATCH", configMaps + "/c", typeMerge, `{"data":{"token":"` + secret + `"}}`},
		"JSON patch":     {"PATCH", configMaps + "/c", typeJSONPatch, `[{"op":"add","path":"/data/token","value":"` + secret + `"}]`},
		"not JSON":       {"POST", configMaps, "text/plain", object},
		"behind a proxy": {"POST", "/api/v1/namespaces/a/services/s/proxy/x", "text/plain", "it is " + secret},
		"in a name":      {"GET", configMaps + "/" + strings.ToLower(secret) + "?fieldManager=" + secret, "", ""},
		"in a command":   {"POST", "/api/v1/namespaces/a/pods/p/exec?command=echo&command=" + secret, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				if r.UserAgent() == "gatebook" { // who reads what is stored
					reply(200, typeJSON, object)(rw, r)
					return
				}
				reply(200, typeJSON, `{}`)(rw, r)
			})
			w.desk.yes = true
			var seen []access.Operation
			w.decide = func(op *access.Operation) (access.Decision, []string) {
				seen = append(seen, *op)
				if late := op.Late(); len(late) > 0 {
					return access.Decision{Effect: access.Allow}, late
				}
				return access.Decision{Effect: access.Approve}, nil
			}
			w.do(c.method, c.uri, c.body, "Content-Type", c.contentType)
			if len(seen) == 0 {
				t.Fatal("nothing was decided")
			}
			if exact := seen[len(seen)-1].Exact.Object; exact != nil && !strings.Contains(fmt.Sprint(exact), secret) {
				t.Errorf("policy saw %v", exact)
			}
			recorded := w.recorded()
			shown, err := json.Marshal([]any{w.desk.cards, w.rows()})
			if must(t, err); bytes.Contains(shown, []byte(secret)) {
				t.Errorf("shown is %s", shown)
			}
			if l := leaks(recorded, secret); l != nil || c.body != "" && !bytes.Contains(recorded, []byte(mask.Prefix)) {
				t.Errorf("the record holds the value as %v", l)
			}
			if c.body != "" && w.last().body != c.body {
				t.Errorf("upstream got %s", w.last().body)
			}
		})
	}
}
