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
