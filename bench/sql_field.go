package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gatebook/test/lab"
)

// sqlField is a PostgreSQL as Debian ships it, and what stands in front of it.
type sqlField struct {
	dir  string
	p    *lab.Postgres
	ways []sqlWay
	stop []func()
}

// sqlWay is one way to the database. Clients always speak TLS, and check the certificate.
type sqlWay struct {
	name string
	// process is nil for the direct way, which costs nobody anything.
	process *process
	gateway *gateway
	// env are libpq's variables.
	env []string
}

const (
	sqlDatabase = "bench"
	sqlRows     = 1_000_000
	// sqlConnections bounds connections: PostgreSQL has a process for each.
	sqlConnections = 500
)

// sqlSettings are for a server that is not what is measured: nothing is waited for.
const sqlSettings = "max_connections=600\nshared_buffers=384MB\nfsync=off\nsynchronous_commit=off\nautovacuum=off\nmax_parallel_workers_per_gather=0\n"

func newSQLField(ctx context.Context, dir string) (*sqlField, error) {
	f := &sqlField{dir: filepath.Join(dir, "sql")}
	if err := os.Mkdir(f.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if f.p, err = lab.NewPostgresWith(sqlSettings); err != nil {
		return nil, err
	}
	f.stop = append(f.stop, f.p.Stop)
	if err := makeCertificate(f.dir); err != nil {
		return f, err
	}
	direct := append(f.libpq(f.p.Port(), filepath.Join(f.p.Dir(), "ca.crt")), "PGUSER=postgres")
	f.ways = append(f.ways, sqlWay{name: "direct", env: direct})
	for _, argv := range [][]string{{"createdb", sqlDatabase}, {"pgbench", "-i", "-q", "-s", "5"}, {"psql", "-Xqc", peopleTable, "-c", "VACUUM ANALYZE"}} {
		if _, err := outputIn(ctx, direct, argv...); err != nil {
			return f, err
		}
	}
	return f, nil
}

// peopleTable is what row 3 reads: rows of some 130 bytes, one column of which is masked.
const peopleTable = `CREATE TABLE people AS SELECT i AS id, 'Customer number ' || i AS name, md5(i::text) || '@example.com' AS email,
	'somewhere in the north of the town, second floor, ring twice' AS note FROM generate_series(1, 1000000) i`

// libpq are the variables by which a client finds a server on that port.
func (f *sqlField) libpq(port int, ca string) []string {
	return []string{"PGHOST=localhost", "PGHOSTADDR=127.0.0.1", "PGPORT=" + strconv.Itoa(port), "PGDATABASE=" + sqlDatabase, "PGSSLMODE=verify-full", "PGSSLROOTCERT=" + ca}
}

func (f *sqlField) close() {
	for i := len(f.stop) - 1; i >= 0; i-- {
		f.stop[i]()
	}
}

// addPeers starts haproxy, which passes TLS on as it comes, and pgbouncer, with TLS on both sides as the gateway has it and without.
func (f *sqlField) addPeers() error {
	port, err := f.addPeer("haproxy, TLS passed through", "haproxy.cfg", haproxyTCP, filepath.Join(f.p.Dir(), "ca.crt"), "haproxy", "-db", "-f")
	if err != nil {
		return fmt.Errorf("haproxy on port %d: %w", port, err)
	}
	argv := []string{"pgbouncer"}
	if os.Getuid() == 0 { // as which it does not run
		argv = append(argv, "-u", "postgres")
	}
	for _, b := range []struct{ name, mode, tls string }{
		{"pgbouncer, session pooling, TLS on both sides", "session", "server_tls_sslmode=verify-full"},
		{"pgbouncer, session pooling, TLS towards the client", "session", "server_tls_sslmode=disable"},
	} {
		config := strings.NewReplacer("${mode}", b.mode, "${server_tls}", b.tls).Replace(pgbouncerConfig)
		if port, err = f.addPeer(b.name, "pgbouncer-"+strconv.Itoa(len(f.ways))+".ini", config, filepath.Join(f.dir, "ca.crt"), argv...); err != nil {
			return fmt.Errorf("pgbouncer on port %d: %w", port, err)
		}
	}
	return nil
}

// addPeer writes a peer's configuration where it can read it, and starts it.
func (f *sqlField) addPeer(name, file, config, ca string, argv ...string) (int, error) {
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	folder := filepath.Join(f.p.Dir(), strings.TrimSuffix(file, filepath.Ext(file)))
	if err := os.Mkdir(folder, 0o755); err != nil {
		return port, err
	}
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		b, err := os.ReadFile(filepath.Join(f.dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name), b, 0o644)
		}
		if err != nil {
			return port, err
		}
	}
	text := strings.NewReplacer("${port}", strconv.Itoa(port), "${upstream}", strconv.Itoa(f.p.Port()), "${dir}", folder, "${server_ca}", filepath.Join(f.p.Dir(), "ca.crt")).Replace(config)
	path := filepath.Join(folder, file)
	for name, b := range map[string]string{path: text, filepath.Join(folder, "users"): "\"postgres\" \"\"\n"} {
		if err := os.WriteFile(name, []byte(b), 0o644); err != nil {
			return port, err
		}
	}
	p, err := start(f.dir, strings.TrimSuffix(file, filepath.Ext(file)), append(argv, path)...)
	if err != nil {
		return port, err
	}
	f.stop = append(f.stop, p.stop)
	f.ways = append(f.ways, sqlWay{name: name, process: p, env: append(f.libpq(port, ca), "PGUSER=postgres")})
	return port, p.listening(fmt.Sprintf("127.0.0.1:%d", port))
}

// addGateway starts the gateway in front of the server. policy is as in newGateway.
func (f *sqlField) addGateway(o options, name, folder, policy string) error {
	gw, err := newGateway(o.Gatebook, o.Dir, folder, policy, f.p.Target(sqlDatabase, sqlDatabase, ""))
	if err != nil {
		return err
	}
	f.stop = append(f.stop, func() { gw.stop() })
	token, err := gw.sign("agent")
	if err != nil {
		return err
	}
	_, port, _ := strings.Cut(gw.postgres, ":")
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	env := append(f.libpq(n, filepath.Join(gw.dir, "data", "ca.crt")), "PGUSER=agent", "PGPASSWORD="+token)
	f.ways = append(f.ways, sqlWay{name: name, process: gw.process, gateway: gw, env: env})
	return nil
}

func (w *sqlWay) cpu() time.Duration {
	if w.process == nil {
		return 0
	}
	return w.process.cpu()
}

// settle waits until all that follows from what was asked is done: for the gateway, that its recording is sealed under a
// checkpoint, and in the index.
func (w *sqlWay) settle(ctx context.Context) error {
	if w.process == nil {
		return nil
	}
	if w.gateway != nil {
		if err := w.gateway.sealed(ctx); err != nil {
			return err
		}
	}
	w.process.quiet(ctx)
	return nil
}

// sealed waits until the gateway's book is behind in nothing.
func (g *gateway) sealed(ctx context.Context) error {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		behind, err := g.behind(ctx)
		if err != nil || behind == 0 {
			return err
		}
	}
	return fmt.Errorf("the gateway does not come to the end of its recording:\n%s", g.output())
}

var behind = regexp.MustCompile(`behind, (\d+) (bytes|frames)`)

func (g *gateway) behind(ctx context.Context) (sum int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.admin+"/readyz", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	found := behind.FindAllSubmatch(b, -1)
	if err == nil && len(found) != 2 {
		err = fmt.Errorf("the gateway says of itself: %s", b)
	}
	for _, m := range found {
		n, aerr := strconv.Atoi(string(m[1]))
		sum, err = sum+n, errors.Join(err, aerr)
	}
	return sum, err
}

const haproxyTCP = `global
  nbthread 2
defaults
  mode tcp
  timeout connect 10s
  timeout client 300s
  timeout server 300s
listen db
  bind 127.0.0.1:${port}
  server db 127.0.0.1:${upstream}
`

const pgbouncerConfig = `[databases]
* = host=localhost port=${upstream} user=postgres
[pgbouncer]
listen_addr=127.0.0.1
listen_port=${port}
unix_socket_dir=
auth_type=trust
auth_file=${dir}/users
pool_mode=${mode}
default_pool_size=100
max_client_conn=1000
ignore_startup_parameters=extra_float_digits
log_connections=0
log_disconnections=0
client_tls_sslmode=require
client_tls_cert_file=${dir}/tls.crt
client_tls_key_file=${dir}/tls.key
${server_tls}
server_tls_ca_file=${server_ca}
`
