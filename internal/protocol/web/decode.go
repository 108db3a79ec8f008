package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	typeJSON = "application/json"
	typeForm = "application/x-www-form-urlencoded"
)

// isJSON reports whether a media type's bodies are JSON.
func isJSON(mediaType string) bool {
	return mediaType == typeJSON || mediaType == "text/json" || strings.HasSuffix(mediaType, "+json")
}

// isJSONLines reports whether a media type's bodies are JSON documents, one after the other.
func isJSONLines(mediaType string) bool {
	return slices.Contains([]string{"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}, mediaType)
}

// decoded is what a body says, where there is one way to read it; why says why there is none.
func decoded(contentType string, data []byte) (value any, why string) {
	mediaType, params, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
		return nil, "its content type cannot be read"
	case params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") && !strings.EqualFold(params["charset"], "us-ascii"):
		return nil, fmt.Sprintf("its charset is %q", params["charset"])
	case isJSON(mediaType):
		value, err = decodeJSON(data)
	case mediaType == typeForm:
		value, err = decodeForm(string(data))
	default:
		return nil, fmt.Sprintf("its content type is %q", mediaType)
	}
	if err != nil {
		return nil, err.Error()
	}
	return value, ""
}

// maxValues bounds what a body takes when it is decoded: of a value of two bytes, such as a 0 and a comma, that is some
// forty times as much.
const maxValues = 200_000

// decodeJSON reads one JSON value, as strictly as RFC 7493 has it: UTF-8, no unpaired surrogates, no key twice; readers
// differ in what they make of these.
func decodeJSON(data []byte) (any, error) {
	if !jsontext.Value(data).IsValid() {
		return nil, fmt.Errorf("it is not JSON that all readers read alike (RFC 7493)")
	}
	if bytes.Count(data, []byte{','})+bytes.Count(data, []byte{'['})+bytes.Count(data, []byte{'{'}) > maxValues {
		return nil, fmt.Errorf("it may have more than %d values", maxValues)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("decoding JSON: %w", err)
	}
	return plainNumbers(v)
}

// plainNumbers makes int64 and float64 of a decoded value's numbers.
func plainNumbers(v any) (_ any, err error) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if v[k], err = plainNumbers(e); err != nil {
				return nil, err
			}
		}
	case []any:
		for i, e := range v {
			if v[i], err = plainNumbers(e); err != nil {
				return nil, err
			}
		}
	case json.Number:
		return plainNumber(string(v))
	}
	return v, nil
}

func plainNumber(s string) (any, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !strings.ContainsAny(s, ".eE") {
		return nil, fmt.Errorf("it holds a number that readers round differently")
	}
	return f, nil
}

// decodeForm reads a form as WHATWG URL, section 5.1, has it, and gives the values by name. What Go reads otherwise is an error.
func decodeForm(s string) (any, error) {
	q, err := url.ParseQuery(s)
	if err != nil {
		return nil, fmt.Errorf("decoding a form: %w", err)
	}
	out := map[string]any{}
	for k, vs := range q {
		list := make([]any, 0, len(vs))
		for _, s := range vs {
			if !utf8.ValidString(s) || !utf8.ValidString(k) {
				return nil, fmt.Errorf("the form is not UTF-8")
			}
			list = append(list, s)
		}
		out[k] = list
	}
	return out, nil
}
