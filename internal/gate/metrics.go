package gate

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"gatebook/internal/access"
)

// Metrics counts what passes the gate.
type Metrics struct {
	// Held is the number of clients waiting for a person right now; Open, of permits that have not ended.
	Held, Open prometheus.Gauge
	decided    *prometheus.CounterVec
	refusals   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	masked     *prometheus.CounterVec
	attributed *prometheus.CounterVec
	targets    sync.Map // *targetMetrics by name: looking for labels takes longer than counting
}

// targetMetrics are those of one target.
type targetMetrics struct {
	decided [access.Allow + 1]prometheus.Counter
	seconds prometheus.Observer
	masked  prometheus.Counter
}

func (m *Metrics) of(target string) *targetMetrics {
	if t, ok := m.targets.Load(target); ok {
		return t.(*targetMetrics)
	}
	t := &targetMetrics{seconds: m.seconds.WithLabelValues(target), masked: m.masked.WithLabelValues(target)}
	for e := range t.decided {
		t.decided[e] = m.decided.WithLabelValues(target, access.Effect(e).String())
	}
	m.targets.Store(target, t)
	return t
}

// NewMetrics makes the gate's metrics and registers them with reg, unless that is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		Held:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "gatebook_held_operations", Help: "Operations waiting for a person right now."}),
		Open:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "gatebook_open_operations", Help: "Operations under way right now."}),
		decided:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatebook_operations_total", Help: "Operations let through, by the effect that policy had."}, []string{"target", "effect"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatebook_refusals_total", Help: "Operations refused."}, []string{"target", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "gatebook_operation_seconds", Help: "From permit to end.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10)}, []string{"target"}),
		masked: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatebook_masked_values_total", Help: "Values hidden from clients."}, []string{"target"}),
		attributed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gatebook_attributed_operations_total",
			Help: "Operations that are no call of a model, by how well it was known when they arrived which tool call is behind them, and whether a claim contradicted what was seen."},
			[]string{"target", "rung", "flagged"}),
	}
	if reg != nil {
		reg.MustRegister(m.Held, m.Open, m.decided, m.refusals, m.seconds, m.masked, m.attributed)
	}
	return m
}

func (m *Metrics) admitted(op *access.Operation, d access.Decision) {
	m.Open.Inc()
	m.of(op.Target.Name).decided[d.Effect].Inc()
}

// caused counts an operation by its rung. Of one that none was asked for nothing is counted.
func (m *Metrics) caused(op *access.Operation) {
	if op.Cause != nil && op.Model == nil {
		m.attributed.WithLabelValues(op.Target.Name, op.Cause.Rung.String(), strconv.FormatBool(len(op.Cause.Flags) > 0)).Inc()
	}
}

func (m *Metrics) refused(op *access.Operation, c access.Code) {
	m.refusals.WithLabelValues(op.Target.Name, string(c)).Inc()
}

func (m *Metrics) ended(op *access.Operation, out access.Outcome) {
	m.Open.Dec()
	t := m.of(op.Target.Name)
	t.seconds.Observe(out.Duration.Seconds())
	t.masked.Add(float64(out.Masked))
}
