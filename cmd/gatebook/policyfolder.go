package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"gatebook/internal/policy"
)

// policyFolder holds the policy in force, and loads it again when its files change. Files that do not load change
// nothing.
type policyFolder struct {
	dir string
	set atomic.Pointer[policy.Set]
	log *slog.Logger
	// retry is how often a folder that was moved away or deleted is looked for again.
	retry time.Duration
}

func (p *policyFolder) current() *policy.Set { return p.set.Load() }

// readPolicy reads the YAML files of a folder; without one, the embedded default.
func readPolicy(dir string) (map[string][]byte, error) {
	if dir == "" {
		return policy.Default(), nil
	}
	files := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); e.IsDir() || strings.HasPrefix(e.Name(), ".") || ext != ".yaml" && ext != ".yml" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading the policy: %w", err)
		}
		files[e.Name()] = b
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("the policy folder %s holds no .yaml file; everything would be denied", dir)
	}
	return files, nil
}

func (p *policyFolder) load() error {
	files, err := readPolicy(p.dir)
	if err != nil {
		return err
	}
	set, err := policy.Load(files)
	if err != nil {
		return fmt.Errorf("policy:\n%w", err)
	}
	p.set.Store(set)
	return nil
}

func (g *gateway) openPolicy(ctx context.Context) error {
	g.policy = &policyFolder{dir: g.cfg.Policy, log: g.log, retry: 5 * time.Second}
	if err := g.policy.load(); err != nil {
		return usageError{err}
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching the policy: %w", err)
	}
	g.onClose(w.Close)
	if g.cfg.Policy != "" {
		if err := w.Add(g.cfg.Policy); err != nil {
			return fmt.Errorf("watching the policy: %w", err)
		}
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	g.onClose(func() error { signal.Stop(hup); return nil })
	g.run(ctx, func(ctx context.Context) { g.policy.watch(ctx, w, hup) })
	return nil
}

// settle is how long the folder must be quiet before it is read: editors and ConfigMaps change it in several steps.
const settle = 200 * time.Millisecond

func (p *policyFolder) watch(ctx context.Context, w *fsnotify.Watcher, hup <-chan os.Signal) {
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	again := time.NewTicker(p.retry)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.Events:
			quiet.Reset(settle)
		case err := <-w.Errors:
			if err != nil && !errors.Is(err, fsnotify.ErrClosed) {
				p.log.Error("watching the policy", "error", err)
			}
		case <-again.C: // a folder that was replaced takes its watch with it
			if p.dir != "" && !slices.Contains(w.WatchList(), filepath.Clean(p.dir)) && w.Add(p.dir) == nil {
				quiet.Reset(settle)
			}
		case <-hup:
			quiet.Reset(0)
		case <-quiet.C:
			p.reload()
		}
	}
}

func (p *policyFolder) reload() {
	before := p.current().Digest()
	if err := p.load(); err != nil {
		p.log.Error("the changed policy is not used; the one before stays in force", "error", err)
		return
	}
	if now := p.current().Digest(); now != before {
		p.log.Info("policy loaded", "digest", now)
	}
}
