package git

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"gatebook/internal/access"
)

// lfsType is the media type of LFS (git-lfs, docs/api/batch.md).
const lfsType = "application/vnd.git-lfs+json"

// batch is a request of LFS for where objects are to be had or put.
type batch struct {
	Operation string `json:"operation"`
	Objects   []struct {
		OID string `json:"oid"`
	} `json:"objects"`
}

func (x *exchange) readBatch() *access.Refusal {
	raw, err := io.ReadAll(x.body.Reader())
	if err != nil {
		return access.Refuse(access.CodeInternal, err, "the request's body could not be kept while it is decided")
	}
	if why := uniqueKeys(raw); why != nil {
		return why
	}
	b := &batch{}
	if err := json.Unmarshal(raw, b); err != nil || b.Operation != "upload" && b.Operation != "download" {
		return malformed("the request is no batch of LFS")
	}
	for _, o := range b.Objects {
		x.exact.Objects = append(x.exact.Objects, o.OID)
	}
	x.op.Verb, x.batch = b.Operation, b
	x.op.Command = x.hidden("git lfs " + map[string]string{"upload": "push", "download": "fetch"}[b.Operation] + " " + quote(x.repository) + " " + strings.Join(x.exact.Objects, " "))
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
			name := strings.ToLower(key.(string))
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

// readObject reads a request for one object, to where the answer to a batch has led.
func (x *exchange) readObject() *access.Refusal {
	parts := strings.Split(x.file, "/") // info/lfs/objects/NAME[/SIZE]
	x.exact.Objects = []string{parts[3]}
	x.op.Verb = map[string]string{http.MethodGet: "download", http.MethodPut: "upload"}[x.r.Method]
	x.op.Command = x.hidden("git lfs " + map[string]string{"upload": "push", "download": "fetch"}[x.op.Verb] + " --object-id " + quote(x.repository) + " " + parts[3])
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
		Transfer string           `json:"transfer,omitempty"`
		Objects  []map[string]any `json:"objects"`
		HashAlgo string           `json:"hash_algo,omitempty"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return access.Refuse(access.CodeUpstream, err, "target %q answered the batch with what is none", x.op.Target.Name)
	}
	base := "https://" + x.r.Host + strings.TrimSuffix(pathOf(x.r.RequestURI), "/batch")
	for _, o := range doc.Objects {
		x.rewriteActions(o, base)
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

// rewriteActions changes where one object is had from or put to. Nothing else of an action is passed on but how long it holds.
func (x *exchange) rewriteActions(o map[string]any, base string) {
	actions, _ := o["actions"].(map[string]any)
	if len(actions) == 0 {
		return
	}
	oid, _ := o["oid"].(string)
	out := map[string]any{}
	for name, v := range actions {
		a, _ := v.(map[string]any)
		href, _ := a["href"].(string)
		_, path, ok := strings.Cut(href, x.repository)
		path = strings.TrimPrefix(path, ".git")
		rest, ok2 := strings.CutPrefix(path, "/info/lfs/objects/"+oid)
		if !ok || !ok2 || oid == "" || name == "verify" || strings.ContainsAny(rest, "?#") || !x.h.ours(href) {
			continue
		}
		out[name] = map[string]any{"href": base + "/" + oid + rest}
	}
	delete(o, "actions")
	if len(out) == 0 {
		o["error"] = map[string]any{"code": http.StatusForbidden, "message": "gatebook: the host keeps this object elsewhere, where the gateway would not see it"}
		return
	}
	o["actions"] = out
}

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
