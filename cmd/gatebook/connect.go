package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	wire "gatebook/internal/wire/postgres"
)

func addConnect(parent *cobra.Command) {
	var o connectOptions
	var proxy bool
	c := &cobra.Command{
		Use:   "connect {TARGET[/DATABASE] | --proxy} [-- COMMAND …]",
		Short: "Give programs that cannot send a token a way to a PostgreSQL target, or to the HTTP proxy",
		Long: "Listens on this machine for clients of PostgreSQL, adds your token to each connection, and passes it on to the\n" +
			"gateway over TLS. With a COMMAND it runs that with PGHOST, PGPORT, PGDATABASE and PGUSER set, and ends with it; without, it prints\n" +
			"a connection string and serves until it is interrupted.\n\n" +
			"With --proxy it listens for programs that use an HTTP proxy and cannot reach one over TLS, with HTTP_PROXY, HTTPS_PROXY and the\n" +
			"gateway's CA set for COMMAND. Its address holds a key, without which nobody on this machine can use it.",
		Example: "  gatebook connect orders -- psql\n  gatebook connect orders/archive -- pg_dump -Fc -f archive.dump\n  gatebook connect orders --listen 127.0.0.1:6543\n" +
			"  gatebook connect --proxy -- npm install",
		RunE: func(cmd *cobra.Command, args []string) error {
			if proxy {
				if at := cmd.ArgsLenAtDash(); at != 0 && len(args) > 0 {
					return usageError{errors.New("--proxy goes with no target; put -- before the command to run")}
				}
				return o.runProxy(cmd, args)
			}
			if len(args) == 0 {
				return usageError{errors.New("give a PostgreSQL target, or --proxy; gatebook whoami lists the targets")}
			}
			if at := cmd.ArgsLenAtDash(); at != 1 && len(args) > 1 {
				return usageError{errors.New("put -- before the command to run")}
			}
			return o.run(cmd, args[0], args[1:])
		},
	}
	o.flags(c)
	c.Flags().StringVar(&o.listen, "listen", "", "address for clients, as host:port; for PostgreSQL instead of a Unix socket that only you can open: anybody on this machine acts as you there")
	c.Flags().BoolVar(&proxy, "proxy", false, "be an HTTP proxy that leads to the gateway's")
	parent.AddCommand(c)
}

type connectOptions struct {
	connection
	listen string
}

func (o *connectOptions) run(cmd *cobra.Command, database string, command []string) error {
	x, err := o.open()
	if err != nil {
		return err
	}
	defer x.Close()
	me, err := x.WhoAmI(cmd.Context())
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(database, "/")
	r := &relayer{database: database, token: func(ctx context.Context) (string, error) {
		t, err := o.token(ctx)
		return t.ID, err
	}}
	for _, t := range me.Targets {
		if t.Name == name && t.Protocol == "postgres" {
			r.gateway = t.URL
		}
	}
	if r.gateway == "" {
		return usageError{fmt.Errorf("there is no PostgreSQL target %q; gatebook whoami lists the targets", name)}
	}
	if err := r.trust(o.CA); err != nil {
		return err
	}
	l, env, err := o.listener(name)
	if err != nil {
		return err
	}
	defer l.Close()
	env["PGDATABASE"], env["PGUSER"], env["PGSSLMODE"], env["PGGSSENCMODE"] = name, "agent", "disable", "disable"
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	context.AfterFunc(ctx, func() { l.Close() })
	if len(command) == 0 { // for whoever comes: each says by its own application_name of which call it is
		fmt.Fprintf(cmd.OutOrStdout(), "host=%s port=%s dbname=%s user=agent sslmode=disable\n", env["PGHOST"], env["PGPORT"], name)
		return r.serve(ctx, l)
	}
	r.trace = traceSuffix(os.Getenv("TRACEPARENT"))
	go func() {
		if err := r.serve(ctx, l); err != nil {
			slog.Error("serving clients", "error", err)
		}
	}()
	return runWith(ctx, command, env)
}

// listenHere listens at the address that was given, which must be of this machine alone: what comes there is not encrypted, and acts
// as whoever runs this.
func (o *connectOptions) listenHere() (net.Listener, error) {
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return nil, fmt.Errorf("listening for clients: %w", err)
	}
	if at, ok := l.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		l.Close()
		return nil, usageError{fmt.Errorf("--listen %s: what listens without TLS is for this machine alone; give 127.0.0.1:PORT", o.listen)}
	}
	return l, nil
}

// listener listens for clients, in a folder that only its owner can look into where no address is given.
func (o *connectOptions) listener(name string) (net.Listener, map[string]string, error) {
	if o.listen != "" {
		l, err := o.listenHere()
		if err != nil {
			return nil, nil, err
		}
		host, port, err := net.SplitHostPort(l.Addr().String())
		return l, map[string]string{"PGHOST": host, "PGPORT": port}, err
	}
	dir, err := os.MkdirTemp("", "gatebook") // 0700; the socket goes with the listener
	if err != nil {
		return nil, nil, fmt.Errorf("listening for clients: %w", err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		return nil, nil, fmt.Errorf("listening for clients: %w", err)
	}
	return removing{l, dir}, map[string]string{"PGHOST": dir, "PGPORT": "5432"}, nil
}

// removing removes its folder when it is closed.
type removing struct {
	net.Listener
	dir string
}

func (r removing) Close() error { return errors.Join(r.Listener.Close(), os.RemoveAll(r.dir)) }

// runWith runs a command on this terminal, and gives its own exit code on.
func runWith(ctx context.Context, command []string, env map[string]string) error {
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.Stdin, c.Stdout, c.Stderr, c.Env = os.Stdin, os.Stdout, os.Stderr, os.Environ()
	for k, v := range env {
		c.Env = append(c.Env, k+"="+v)
	}
	var exit *exec.ExitError
	if err := c.Run(); errors.As(err, &exit) {
		return exitError{exit.ExitCode()}
	} else if err != nil {
		return fmt.Errorf("running %s: %w", command[0], err)
	}
	return nil
}

// exitError is a command's own exit code; it has said why by itself.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("it ended with exit code %d", e.code) }

// relayer takes clients to the gateway.
type relayer struct {
	gateway, database string
	token             func(context.Context) (string, error)
	// trace goes behind the token: that of the command which is run; empty where there is none, or it serves others.
	trace string
	tls   *tls.Config
}

// trust says by which CA the gateway's certificate is checked. None: the system's.
func (r *relayer) trust(ca string) error {
	u, err := url.Parse(r.gateway)
	if err != nil {
		return fmt.Errorf("the gateway's address for PostgreSQL: %w", err)
	}
	r.gateway = u.Host
	r.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname(), NextProtos: []string{"postgresql"}}
	if ca == "" {
		return nil
	}
	b, err := os.ReadFile(ca)
	if err != nil {
		return usageError{fmt.Errorf("reading the gateway's CA: %w", err)}
	}
	r.tls.RootCAs = x509.NewCertPool()
	if !r.tls.RootCAs.AppendCertsFromPEM(b) {
		return usageError{fmt.Errorf("%s holds no certificate", ca)}
	}
	return nil
}

func (r *relayer) serve(ctx context.Context, l net.Listener) error {
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accepting a client: %w", err)
		}
		go func() {
			defer c.Close()
			if err := r.relay(ctx, c); err != nil {
				slog.Warn("a client's connection ended", "error", err)
			}
		}()
	}
}

// relay takes one client in: its startup with the target as the database, the token in answer to the gateway's question, and
// then everything as it is.
func (r *relayer) relay(ctx context.Context, client net.Conn) error {
	first, err := wire.ReadFirst(client)
	for err == nil && (first.Kind == wire.TLSRequest || first.Kind == wire.GSSRequest) {
		if _, err = client.Write([]byte{'N'}); err == nil { // what is between us is this machine
			first, err = wire.ReadFirst(client)
		}
	}
	if err != nil {
		return err
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.gateway)
	if err != nil {
		return fmt.Errorf("reaching the gateway: %w", err)
	}
	gateway := tls.Client(raw, r.tls) // TLS at once, by its ALPN
	defer gateway.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	if first.Kind == wire.Startup {
		first.Params["database"] = r.database
	}
	if _, err := gateway.Write(first.Bytes()); err != nil {
		return fmt.Errorf("reaching the gateway: %w", err)
	}
	if first.Kind == wire.Startup {
		if err := r.authenticate(ctx, gateway, client); err != nil {
			return err
		}
	}
	done := make(chan error, 2)
	go func() { _, err := io.Copy(gateway, client); gateway.CloseWrite(); done <- err }()
	go func() { _, err := io.Copy(client, gateway); client.Close(); done <- err }()
	<-done
	return nil
}

// authenticate answers the gateway's question for a password with the token. What else it says, such as a refusal, is the client's.
func (r *relayer) authenticate(ctx context.Context, gateway, client net.Conn) error {
	var ask [9]byte
	n, err := io.ReadFull(gateway, ask[:])
	if err != nil || string(ask[:]) != "R\x00\x00\x00\x08\x00\x00\x00\x03" {
		_, werr := client.Write(ask[:n])
		return werr
	}
	token, err := r.token(ctx)
	if err != nil {
		var b wire.Builder
		b.Report(wire.ErrorResponse, []wire.Report{{Code: 'S', Text: "FATAL"}, {Code: 'V', Text: "FATAL"}, {Code: 'C', Text: "28000"}, {Code: 'M', Text: "gatebook connect: " + err.Error()}})
		_, werr := client.Write(b.Bytes)
		return errors.Join(err, werr)
	}
	var b wire.Builder
	b.Begin(wire.Password).Text(token + r.trace).End()
	_, err = gateway.Write(b.Bytes)
	return err
}
