package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

const maxReviewBytes = 1 << 20

// TokenReviews asks a Kubernetes API server about tokens (authentication.k8s.io/v1 TokenReview).
type TokenReviews struct {
	// APIServer is the base URL of the API server.
	APIServer string
	// Client sends the requests, with the certificate authorities and client certificate that it takes.
	Client *http.Client
	// Bearer, where set, gives the gateway's own credential for each request.
	Bearer func() (string, error)
	// Audiences are those that the token must be for. Required.
	Audiences []string
}

type tokenReview struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		Token     string   `json:"token"`
		Audiences []string `json:"audiences,omitempty"`
	} `json:"spec"`
	Status struct {
		Authenticated bool     `json:"authenticated"`
		Audiences     []string `json:"audiences"`
		User          struct {
			Username string              `json:"username"`
			UID      string              `json:"uid"`
			Extra    map[string][]string `json:"extra"`
		} `json:"user"`
	} `json:"status,omitzero"`
}

// Review is a Reviewer. No error holds any part of the token.
func (t TokenReviews) Review(ctx context.Context, token string) (authenticated bool, username, uid string, extra map[string][]string, err error) {
	review := tokenReview{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"}
	review.Spec.Token, review.Spec.Audiences = token, t.Audiences
	answer, err := t.post(ctx, review)
	if err != nil {
		return false, "", "", nil, fmt.Errorf("asking for a TokenReview: %w", err)
	}
	s := answer.Status
	// A server that does not know audiences leaves them out: then it has not checked them.
	ours := slices.ContainsFunc(s.Audiences, func(a string) bool { return slices.Contains(t.Audiences, a) })
	if !s.Authenticated || !ours {
		return false, "", "", nil, nil
	}
	return true, s.User.Username, s.User.UID, s.User.Extra, nil
}

func (t TokenReviews) post(ctx context.Context, review tokenReview) (tokenReview, error) {
	body, err := json.Marshal(review)
	if err != nil {
		return tokenReview{}, err
	}
	url := strings.TrimSuffix(t.APIServer, "/") + "/apis/authentication.k8s.io/v1/tokenreviews"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return tokenReview{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if t.Bearer != nil {
		bearer, err := t.Bearer()
		if err != nil {
			return tokenReview{}, fmt.Errorf("reading the gateway's credential: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	client := *t.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // a redirect would carry the token elsewhere
	resp, err := client.Do(req)
	if err != nil {
		return tokenReview{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK {
		return tokenReview{}, fmt.Errorf("the API server answered %s", resp.Status)
	}
	var answer tokenReview
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReviewBytes)).Decode(&answer); err != nil {
		return tokenReview{}, fmt.Errorf("reading the answer: %w", err)
	}
	return answer, nil
}
