package model

import (
	"net/http"
	"regexp"
	"strings"

	"gatebook/internal/access"
)

// What is called, as access.Model.API names it.
const (
	apiMessages    = "messages"
	apiCountTokens = "count_tokens"
	apiModels      = "models"
	apiHello       = "hello"
	apiChat        = "chat.completions"
	apiResponses   = "responses"
)

// plainPath is a path that has one reading: no escapes, no empty segments, nothing that some servers cut off.
var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9_.:~@+,=-]+)*/?$`)

// apiOf says what a request calls. Of what is not known it is the path.
func apiOf(r *http.Request) (api, model string, why *access.Refusal) {
	path := r.URL.EscapedPath()
	if !plainPath.MatchString(path) || strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../") {
		return path, "", malformed("the path %q could be read in two ways", path)
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case r.Method == http.MethodPost && path == "/v1/messages":
		return apiMessages, "", nil
	case r.Method == http.MethodPost && path == "/v1/messages/count_tokens":
		return apiCountTokens, "", nil
	case r.Method == http.MethodPost && path == "/v1/chat/completions":
		return apiChat, "", nil
	case r.Method == http.MethodPost && path == "/v1/responses":
		return apiResponses, "", nil
	case reads && path == "/v1/models":
		return apiModels, "", nil
	case reads && (path == "/api/hello" || path == "/" && r.Method == http.MethodHead):
		return apiHello, "", nil
	}
	if id, ok := strings.CutPrefix(path, "/v1/models/"); ok && reads && id != "" && !strings.Contains(id, "/") {
		return apiModels, id, nil
	}
	return path, "", nil
}
