package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Postgres is a running PostgreSQL, as Debian ships it, with TLS and SCRAM. Superuser postgres comes in without a password, from
// this machine alone; role gate, a superuser as well, is the gateway's.
type Postgres struct {
	dir  string
	port int
	cmd  *exec.Cmd
	// release gives the port back.
	release func()
}

// gatePassword is the gateway's own.
const gatePassword = "the-gateways-own-database-password"

// shared is one server for all tests of a process. It ends with the process.
var shared = sync.OnceValues(NewPostgres)

// StartPostgres gives the process's server.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	p, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// StopPostgres ends the process's server, where one was started.
func StopPostgres() {
	if p := running; p != nil {
		p.Stop()
	}
}

// Stop ends the server, and removes what it had.
func (p *Postgres) Stop() {
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.cmd.Process.Signal(syscall.SIGINT) // fast shutdown; what is left ends with us
		_ = p.cmd.Wait()
	}
	if p.release != nil {
		p.release()
	}
	_ = os.RemoveAll(p.dir)
}

// Dir is the server's own folder, with its certificate as ca.crt.
func (p *Postgres) Dir() string { return p.dir }

// Port is where the server listens, on 127.0.0.1.
func (p *Postgres) Port() int { return p.port }

var running *Postgres

// pgBin is where Debian keeps the server's programs.
func pgBin(name string) (string, error) {
	all, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(all) == 0 {
		return "", fmt.Errorf("there is no %s; install Debian's package postgresql", name)
	}
	return all[len(all)-1], nil
}

// serverUser is who the server runs as: not root, which it refuses.
func serverUser() (*syscall.SysProcAttr, int, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGINT}
	if os.Getuid() != 0 {
		return attr, os.Getuid(), nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, 0, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, 0, err
	}
	gid, err := strconv.Atoi(u.Gid)
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, uid, err
}

// NewPostgres starts a server that logs every statement, until StopPostgres.
func NewPostgres() (*Postgres, error) {
	p, err := NewPostgresWith("max_connections=120\nlog_statement=all\nlog_line_prefix='%a|%c| '\nlog_min_messages=warning\nmax_prepared_transactions=4\n")
	running = p
	return p, err
}

// NewPostgresWith starts a server with settings of its own, lines of postgresql.conf. It is to be stopped.
func NewPostgresWith(settings string) (*Postgres, error) {
	dir, err := os.MkdirTemp("", "gbpg")
	if err != nil {
		return nil, err
	}
	attr, uid, err := serverUser()
	if err != nil {
		return nil, err
	}
	if err := os.Chown(dir, uid, -1); err != nil {
		return nil, err
	}
	initdb, err := pgBin("initdb")
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	cmd := exec.Command(initdb, "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
	cmd.SysProcAttr, cmd.Dir = attr, dir
	if b, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, b)
	}
	p := &Postgres{dir: dir}
	if p.port, p.release, err = freePort(); err != nil {
		return nil, err
	}
	if err := p.configure(data, uid, settings); err != nil {
		return nil, err
	}
	return p, p.start(data, attr)
}

func (p *Postgres) configure(data string, uid int, settings string) error {
	certPEM, keyPEM, client, err := certificates()
	if err != nil {
		return err
	}
	conf := fmt.Sprintf("port=%d\nlisten_addresses='127.0.0.1'\nunix_socket_directories='%s'\nfsync=off\nssl=on\nssl_ca_file='server.crt'\npassword_encryption='scram-sha-256'\n%s", p.port, p.dir, settings)
	hba := "local all postgres trust\nhost all postgres 127.0.0.1/32 trust\nhostssl all " + CertificateRole + " 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
	for name, b := range map[string][]byte{"server.crt": certPEM, "server.key": keyPEM, "postgresql.auto.conf": []byte(conf), "pg_hba.conf": []byte(hba)} {
		path := filepath.Join(data, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return err
		}
		if err := os.Chown(path, uid, -1); err != nil {
			return err
		}
	}
	if err := os.WriteFile(p.ClientCertificate(), client, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.dir, "password"), []byte(gatePassword), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, "ca.crt"), certPEM, 0o644)
}

func (p *Postgres) start(data string, attr *syscall.SysProcAttr) error {
	bin, err := pgBin("postgres")
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(bin, "-D", data)
	p.cmd.SysProcAttr, p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = attr, p.dir, log, log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(Patience); ; time.Sleep(50 * time.Millisecond) {
		r, err := p.SQL("postgres", "CREATE ROLE gate SUPERUSER LOGIN PASSWORD '"+gatePassword+"'", "CREATE ROLE "+CertificateRole+" SUPERUSER LOGIN")
		if err == nil && r.Code == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("PostgreSQL does not start: %v\n%s\n%s", err, r.Out(), p.Log())
		}
	}
}

// certificates makes the server's, which is its own authority, and one for a client that logs in by it.
func certificates() (certPEM, keyPEM, client []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	if certPEM, keyPEM, err = issue(c, c, key); err != nil {
		return nil, nil, nil, err
	}
	own := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: CertificateRole}, NotBefore: c.NotBefore, NotAfter: c.NotAfter}
	cert, k, err := issue(own, c, key)
	return certPEM, keyPEM, append(cert, k...), err
}

// issue has key sign c as parent; a certificate that is its own parent has that key, any other a new one.
func issue(c, parent *x509.Certificate, key *ecdsa.PrivateKey) (certPEM, keyPEM []byte, err error) {
	own := key
	if c != parent {
		if own, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, nil, err
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, own.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	k, err := x509.MarshalECPrivateKey(own)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: k}), err
}

// CertificateRole is a superuser that logs in by ClientCertificate alone.
const CertificateRole = "gate_by_certificate"

// ClientCertificate is the file with CertificateRole's certificate and key.
func (p *Postgres) ClientCertificate() string { return filepath.Join(p.dir, "client.pem") }

// Log is what the server wrote: every statement that has reached it.
func (p *Postgres) Log() string {
	b, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// SQL runs statements directly, as the superuser.
func (p *Postgres) SQL(database string, sql ...string) (Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	args := []string{"-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-U", "postgres", "-d", database}
	for _, s := range sql {
		args = append(args, "-c", s)
	}
	cmd := exec.CommandContext(ctx, "psql", args...)
	cmd.Env = append(cleanEnv(), "PGSSLMODE=disable")
	return run(cmd)
}

// Psql gives what psql prints for a script, directly and as the superuser.
func (p *Postgres) Psql(t testing.TB, database, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "psql", "-X", "-d", p.Direct(database))
	cmd.Env, cmd.Stdin = cleanEnv(), strings.NewReader(script)
	b, _ := cmd.CombinedOutput() // what fails is to be seen
	return string(b)
}

// Admin runs SQL directly, as the superuser, and gives the rows.
func (p *Postgres) Admin(t testing.TB, database string, sql ...string) string {
	t.Helper()
	r, err := p.SQL(database, sql...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(Must(t, r).Stdout)
}

// Database makes a database that ends with the test, and gives its name.
func (p *Postgres) Database(t testing.TB, sql ...string) string {
	t.Helper()
	name := fmt.Sprintf("t%d", time.Now().UnixNano())
	p.Admin(t, "postgres", "CREATE DATABASE "+name)
	t.Cleanup(func() { p.Admin(t, "postgres", "DROP DATABASE "+name+" WITH (FORCE)") })
	if len(sql) > 0 {
		p.Admin(t, name, sql...)
	}
	return name
}

// Direct is a connection string to a database as the superuser, round the gateway.
func (p *Postgres) Direct(database string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=%s sslmode=disable", p.port, database)
}

// ClientEnv has PostgreSQL's programs reach the server directly, as the role that the gateway has.
func (p *Postgres) ClientEnv() []string {
	return []string{"PGHOST=localhost", "PGPORT=" + strconv.Itoa(p.port), "PGUSER=gate", "PGPASSWORD=" + gatePassword, "PGSSLMODE=verify-full", "PGSSLROOTCERT=" + filepath.Join(p.dir, "ca.crt")}
}

// Reach is what a gateway within a test reaches a database by.
func (p *Postgres) Reach(t testing.TB, database string) (url string, ca []byte, role, password string) {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(p.dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("postgres://localhost:%d/%s", p.port, database), ca, "gate", gatePassword
}

// Target is the configuration of a gateway's target that is a database of this server; more is further YAML, indented by four spaces.
func (p *Postgres) Target(name, database, more string) string {
	return fmt.Sprintf("  - name: %s\n    protocol: postgres\n    url: 'postgres://localhost:%d/%s'\n    caFile: %s\n    user: gate\n    token: {file: %s}\n%s",
		name, p.port, database, filepath.Join(p.dir, "ca.crt"), filepath.Join(p.dir, "password"), more)
}

// StartGateway starts the binary in front of a database, as target db. It needs no cluster.
func (p *Postgres) StartGateway(t testing.TB, bin, database string, o Options) *Gateway {
	t.Helper()
	dir := t.TempDir()
	listen, admin, sql := FreePort(t), FreePort(t), FreePort(t)
	g := &Gateway{t: t, bin: bin, env: o.Env, Dir: dir, URL: fmt.Sprintf("https://localhost:%d", listen), Admin: fmt.Sprintf("http://127.0.0.1:%d", admin), SQL: sql}
	if g.data = o.Data; g.data == "" {
		g.data = filepath.Join(dir, "data")
	}
	var err error
	if g.people, err = newPeople(filepath.Join(dir, "people.jwks")); err != nil {
		t.Fatal(err)
	}
	policy := ""
	if o.Policy != nil {
		policy = "policy: " + filepath.Join(dir, "policy") + "\n"
		g.WritePolicy(o.Policy)
	}
	config := fmt.Sprintf(`listen: 127.0.0.1:%d
listenPostgres: 127.0.0.1:%d
admin: 127.0.0.1:%d
data: %s
%sissuers:
  - {name: people, url: '%s', audiences: [gatebook], jwksFile: %s}
%stargets:
%s%sroles:
  approvers: {groups: [approvers]}
  auditors: {groups: [auditors]}
  admins: {groups: [admins]}
  breakGlass: {groups: [glass]}
drain: 1s
%s`, listen, sql, admin, g.data, policy, peopleIssuer, filepath.Join(dir, "people.jwks"), o.Issuers, p.Target("db", database, o.Target), o.Targets, o.Config)
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	g.Start()
	t.Cleanup(func() {
		g.Stop()
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", g.Log())
		}
	})
	return g
}

// DSN is a connection string for the gateway's target as the holder of token.
func (g *Gateway) DSN(token, database string) string {
	return fmt.Sprintf("host=localhost port=%d user=agent dbname=%s sslmode=verify-full sslrootcert=%s password=%s", g.SQL, database, g.Data("ca.crt"), token)
}

// Psql runs psql through the gateway, on target db.
func (g *Gateway) Psql(token, stdin string, args ...string) Result {
	g.t.Helper()
	r, err := g.PsqlContext(context.Background(), token, stdin, args...)
	if err != nil {
		g.t.Fatalf("psql %q: %v\n%s", args, err, r.Out())
	}
	return r
}

// PsqlContext is Psql that ends with ctx.
func (g *Gateway) PsqlContext(ctx context.Context, token, stdin string, args ...string) (Result, error) {
	return g.PgTool(ctx, "psql", token, stdin, append([]string{"-X", "-At", "-d", "db"}, args...)...)
}

// ClientEnv has PostgreSQL's programs reach the gateway as the holder of token.
func (g *Gateway) ClientEnv(token, user string) []string {
	return []string{"PGHOST=localhost", "PGPORT=" + strconv.Itoa(g.SQL), "PGUSER=" + user, "PGPASSWORD=" + token, "PGSSLMODE=verify-full", "PGSSLROOTCERT=" + g.Data("ca.crt")}
}

// PgTool runs a program of PostgreSQL's with the gateway as its server.
func (g *Gateway) PgTool(ctx context.Context, tool, token, stdin string, args ...string) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Env = append(append(cleanEnv(), "HOME="+g.Dir), g.ClientEnv(token, "agent")...)
	cmd.Stdin = strings.NewReader(stdin)
	r, err := run(cmd)
	if ctx.Err() != nil {
		return r, errors.Join(err, ctx.Err())
	}
	return r, err
}
