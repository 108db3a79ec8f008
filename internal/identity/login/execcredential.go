package login

import (
	"encoding/json"
	"fmt"
	"time"
)

const (
	execGroup   = "client.authentication.k8s.io/"
	execVersion = execGroup + "v1"
)

type execCredential struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Status     execStatus `json:"status"`
}

type execStatus struct {
	Expires *time.Time `json:"expirationTimestamp,omitempty"`
	Token   string     `json:"token"`
}

// ExecCredential writes t as kubectl's credential plugins do. info is the environment's KUBERNETES_EXEC_INFO, which names the
// version that kubectl wants; empty: v1.
func ExecCredential(info string, t Token) ([]byte, error) {
	version := execVersion
	if info != "" {
		var asked execCredential
		if err := json.Unmarshal([]byte(info), &asked); err != nil {
			return nil, fmt.Errorf("reading KUBERNETES_EXEC_INFO: %w", err)
		}
		version = asked.APIVersion
	}
	if version != execVersion && version != execGroup+"v1beta1" {
		return nil, fmt.Errorf("kubectl asks for credential plugin version %q: %s and v1beta1 are supported", version, execVersion)
	}
	out := execCredential{APIVersion: version, Kind: "ExecCredential", Status: execStatus{Token: t.ID}}
	if !t.Expires.IsZero() {
		at := t.Expires.UTC().Truncate(time.Second)
		out.Status.Expires = &at
	}
	return json.Marshal(out)
}
