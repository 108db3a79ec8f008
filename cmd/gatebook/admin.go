package main

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// admin answers monitoring: /healthz is whether the process can do its work at all, /readyz whether clients should come.
func (g *gateway) admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", state(func() (string, error) { return "", g.journal.Err() }))
	mux.HandleFunc("GET /readyz", state(g.ready))
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.metrics, promhttp.HandlerOpts{}))
	return mux
}

func state(check func() (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		more, err := check()
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "ok\n%s", more)
	}
}

// ready says, beside whether clients should come, how far the book is behind.
func (g *gateway) ready() (string, error) {
	if err := g.journal.Err(); err != nil {
		return "", err
	}
	if g.postgres != nil && !g.postgres.Ready() {
		return "", errors.New("the grammar of PostgreSQL is being compiled; statements would wait for it")
	}
	b, most := g.recorder.Behind(), g.cfg.Recording.MaxBehind
	switch {
	case b.Sealing > most:
		return "", fmt.Errorf("what was recorded has waited %s to be sealed (%d bytes, recording.maxBehind is %s); the log says why", whole(b.Sealing), b.SealingBytes, most)
	case b.Index > most:
		return "", fmt.Errorf("the index has been behind for %s (%d frames, recording.maxBehind is %s); the log says why", whole(b.Index), b.IndexFrames, most)
	}
	return fmt.Sprintf("sealing %s behind, %d bytes\nindex %s behind, %d frames\n", whole(b.Sealing), b.SealingBytes, whole(b.Index), b.IndexFrames), g.identity.Ready()
}

func whole(d time.Duration) time.Duration { return d.Round(time.Second) }

// gauge lets monitoring see a value.
func (g *gateway) gauge(name, help string, value func() float64) {
	g.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// watchMasks lets monitoring see how full the masker is.
func (g *gateway) watchMasks() {
	g.gauge("gatebook_known_values", "Patterns of values known to be secret; a value is one, a long or structured one several.",
		func() float64 { return float64(g.masks.Stats().Patterns) })
	g.gauge("gatebook_known_values_limit", "How many there may be.", func() float64 { return float64(g.masks.Stats().MaxPatterns) })
	g.metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "gatebook_known_values_refused_total",
		Help: "Patterns that found no room: masked where structure tells, and not recognised elsewhere."}, func() float64 { return float64(g.masks.Stats().Refused) }))
}

// watchBehind lets monitoring see how far the book is behind.
func (g *gateway) watchBehind() {
	gauge := g.gauge
	gauge("gatebook_sealing_behind_seconds", "For how long the oldest recorded frame has waited to be sealed under a checkpoint.",
		func() float64 { return g.recorder.Behind().Sealing.Seconds() })
	gauge("gatebook_sealing_behind_bytes", "Bytes of the journal that wait to be sealed.",
		func() float64 { return float64(g.recorder.Behind().SealingBytes) })
	gauge("gatebook_index_behind_seconds", "For how long the index has not had everything that is recorded.",
		func() float64 { return g.recorder.Behind().Index.Seconds() })
	gauge("gatebook_index_behind_frames", "Recorded frames that the index lacks.",
		func() float64 { return float64(g.recorder.Behind().IndexFrames) })
}
