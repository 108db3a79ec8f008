package kubernetes

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatebook/internal/access"
)

// relayError delivers an answer of 400 or above. The API server's errors echo what they are about (a patch that makes
// an invalid Secret comes back with the whole stored object in its message), so that for a resource with secrets in it
// every echoed value is struck out, on top of the masks.
func (x *exchange) relayError(s *sink, resp *http.Response, m masking, out *access.Outcome) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes+1))
	if err != nil {
		return access.Refuse(access.CodeUpstream, err, "target %q broke off its answer", x.op.Target.Name)
	}
	if len(data) > maxErrorBytes {
		return access.Refuse(access.CodeUnmaskable, nil, "the error that target %q answered is longer than %d bytes", x.op.Target.Name, maxErrorBytes)
	}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	isJSON := mediaType == typeJSON && json.Valid(data)
	if m.known && bytes.Contains(data, deepEscape) {
		if data, err = strikeStatus(data, withhold); err != nil {
			return access.Refuse(access.CodeUnmaskable, err, "the error that target %q answered repeats what is escaped too often to be masked", x.op.Target.Name)
		}
	}
	if m.shape != nil {
		values, known := x.storedValues(s.p.Context(), resp.StatusCode)
		strike := func(text string) string { return x.strike(text, values) }
		if !known {
			strike = withhold
		}
		if isJSON {
			data, err = strikeStatus(data, strike)
		} else {
			data = []byte(strike(string(data)))
		}
		if err != nil {
			return access.Refuse(access.CodeUnmaskable, err, "the error that target %q answered cannot be masked", x.op.Target.Name)
		}
	}
	var masked bytes.Buffer
	var f filter = x.scope.Text(&masked)
	if isJSON {
		f = x.scope.JSON(&masked, m.shape, m.known)
	}
	if _, err := f.Write(data); err != nil {
		return unmaskable(err)
	}
	if err := f.Close(); err != nil {
		return unmaskable(err)
	}
	out.Masked = f.Masked()
	out.Message = statusMessage(masked.Bytes())
	if !isJSON {
		s.header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	_, err = s.Write(masked.Bytes())
	return err
}

func strikeStatus(data []byte, strike func(string) string) ([]byte, error) {
	var s metav1.Status
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	s.Message = strike(s.Message)
	if s.Details != nil {
		for i := range s.Details.Causes {
			s.Details.Causes[i].Message = strike(s.Details.Causes[i].Message)
		}
	}
	return json.Marshal(s)
}

// echo is where an error of field validation shows a value (k8s.io/apimachinery/pkg/util/validation/field).
var echo = regexp.MustCompile(`(?i)\bvalue: `)

const struck = `"(masked)"`

// deepEscape is in what is escaped more often than the masker undoes (four times). An error may escape what it repeats several
// times over: then it is not told what it says.
var deepEscape = bytes.Repeat([]byte{'\\'}, 16)

// withheld stands for an error that may repeat values which could not be read to find them in it.
const withheld = "the API server refused the request; what it says is withheld, since it may repeat values that are masked"

// unauthorized is how the API server says that its authorizers refused: before the object was looked at
// (k8s.io/apiserver/pkg/endpoints/handlers/responsewriters.Forbidden).
var unauthorized = regexp.MustCompile(`^[a-z.]+( "[^"]*")? is forbidden: User "[^"]*" cannot [a-z]+ resource "[a-z./]+" in API group "[a-z.]*"[^{}]*$`)

func withhold(s string) string {
	if s == "" || unauthorized.MatchString(s) {
		return s
	}
	return withheld
}

// strike removes values from an error about a resource with secrets in it: those that a validation error echoes, any
// that the request itself sent or that are stored, and whatever looks like a whole object.
func (x *exchange) strike(s string, stored []string) string {
	s = strikeEchoes(s)
	for _, v := range append(x.sentValues(), stored...) {
		if len(v) >= 3 {
			s = strings.ReplaceAll(s, v, "(masked)")
		}
	}
	if i := strings.IndexAny(s, "{\n"); i >= 0 {
		s = s[:i] + "(masked)"
	}
	return s
}

// strikeEchoes replaces what follows "value: ": a quoted literal, or, where it is not quoted, all that is left.
func strikeEchoes(s string) string {
	var out strings.Builder
	for {
		at := echo.FindStringIndex(s)
		if at == nil {
			out.WriteString(s)
			return out.String()
		}
		out.WriteString(s[:at[1]])
		out.WriteString(struck)
		s = afterLiteral(s[at[1]:])
	}
}

// afterLiteral is what follows the quoted literal that s begins with. It is empty where s begins with none.
func afterLiteral(s string) string {
	if s == "" || s[0] != '"' && s[0] != '`' {
		return ""
	}
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && s[0] == '"':
			i++
		case s[i] == s[0]:
			return s[i+1:]
		}
	}
	return ""
}

// sentValues are the strings that the request holds where secrets are, and what they decode to.
func (x *exchange) sentValues() []string {
	out := valuesOf(x.doc.object())
	for _, name := range misplaced(x.doc.object()) {
		out = stringsIn(out, x.doc.object()[name])
	}
	return out
}

// storedValues are those of the object that a request would change, learned by the way: an admission message or a
// patch that failed may repeat them. known is false where there may be some and they cannot be read.
func (x *exchange) storedValues(ctx context.Context, code int) (values []string, known bool) {
	switch {
	case !x.k.isChange(x.r.Method) || x.k.Verb == "create" || code == http.StatusNotFound:
		return nil, true
	case x.k.Name == "":
		return nil, false // a deletion of many
	}
	stored, err := x.stored(ctx)
	if err != nil {
		return nil, false
	}
	o, err := decodeObject(stored)
	if stored != nil && err != nil {
		return nil, false
	}
	return valuesOf(o), true
}

// valuesOf are the strings in a Secret where secrets are, and what they decode to; the longest first, since one may be a
// part of another.
func valuesOf(object map[string]any) []string {
	var out []string
	for _, field := range []string{"data", "stringData"} {
		values, _ := object[field].(map[string]any)
		for _, v := range values {
			s, ok := v.(string)
			if !ok {
				continue
			}
			out = append(out, s)
			if plain, err := base64.StdEncoding.DecodeString(s); err == nil {
				out = append(out, string(plain))
			}
		}
	}
	slices.SortFunc(out, func(a, b string) int { return len(b) - len(a) })
	return out
}
