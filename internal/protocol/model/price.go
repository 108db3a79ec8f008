package model

import (
	"math"
	"strings"

	"gatebook/internal/access"
)

// price gives what a model costs; false where nothing is said of it.
func (h *Handler) price(model string) (Price, bool) {
	for _, p := range h.o.Prices {
		if prefix, ok := strings.CutSuffix(p.Model, "*"); p.Model == model || ok && strings.HasPrefix(model, prefix) {
			return p, true
		}
	}
	return Price{}, false
}

// cost is in millionths of a dollar, rounded up; 0 where there is no price.
func (h *Handler) cost(model string, a *access.ModelAnswer) int64 {
	p, _ := h.price(model)
	return int64(math.Ceil(p.Input*float64(a.InputTokens) + p.Output*float64(a.OutputTokens) +
		p.CacheRead*float64(a.CacheReadTokens) + p.CacheWrite*float64(a.CacheWriteTokens)))
}

const (
	// bytesPerToken is what a token is taken to be where nobody has counted.
	bytesPerToken = 4
	// longestAnswer is what an answer is taken to be at most where the request does not bound it.
	longestAnswer = 128_000
)

// atMost is what a call may use: as much as can be known before it.
func (h *Handler) atMost(m *access.Model) (tokens, cost int64) {
	a := access.ModelAnswer{InputTokens: m.Bytes / bytesPerToken, OutputTokens: clamp(m.MaxTokens)}
	if m.MaxTokens <= 0 {
		a.OutputTokens = longestAnswer
	}
	return a.Tokens(), h.cost(m.Model, &a)
}

// guess is what a call used of which no more is known than how long request and answer were.
func (h *Handler) guess(u access.ModelUse) access.ModelUse {
	a := access.ModelAnswer{InputTokens: u.RequestBytes / bytesPerToken, OutputTokens: u.ResponseBytes / bytesPerToken}
	u.Tokens, u.Cost = a.Tokens(), h.cost(u.Model, &a)
	return u
}

// clamp keeps a number of tokens within what sums can bear: it comes from outside.
func clamp(tokens int64) int64 { return min(max(0, tokens), 1e12) }
