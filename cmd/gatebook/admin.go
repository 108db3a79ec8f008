package main

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// admin answers monitoring: /healthz is whether the process can do its work at all, /readyz whether clients should come.
func (g *gateway) admin() http.Handler {
	mux := http.NewServeMux()
	answer := func(check func() error) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if err := check(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, "ok")
		}
	}
	mux.HandleFunc("GET /healthz", answer(g.journal.Err))
	mux.HandleFunc("GET /readyz", answer(func() error {
		if err := g.journal.Err(); err != nil {
			return err
		}
		return g.identity.Ready()
	}))
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.metrics, promhttp.HandlerOpts{}))
	return mux
}
