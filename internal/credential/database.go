package credential

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"gatebook/internal/access"
	"gatebook/internal/gate"
)

// DatabaseOptions describe one PostgreSQL server.
type DatabaseOptions struct {
	// URL is postgres://host[:port][/database].
	URL string
	// CA holds the PEM certificates that the server's certificate must chain to. Empty: the system's.
	CA []byte
	// ServerName overrides the name that the server's certificate is checked against.
	ServerName string
	// Role that the gateway logs in as, by Password (SCRAM-SHA-256, bound to the TLS channel where the server can), which is
	// called for every login, or by Certificate.
	Role        string
	Password    func() (string, error)
	Certificate func() (*tls.Certificate, error)
	// Dial bounds connecting and logging in, 10 s by default.
	Dial time.Duration
	// Reach says which addresses may be dialled.
	Reach Reach
}

// Database is one PostgreSQL target's far side. It is safe for concurrent use.
type Database struct {
	o              DatabaseOptions
	host, database string
	port           uint16
	roots          *x509.CertPool
	dial           func(ctx context.Context, network, address string) (net.Conn, error)
}

// NewDatabase makes a Database. It dials nothing.
func NewDatabase(o DatabaseOptions) (*Database, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("upstream URL: %w", err)
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Contains(strings.TrimPrefix(u.Path, "/"), "/") {
		return nil, fmt.Errorf("upstream URL %q: want postgres://host[:port][/database] and nothing else", u.Redacted())
	}
	if o.Role == "" || (o.Password == nil) == (o.Certificate == nil) {
		return nil, errors.New("upstream has no credential: set user, and one of token, or certificate and key")
	}
	d := &Database{o: o, host: u.Hostname(), database: strings.TrimPrefix(u.Path, "/"), port: 5432}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("upstream URL %q: %q is not a port", u.Redacted(), p)
		}
		d.port = uint16(n)
	}
	if len(o.CA) > 0 {
		d.roots = x509.NewCertPool()
		if !d.roots.AppendCertsFromPEM(o.CA) {
			return nil, errors.New("upstream CA: no PEM certificate in it")
		}
	}
	if d.o.Dial == 0 {
		d.o.Dial = 10 * time.Second
	}
	d.dial = dialer(d.o.Dial, o.Reach.Check)
	return d, nil
}

// Role is the one that the gateway logs in as.
func (d *Database) Role() string { return d.o.Role }

// Name is the database that the URL names, which may be empty.
func (d *Database) Name() string { return d.database }

func (d *Database) tls() *tls.Config {
	tc := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: d.host, RootCAs: d.roots}
	if d.o.ServerName != "" {
		tc.ServerName = d.o.ServerName
	}
	if get := d.o.Certificate; get != nil {
		tc.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return get() }
	}
	return tc
}

// Dial connects and logs in under p, which lasts as long as the connection is to: it is cut when the permit's context ends.
// TLS is always used, and the certificate always checked. The error is an *access.Refusal.
func (d *Database) Dial(p gate.Permit, database string, params map[string]string) (*DatabaseConn, error) {
	if !p.Valid() {
		return nil, access.Refuse(access.CodeInternal, nil, "a connection was about to be made without a permit")
	}
	cfg, err := d.config(database, params)
	if err != nil {
		return nil, access.Refuse(access.CodeUpstream, err, "the credential of target %q cannot be read", p.Operation().Target.Name)
	}
	var from io.Reader
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		from = r
		return pgproto3.NewFrontend(r, w)
	}
	ctx, cancel := context.WithTimeout(p.Context(), d.o.Dial)
	defer cancel()
	var raw *ahead
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		raw = &ahead{Conn: conn}
		return raw, nil
	}
	c, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, dialRefusal(ctx, p, err)
	}
	h, err := c.Hijack()
	if err == nil && h.Frontend.ReadBufferLen() > 0 {
		err = errSaidMore
	}
	if err == nil {
		err = drained(h.Conn, from)
	}
	if err != nil {
		return nil, dialRefusal(ctx, p, err)
	}
	out := &DatabaseConn{conn: h.Conn, raw: raw, Params: h.ParameterStatuses, process: h.PID, key: h.SecretKey}
	out.stop = context.AfterFunc(p.Context(), func() { h.Conn.Close() })
	return out, nil
}

var errSaidMore = errors.New("the server said more than it was asked")

// drained has nobody else read c. Where a write is slow, pgconn begins to read on the side, and such a read may still wait when it has logged
// in: it would take the first answer. from is pgconn's own reader, which knows.
func drained(c net.Conn, from io.Reader) error {
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	n, err := from.Read(make([]byte, 1))
	switch {
	case n > 0:
		return errSaidMore
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	}
	return c.SetReadDeadline(time.Time{})
}

// config is made from nothing of the process's environment: no PG* variable, no password file.
func (d *Database) config(database string, params map[string]string) (*pgconn.Config, error) {
	cfg, err := pgconn.ParseConfig("host=localhost user=x password=x dbname=x sslmode=disable passfile=/dev/null")
	if err != nil {
		return nil, err
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = d.host, d.port, d.o.Role, "", database
	cfg.TLSConfig, cfg.Fallbacks, cfg.RuntimeParams = d.tls(), nil, params
	cfg.SSLNegotiation, cfg.MinProtocolVersion, cfg.MaxProtocolVersion = "postgres", "3.0", "3.0"
	cfg.ChannelBinding, cfg.RequireAuth = "prefer", "none" // by certificate there is no exchange
	cfg.KerberosSrvName, cfg.KerberosSpn, cfg.ValidateConnect, cfg.AfterConnect = "", "", nil, nil
	cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil } // it is resolved where it is dialled
	if d.o.Password != nil {
		cfg.RequireAuth = "scram-sha-256"
		cfg.Password, err = d.o.Password()
	}
	return cfg, err
}

// dialRefusal says why there is no connection. What the server says of a login names role and database at most.
func dialRefusal(ctx context.Context, p gate.Permit, err error) error {
	var said *pgconn.PgError
	if errors.As(err, &said) {
		return access.Refuse(access.CodeUpstream, err, "target %q does not let the gateway in: %s", p.Operation().Target.Name, said.Message)
	}
	return refusal(ctx, p, err)
}

// DatabaseConn is a connection that is logged in and idle. One goroutine may read while another writes.
type DatabaseConn struct {
	conn    net.Conn
	raw     *ahead // below TLS
	stop    func() bool
	process uint32
	key     []byte
	// Params are what the server has told of its parameters.
	Params map[string]string
}

// Read reads what the server says.
func (c *DatabaseConn) Read(b []byte) (int, error) { return c.conn.Read(b) }

// BeforeWaiting has do called, by the goroutine that reads, whenever all that has come is read and more is waited for. Its error ends the
// connection, as that of the next Read. It is to be called before the first Read.
func (c *DatabaseConn) BeforeWaiting(do func() error) { c.raw.before = do }

// Write sends b under p: the permit of the statement that b belongs to, or of the connection for what belongs to none.
func (c *DatabaseConn) Write(p gate.Permit, b []byte) error {
	if !p.Valid() {
		return access.Refuse(access.CodeInternal, context.Cause(p.Context()), "bytes were about to leave without a permit")
	}
	_, err := c.conn.Write(b)
	return err
}

// Close ends the connection.
func (c *DatabaseConn) Close() error {
	c.stop()
	return c.conn.Close()
}

// Cancel asks the server under p to stop what runs on c. It opens a connection for that, over TLS like any other.
func (d *Database) Cancel(p gate.Permit, c *DatabaseConn) error {
	if !p.Valid() {
		return access.Refuse(access.CodeInternal, nil, "a connection was about to be made without a permit")
	}
	ctx, cancel := context.WithTimeout(p.Context(), d.o.Dial)
	defer cancel()
	raw, err := d.dial(ctx, "tcp", net.JoinHostPort(d.host, strconv.Itoa(int(d.port))))
	if err != nil {
		return refusal(ctx, p, err)
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	if err := d.cancel(ctx, raw, c); err != nil {
		return refusal(ctx, p, err)
	}
	return nil
}
