package kubernetes

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"regexp"
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
	if m.shape != nil {
		if isJSON {
			data, err = x.strikeStatus(data)
		} else {
			data = []byte(x.strike(string(data)))
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

func (x *exchange) strikeStatus(data []byte) ([]byte, error) {
	var s metav1.Status
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	s.Message = x.strike(s.Message)
	if s.Details != nil {
		for i := range s.Details.Causes {
			s.Details.Causes[i].Message = x.strike(s.Details.Causes[i].Message)
		}
	}
	return json.Marshal(s)
}

// echo is where an error of field validation shows a value (k8s.io/apimachinery/pkg/util/validation/field).
var echo = regexp.MustCompile(`(?i)\bvalue: `)

const struck = `"(masked)"`

// strike removes values from an error about a resource with secrets in it: those that a validation error echoes, any
// that the request itself sent, and whatever looks like a whole object.
func (x *exchange) strike(s string) string {
	s = strikeEchoes(s)
	for _, v := range x.sentValues() {
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
	var out []string
	for _, field := range []string{"data", "stringData"} {
		values, _ := x.doc.object()[field].(map[string]any)
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
	return out
}
