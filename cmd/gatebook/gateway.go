package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"gatebook/internal/access"
	"gatebook/internal/api"
	"gatebook/internal/api/client"
	"gatebook/internal/approval"
	"gatebook/internal/approval/webhook"
	"gatebook/internal/archive"
	"gatebook/internal/attribution"
	"gatebook/internal/config"
	"gatebook/internal/credential"
	"gatebook/internal/gate"
	"gatebook/internal/identity"
	"gatebook/internal/identity/issuer"
	"gatebook/internal/journal"
	"gatebook/internal/ledger"
	"gatebook/internal/mask"
	"gatebook/internal/protocol"
	"gatebook/internal/protocol/postgres"
	"gatebook/internal/recording"
	"gatebook/internal/server"
	"gatebook/internal/store"
)

// gateway is all parts of a running Gatebook, joined.
type gateway struct {
	cfg *config.Config
	log *slog.Logger
	// operator logs in by a code shown at the terminal; nil where people have passwords.
	operator *issuer.Operator

	keys        *keys
	store       *store.Store
	ledger      *ledger.Log
	journal     *journal.Journal
	archive     *archive.Folder
	recorder    *recording.Recorder
	masks       *mask.Engine
	keeping     sync.Mutex // held while what masks knows is put into the store
	policy      *policyFolder
	revocations *identity.Revocations
	identity    *identity.Authenticator
	embedded    *issuer.Issuer
	desk        *approval.Desk
	attribution *attribution.Attributor // nil where no target is a model
	gate        *gate.Gate
	sessions    *gate.Sessions
	server      *server.Server
	postgres    *postgres.Handler // nil: there are no such targets
	metrics     *prometheus.Registry

	background sync.WaitGroup
	stop       context.CancelFunc
	closers    []func() error // in the order of opening
}

// openGateway opens everything, and listens to nothing yet. The caller closes it.
func openGateway(ctx context.Context, cfg *config.Config, log *slog.Logger, operator *issuer.Operator) (_ *gateway, err error) {
	ctx, stop := context.WithCancel(ctx)
	g := &gateway{cfg: cfg, log: log, operator: operator, stop: stop, metrics: prometheus.NewRegistry()}
	g.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	for _, step := range []func(context.Context) error{g.openBook, g.openMasks, g.openPolicy, g.openDesk, g.openGate, g.openServer} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (g *gateway) folder(name string) string { return filepath.Join(g.cfg.Data, name) }

func (g *gateway) onClose(f func() error) { g.closers = append(g.closers, f) }

// run starts background work that ends with the gateway.
func (g *gateway) run(ctx context.Context, f func(context.Context)) {
	g.background.Go(func() { f(ctx) })
}

// Close undoes what was opened, the last first.
func (g *gateway) Close() error {
	g.stop()
	g.background.Wait()
	var errs []error
	for i := len(g.closers) - 1; i >= 0; i-- {
		errs = append(errs, g.closers[i]())
	}
	return errors.Join(errs...)
}

// indexDelay is how long an operation may take to be found; who looks for it does not feel that.
const indexDelay = 50 * time.Millisecond

// openBook opens index, ledger, journal and archive, and recovers what an earlier process left.
func (g *gateway) openBook(ctx context.Context) (err error) {
	archiveFolder := g.cfg.Recording.Archive
	if archiveFolder == "" {
		archiveFolder = g.folder("archive")
	}
	for _, d := range []string{g.cfg.Data, g.folder("journal"), g.folder("ledger"), g.folder("sealing"), g.folder("spool"), archiveFolder} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("making the data folder: %w", err)
		}
	}
	if g.keys, err = loadKeys(g.cfg.Data, g.cfg.Recording.Origin, g.cfg.Recording.Auditors); err != nil {
		return err
	}
	if g.journal, err = journal.Open(g.folder("journal"), journal.Options{}); err != nil {
		return err
	}
	g.onClose(g.journal.Close)
	if g.store, err = store.Open(ctx, g.folder("index.db"), store.Options{Live: g.cfg.Sessions.Idle, Log: g.log}); err != nil {
		return err
	}
	g.onClose(g.store.Close)
	if g.ledger, err = ledger.Open(g.folder("ledger"), ledger.Options{Origin: g.cfg.Recording.Origin, Signer: g.keys.signer}); err != nil {
		return err
	}
	g.onClose(g.ledger.Close)
	if g.archive, err = archive.OpenFolder(archiveFolder); err != nil {
		return err
	}
	g.onClose(g.archive.Close)
	if err := g.archive.Clean(time.Now()); err != nil {
		g.log.Warn("what interrupted writes left in the archive could not be removed", "error", err)
	}
	if len(g.cfg.Recording.Auditors) == 0 && g.operator == nil { // up says it at the terminal
		g.log.Warn("the key that opens recordings is on this machine; set recording.auditors, and keep theirs elsewhere", "key", g.folder("auditor.key"))
	}
	var past states
	g.recorder, err = recording.Open(recording.Options{
		Journal: g.journal, Ledger: g.ledger, Archive: g.archive, Dir: g.folder("sealing"), Recipients: g.keys.auditors, Index: g.store, IndexDelay: indexDelay,
		Durability: recording.Durability(g.cfg.Recording.Durability), SealBytes: g.cfg.Recording.SealBytes, SealAge: g.cfg.Recording.SealAge, Log: g.log,
		Indexed: func() (uint64, error) { return g.store.Passed(ctx) }, Notes: past.note,
	})
	if err != nil {
		return indexLost(err)
	}
	g.onClose(g.recorder.Close)
	g.watchBehind()
	return past.apply(ctx, g.store)
}

// openMasks makes the mask engine, which remembers across restarts what it knew to be secret.
func (g *gateway) openMasks(ctx context.Context) (err error) {
	words, err := vocabulary()
	if err != nil {
		return err
	}
	if g.masks, err = mask.New(mask.Options{Key: g.keys.mask, MinValueBytes: g.cfg.Masking.MinValueBytes, Vocabulary: words}); err != nil {
		return err
	}
	g.watchMasks()
	known, err := g.store.KnownValues(ctx)
	if err != nil {
		return err
	}
	if len(known) > 0 {
		if err := g.masks.Import(known); err != nil {
			return fmt.Errorf("reading the values known to be secret: %w", err)
		}
	}
	g.run(ctx, g.keepKnown)
	return nil
}

// keepKnown keeps what is known to be secret, as keyed hashes, whenever there is more of it.
func (g *gateway) keepKnown(ctx context.Context) {
	t := time.NewTicker(2 * time.Second)
	defer t.Stop()
	kept := g.masks.Stats().Changes
	for done := false; !done; {
		select {
		case <-t.C:
		case <-ctx.Done():
			done = true
		}
		s := g.masks.Stats()
		if s.Changes == kept {
			continue
		}
		if s.Refused > 0 {
			g.log.Warn("there are more secret values than can be recognised", "known", s.Patterns, "refused", s.Refused)
		}
		if err := g.putKnown(ctx); err != nil {
			g.log.Error("values known to be secret could not be kept for the next start", "error", err)
			continue
		}
		kept = s.Changes
	}
}

// putKnown keeps what is known now. One at a time, so that nothing older comes after what is newer.
func (g *gateway) putKnown(ctx context.Context) error {
	g.keeping.Lock()
	defer g.keeping.Unlock()
	blob, err := g.masks.Export()
	if err != nil {
		return err
	}
	return g.store.PutKnownValues(context.WithoutCancel(ctx), blob)
}

func (g *gateway) openDesk(ctx context.Context) error {
	rows, err := g.store.Revocations(ctx, time.Now())
	if err != nil {
		return err
	}
	g.revocations = identity.NewRevocations(time.Now, rows...)
	o := approval.Options{
		Store: g.store, Log: g.log, Record: g.note, Notify: g.alert,
		MayEnd:        func(p access.Principal, _ access.Approval) bool { return g.may(p, api.Approver) },
		MayApprove:    func(p access.Principal, _ access.Approval) bool { return g.may(p, api.Approver) },
		MayBreakGlass: func(p access.Principal, _ access.Approval) bool { return g.may(p, api.BreakGlass) },
	}
	if w := g.cfg.Approvals.Webhook; w.URL != "" {
		secret, err := w.Secret.Read()
		if err != nil {
			return usageError{fmt.Errorf("approvals.webhook.secret: %w", err)}
		}
		wo := webhook.Options{URL: w.URL, Secret: secret, Outbox: g.store, Log: g.log}
		if w.CAFile != "" {
			c, err := clientWithCA(w.CAFile)
			if err != nil {
				return usageError{fmt.Errorf("approvals.webhook: %w", err)}
			}
			wo.Transport = c.Transport
		}
		s, err := webhook.New(wo)
		if err != nil {
			return usageError{fmt.Errorf("approvals.webhook: %w", err)}
		}
		o.Message = webhook.Message(g.cfg.URL + client.Prefix + "approvals")
		g.run(ctx, s.Run)
	}
	g.desk = approval.New(o)
	g.run(ctx, g.desk.Run)
	g.run(ctx, g.keepHouse)
	return nil
}

// openSessions goes on with the sessions that there were.
func (g *gateway) openSessions(ctx context.Context) error {
	g.sessions = &gate.Sessions{Idle: g.cfg.Sessions.Idle, Now: time.Now, Recall: func(p access.Principal, conversation string) access.SessionID {
		id, err := g.store.Conversation(ctx, p.Key(), conversation)
		if err != nil { // then it is a session of its own
			g.log.Error("a conversation's session cannot be looked up", "error", err)
		}
		return id
	}}
	rows, err := g.store.OpenSessions(ctx, time.Now().Add(-g.cfg.Sessions.Idle))
	for _, r := range rows {
		g.sessions.Restore(r.Principal, r.ID, r.Last, r.Conversing)
	}
	return err
}

// note records what is about to happen to an approval.
func (g *gateway) note(e approval.Event) error {
	return g.recorder.Note(string(e.Approval.Operation.Session), "approval."+string(e.Kind), e)
}

// alert tells the log of what operators should see at once.
func (g *gateway) alert(e approval.Event) {
	if e.Kind == approval.BreakGlass {
		g.log.Warn("break glass", "approval", e.Approval.ID, "by", e.Answer.Approver.Name, "reason", e.Answer.Reason)
	}
}

// may says who has which role.
func (g *gateway) may(p access.Principal, r api.Role) bool {
	m := map[api.Role]config.Members{api.Approver: g.cfg.Roles.Approvers, api.Auditor: g.cfg.Roles.Auditors,
		api.Admin: g.cfg.Roles.Admins, api.BreakGlass: g.cfg.Roles.BreakGlass, api.Restorer: g.cfg.Roles.Restorers}[r]
	return m.Has(p.Name, p.Groups)
}

func (g *gateway) openGate(ctx context.Context) (err error) {
	o := gate.Options{
		Policy: func() gate.Policy { return g.policy.current() }, Approvals: g.desk, Revocations: g.revocations,
		Recorder: g.recorder, Metrics: gate.NewMetrics(g.metrics), Log: g.log,
	}
	if err := g.openAttribution(ctx); err != nil {
		return err
	}
	if err := g.openSessions(ctx); err != nil {
		return err
	}
	if g.attribution != nil {
		o.Attribution = g.attribution
	}
	g.gate, err = gate.New(o)
	return err
}

// openAttribution links operations to tool calls, where calls of a model come by here at all. It remembers those that
// were open when an earlier process ended.
func (g *gateway) openAttribution(ctx context.Context) error {
	var models []string
	for _, t := range g.cfg.Targets {
		if t.Protocol == "model" {
			models = append(models, t.Name)
		}
	}
	if len(models) == 0 {
		return nil
	}
	g.attribution = attribution.New(attribution.Options{Now: time.Now, Log: g.log, Record: func(s access.SessionID, c access.Cause) error {
		return g.recorder.Note(string(s), recording.NoteCause, c)
	}})
	if err := g.awaitIndex(ctx); err != nil {
		return err
	}
	turns, err := g.store.RecentTurns(ctx, time.Now().Add(-attribution.CallLife), models)
	g.attribution.Remember(turns)
	return err
}

// awaitIndex waits until the index has what an earlier process put on record last: what is open, and what budgets have
// used, is read from it.
func (g *gateway) awaitIndex(ctx context.Context) error {
	for began, said := time.Now(), time.Now(); ; {
		behind := g.recorder.Behind().IndexFrames
		if behind == 0 {
			return nil
		}
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			g.log.Warn("waiting for the index, which follows the journal", "frames", behind, "for", time.Since(began).Round(time.Second))
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (g *gateway) openServer(ctx context.Context) error {
	handlers, hosts, upstreams := map[string]protocol.Handler{}, map[string]string{}, map[string]*credential.Upstream{}
	for _, t := range g.cfg.Targets {
		if t.Protocol == "postgres" {
			continue // has a listener of its own
		}
		u, err := newUpstream(t, g.cfg, g.masks.Learn)
		if err != nil {
			return err
		}
		h, err := protocols()[t.Protocol](g, t, u)
		if err != nil {
			return usageError{err}
		}
		handlers[t.Name], upstreams[t.Name] = h, u
		g.onClose(func() error { u.Close(); return nil })
		for _, host := range t.Hosts {
			hosts[host] = t.Name
		}
	}
	if err := g.openIdentity(ctx, upstreams); err != nil {
		return err
	}
	g.onClose(func() error { g.identity.Close(); return nil })
	tc, err := g.tls()
	if err != nil {
		return err
	}
	if err := g.openPostgres(tc); err != nil {
		return err
	}
	proxy, err := g.proxy(handlers)
	if err != nil {
		return err
	}
	g.server = server.New(server.Options{
		Authenticate: g.identity.Authenticate, Session: g.sessions.Of, Targets: handlers, Hosts: hosts, Proxy: proxy, Own: g.own(), TLS: tc, Log: g.log,
		HeaderBytes: g.cfg.Limits.HeaderBytes, HeaderTimeout: g.cfg.Limits.HeaderTimeout, BodyTimeout: g.cfg.Limits.BodyTimeout, Streams: g.cfg.Limits.Streams,
	})
	return nil
}

func (g *gateway) tls() (*tls.Config, error) {
	cert, key := g.cfg.TLS.CertificateFile, g.cfg.TLS.KeyFile
	if cert == "" {
		names := append([]string{"localhost", "127.0.0.1"}, g.cfg.TLS.Names...)
		if u, err := url.Parse(g.cfg.URL); err == nil {
			names = append(names, u.Hostname())
		}
		for _, t := range g.cfg.Targets {
			names = append(names, t.Hosts...)
		}
		var err error
		if cert, key, err = server.SelfMade(g.cfg.Data, names); err != nil {
			return nil, err
		}
	}
	tc, err := server.Reloaded(cert, key, func(err error) { g.log.Error("the new certificate is not used", "error", err) })
	if err != nil {
		return nil, usageError{fmt.Errorf("tls: %w", err)}
	}
	return tc, nil
}

// own answers below /gatebook/.
func (g *gateway) own() http.Handler {
	o := api.Options{
		Authenticate: g.identity.Authenticate, Session: func(p access.Principal) access.SessionID { return g.sessions.Of(p, "") }, Register: func(p access.Principal, cancel func(error)) func() {
			return g.revocations.Register(p, "", cancel)
		},
		May: g.may, Index: g.store, CatchUp: g.recorder.CatchUp, Desk: g.desk, Note: g.recorder.Note,
		Revoke: g.revoke, Restore: g.restore, Forget: g.forget, Digest: g.masks.Digest, Explain: func(r *access.Record) any { return g.policy.current().ExplainRecorded(r) }, Log: g.log,
		Book: api.Book{Archive: g.archive, Ledger: os.DirFS(g.folder("ledger")), Frames: g.recorder.Frames},
	}
	for _, t := range g.cfg.Targets {
		o.Targets = append(o.Targets, g.offered(t))
	}
	if g.attribution != nil {
		o.Span = func(p access.Principal, s access.SessionID, sp attribution.Span) {
			if g.masks.Scope(s).Claimed().Clean([]byte(sp.Call)) { // else it is a secret, and no call's name; flags would repeat it
				g.attribution.Span(p, s, sp)
			}
		}
	}
	mux := http.NewServeMux()
	mux.Handle(client.Prefix, api.New(o))
	if g.embedded != nil {
		mux.Handle(embeddedPath+"/", g.embedded)
	}
	return mux
}

// revoke keeps a revocation, and then puts it in force.
func (g *gateway) revoke(ctx context.Context, r access.Revocation) error {
	if err := g.store.PutRevocation(ctx, r); err != nil {
		return err
	}
	g.revocations.Add(r)
	return nil
}

// forget makes a value known no longer, also after a restart.
func (g *gateway) forget(ctx context.Context, value []byte) (int, error) {
	n := g.masks.Forget(value)
	return n, g.putKnown(ctx)
}

// restore forgets a revocation, and then takes it out of force.
func (g *gateway) restore(ctx context.Context, id string) error {
	if _, err := g.store.DeleteRevocation(ctx, id); err != nil {
		return err
	}
	g.revocations.Remove(id)
	return nil
}

// serve answers on the listener, and on the administrative one, until ctx ends; then it drains.
func (g *gateway) serve(ctx context.Context, l, admin net.Listener) error {
	a := &http.Server{Handler: g.admin(), ReadTimeout: 5 * time.Second}
	failed := make(chan error, 3)
	databases, err := g.listenPostgres()
	if err != nil {
		return err
	}
	if databases != nil {
		go func() { failed <- g.servePostgres(databases) }()
	}
	go func() { failed <- g.server.Serve(l) }()
	go func() {
		if err := a.Serve(admin); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serving %s: %w", admin.Addr(), err)
		}
	}()
	select {
	case err = <-failed:
	case <-ctx.Done():
		g.log.Info("draining", "for", g.cfg.Drain)
	}
	g.gate.Drain()
	last, cancel := context.WithTimeout(context.Background(), g.cfg.Drain)
	defer cancel()
	g.server.Shutdown(last)
	return errors.Join(err, a.Close())
}
