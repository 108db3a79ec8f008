package kubernetes

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"gatebook/internal/access"
)

// client-go prints what a refusal says, of its discovery too.
func TestDiscoveryIsRefusedInWords(t *testing.T) {
	h := &Handler{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.Refuse(w, r, access.Refuse(access.CodeRevoked, nil, "taken back"))
	}))
	defer s.Close()
	c, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.ServerGroupsAndResources(); err == nil || !strings.Contains(err.Error(), "taken back") {
		t.Errorf("%v", err)
	}
}
