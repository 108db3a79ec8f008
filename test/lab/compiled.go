package lab

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
)

// compiledParser is the parser of SQL as the first gateway of these tests compiled it, for those after it, whose data folders are
// empty: each would take seconds of computing for the same.
type compiledParser struct {
	mu  sync.Mutex
	dir string // of this process alone; empty: none is kept
}

var parsers compiledParser

// lend puts it where a gateway that has not started looks for it.
func (c *compiledParser) lend(g *Gateway) {
	from, to := filepath.Join(c.dir, "compiled"), g.Data("compiled")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dir != "" && exists(from) && !exists(to) && g.hasSQL() {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			g.t.Fatal(err)
		}
	}
}

// keep takes it from a gateway that is ready.
func (c *compiledParser) keep(g *Gateway) {
	from, to := g.Data("compiled"), filepath.Join(c.dir, "compiled")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dir != "" && exists(from) && !exists(to) {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			g.t.Fatal(err)
		}
	}
}

func (g *Gateway) hasSQL() bool {
	config, err := os.ReadFile(filepath.Join(g.Dir, "config.yaml"))
	if err != nil {
		g.t.Fatal(err)
	}
	return bytes.Contains(config, []byte("protocol: postgres"))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
