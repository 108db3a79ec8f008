package git

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"unicode"

	"gatebook/internal/access"
)

// lfsType is the media type of LFS (git-lfs, docs/api/batch.md).
const lfsType = "application/vnd.git-lfs+json"

// lfsName is an object's: the SHA-256 of its content.
var lfsName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// readBatch reads a request of LFS for where objects are to be had or put.
func (x *exchange) readBatch() *access.Refusal {
	raw, err := x.body.Bytes()
	if err != nil {
		return access.Refuse(access.CodeInternal, err, "the request's body could not be kept while it is decided")
	}
	if why := uniqueKeys(raw); why != nil {
		return why
	}
	var b map[string]json.RawMessage // by their exact names: a struct's would be found in any case
	var operation string
	var objects []map[string]json.RawMessage
	if json.Unmarshal(raw, &b) != nil || json.Unmarshal(b["operation"], &operation) != nil || operation != "upload" && operation != "download" {
		return malformed("the request is no batch of LFS")
	}
	if err := json.Unmarshal(b["objects"], &objects); err != nil {
		return access.Refuse(access.CodeMalformed, err, "the batch of LFS has no list of objects")
	}
	for _, o := range objects {
		var oid string
		if err := json.Unmarshal(o["oid"], &oid); err != nil || !lfsName.MatchString(oid) {
			return malformed("%q is no object of LFS", o["oid"])
		}
		x.exact.Objects = append(x.exact.Objects, oid)
	}
	x.op.Verb = operation
	x.op.Command = x.hidden("git lfs " + map[string]string{"upload": "push", "download": "fetch"}[operation] + " --object-id " + quote(x.repository) + " " + strings.Join(x.exact.Objects, " "))
	return nil
}

// uniqueKeys refuses a document that two readers could read differently: a key that is there twice, in any case, or more
// than one document.
func uniqueKeys(raw []byte) *access.Refusal {
	d := json.NewDecoder(bytes.NewReader(raw))
	if err := distinct(d, maxDepth); err != nil {
		return access.Refuse(access.CodeMalformed, err, "the request's JSON can be read in two ways, or in none")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return malformed("something follows the request's JSON")
	}
	return nil
}

// maxDepth bounds how deep JSON may nest.
const maxDepth = 100

func distinct(d *json.Decoder, depth int) error {
	if depth == 0 {
		return errors.New("it nests too deep")
	}
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			key, err := d.Token()
			if err != nil {
				return err
			}
			name := folded(key.(string))
			if seen[name] {
				return fmt.Errorf("key %q is there twice", name)
			}
			seen[name] = true
		}
		if err := distinct(d, depth-1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// folded is a key as readers take it that do not mind its case: Go's own take ſ for s, and the sign of kelvin for k.
func folded(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}

// readObject reads a request for one object, to where the answer to a batch has led.
func (x *exchange) readObject() *access.Refusal {
	parts := strings.Split(x.file, "/") // info/lfs/objects/NAME[/SIZE]
	x.exact.Objects = []string{parts[3]}
	x.op.Verb = map[string]string{http.MethodGet: "download", http.MethodPut: "upload"}[x.r.Method]
	x.op.Command = x.hidden("git lfs " + map[string]string{"upload": "push", "download": "fetch"}[x.op.Verb] + " --object-id " + quote(x.repository) + " " + parts[3])
	if x.r.Method != http.MethodPut {
		return nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, x.body.Reader()); err != nil {
		return access.Refuse(access.CodeInternal, err, "the request's body could not be kept while it is decided")
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != parts[3] {
		return malformed("the object of LFS is named %s, and is %s", parts[3], got)
	}
	return nil
}

// relayBatch relays the answer to a batch. Where an action leads to this same host, it is rewritten to lead to the gateway,
// where the object's bytes are decided and recorded; the credential that came with it stays here. An action that leads
// elsewhere would take the agent round the gateway: its object gets an error instead, as LFS has it for each.
func (x *exchange) relayBatch(s *sink, resp *http.Response, known bool, out *access.Outcome) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, x.h.o.Limits.RequestBodyBytes+1))
	if err != nil || int64(len(data)) > x.h.o.Limits.RequestBodyBytes {
		return access.Refuse(access.CodeUpstream, err, "target %q answered the batch with more than limits.requestBodyBytes", x.op.Target.Name)
	}
	var doc struct {
		Transfer string      `json:"transfer,omitempty"`
		Objects  []lfsAnswer `json:"objects"`
		HashAlgo string      `json:"hash_algo,omitempty"`
	}
	if err := json.Unmarshal(data, &doc); err != nil || doc.Transfer != "" && doc.Transfer != "basic" {
		return access.Refuse(access.CodeUpstream, err, "target %q answered the batch with what is none, or with a transfer %q that is not passed on", x.op.Target.Name, doc.Transfer)
	}
	base := "https://" + x.r.Host + strings.TrimSuffix(pathOf(x.r.RequestURI), "/batch")
	for i := range doc.Objects {
		x.rewriteActions(&doc.Objects[i], base)
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	s.mediaType = lfsType
	return x.relayFile(s, bytes.NewReader(body), known, out)
}

func pathOf(uri string) string {
	path, _, _ := strings.Cut(uri, "?")
	return path
}

// lfsAnswer is what is passed on of what a host says of one object. Anything else, such as the «_links» that older clients
// follow, would lead elsewhere.
type lfsAnswer struct {
	OID           string               `json:"oid"`
	Size          int64                `json:"size"`
	Authenticated bool                 `json:"authenticated,omitempty"`
	Actions       map[string]lfsAction `json:"actions,omitempty"`
	Error         *lfsError            `json:"error,omitempty"`
}

type lfsAction struct {
	Href string `json:"href"`
}

type lfsError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// rewriteActions changes where one object is had from or put to. Nothing else of an action is passed on.
func (x *exchange) rewriteActions(o *lfsAnswer, base string) {
	if len(o.Actions) == 0 {
		return
	}
	out := map[string]lfsAction{}
	for name, a := range o.Actions {
		_, path, ok := strings.Cut(a.Href, x.repository)
		rest, ok2 := strings.CutPrefix(strings.TrimPrefix(path, ".git"), "/info/lfs/objects/"+o.OID)
		if !ok || !ok2 || !lfsName.MatchString(o.OID) || name != "download" && name != "upload" || !lfsRest.MatchString(rest) || !x.h.ours(a.Href) {
			continue
		}
		out[name] = lfsAction{base + "/" + o.OID + rest}
	}
	o.Actions = out
	if len(out) == 0 {
		o.Error = &lfsError{http.StatusForbidden, "gatebook: the host keeps this object elsewhere, where the gateway would not see it"}
	}
}

// lfsRest is what may follow an object's name: its size.
var lfsRest = regexp.MustCompile(`^(/[0-9]+)?$`)

// ours says that a URL is on the target's own host.
func (h *Handler) ours(href string) bool {
	return h.o.Base != "" && strings.HasPrefix(href, strings.TrimSuffix(h.o.Base, "/")+"/")
}

// lfsMessage is a refusal as LFS prints it.
func lfsMessage(why *access.Refusal) string {
	b, err := json.Marshal(map[string]string{"message": strings.Join(lines(why), "; "), "request_id": string(why.Operation)})
	if err != nil { // strings
		return "{}"
	}
	return string(b)
}
