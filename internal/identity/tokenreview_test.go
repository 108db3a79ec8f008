package identity_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatebook/internal/identity"
)

func TestTokenReviewClient(t *testing.T) {
	for name, c := range map[string]struct {
		status                int
		answer                string
		stands                bool
		user, uid, wantsError string
	}{
		"stands": {201, `{"status":{"authenticated":true,"audiences":["gatebook"],"user":{"username":"u","uid":"1","groups":["g"],"extra":{"authentication.kubernetes.io/pod-uid":["p"]}}}}`,
			true, "u", "1", ""},
		"gone":                 {201, `{"status":{"authenticated":false,"error":"pod is gone"}}`, false, "", "", ""},
		"other audience":       {201, `{"status":{"authenticated":true,"audiences":["api"],"user":{"username":"u"}}}`, false, "", "", ""},
		"knows no audiences":   {201, `{"status":{"authenticated":true,"user":{"username":"u"}}}`, false, "", "", ""},
		"no status":            {201, `{}`, false, "", "", ""},
		"forbidden":            {403, `{"kind":"Status"}`, false, "", "", "403"},
		"redirect":             {307, ``, false, "", "", "307"},
		"not JSON":             {201, `<html>`, false, "", "", "reading the answer"},
		"authenticated is odd": {201, `{"status":{"authenticated":"true"}}`, false, "", "", "reading the answer"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				var got any
				if err := json.Unmarshal(b, &got); err != nil {
					t.Error(err)
				}
				want := map[string]any{
					"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
					"spec": map[string]any{"token": "the-token", "audiences": []any{"gatebook"}},
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Error(d)
				}
				if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || r.Method != "POST" || r.Header.Get("Authorization") != "Bearer mine" {
					t.Errorf("%s %s, authorization %q", r.Method, r.URL, r.Header.Get("Authorization"))
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.answer)
			}))
			defer server.Close()
			reviews := identity.TokenReviews{
				APIServer: server.URL + "/", Client: server.Client(), Audiences: []string{"gatebook"},
				Bearer: func() (string, error) { return "mine", nil },
			}
			stands, user, uid, extra, err := reviews.Review(t.Context(), "the-token")
			if c.wantsError != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantsError) || strings.Contains(err.Error(), "the-token") {
					t.Errorf("err %v", err)
				}
				return
			}
			if err != nil || stands != c.stands || user != c.user || uid != c.uid || c.stands && extra["authentication.kubernetes.io/pod-uid"][0] != "p" {
				t.Errorf("%v %q %q %v, %v", stands, user, uid, extra, err)
			}
		})
	}
}
