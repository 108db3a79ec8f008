// Package store is the index: what people list and search, and the few states that must outlive the process
// (approvals, revocations, messages to be sent). It guarantees that a method that changes something has it on disk
// when it returns nil, that each change is made whole or not at all, and that changes of approvals compare with what
// was there. It is no evidence: that is the recording's, from which operations and sessions are fed again after a
// crash. It never holds a secret in clear, since it is given none.
//
// One SQLite file, one connection that writes, several that read. There is one file of code per table.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	readers            = 4
	defaultMaxMessages = 10_000
	defaultLive        = 30 * time.Minute
)

// Options of a Store. The zero value is good.
type Options struct {
	// MaxMessages bounds the messages that wait to be sent; beyond it the oldest are dropped, and said so in Log.
	// Default: 10,000.
	MaxMessages int
	// Live is how long after its last operation a session still counts as live. Default: 30 minutes.
	Live time.Duration
	Log  *slog.Logger
}

// Store is safe for concurrent use, by one process.
type Store struct {
	o     Options
	write *sql.DB // of one connection
	read  *sql.DB
	index statements
}

// Open opens the index in a file, making it, or bringing it up to this version, where needed. It refuses a file that a
// newer version made.
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	if o.MaxMessages <= 0 {
		o.MaxMessages = defaultMaxMessages
	}
	if o.Live <= 0 {
		o.Live = defaultLive
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := create(path); err != nil {
		return nil, fmt.Errorf("opening index: %w", err)
	}
	s := &Store{o: o}
	if err := s.open(ctx, path); err != nil {
		return nil, fmt.Errorf("opening index %s: %w", path, errors.Join(err, s.Close()))
	}
	return s, nil
}

// create makes the file readable by its owner alone; SQLite gives the files beside it the same mode.
func create(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func (s *Store) open(ctx context.Context, path string) (err error) {
	// FULL: every commit is synced, so that an approval that was used stays used after a power cut.
	if s.write, err = connect(path, "synchronous(full)", "journal_size_limit(67108864)", "wal_autocheckpoint(4000)", "cache_size(-16384)"); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if err := migrate(ctx, s.write); err != nil {
		return err
	}
	if s.read, err = connect(path, "query_only(1)"); err != nil {
		return err
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	return s.index.prepare(ctx, s.write)
}

func connect(path string, pragmas ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	q := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{"busy_timeout(10000)", "journal_mode(wal)"}, pragmas...)}
	c, err := sqlite.NewConnector((&url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	has, knows, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if has > knows {
		return fmt.Errorf("it is of version %d, made by a newer gatebook; this one knows up to %d", has, knows)
	}
	_, err = p.Up(ctx)
	return err
}

// Close waits for what is under way.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// update runs fn in a transaction of its own and commits it, synced. ctx bounds the wait for the turn alone: what has
// begun is finished, so that an error of ctx means that nothing changed.
func (s *Store) update(ctx context.Context, fn func(ctx context.Context, tx *sql.Tx) error) error {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	err = inTransaction(ctx, conn, fn)
	return errors.Join(err, conn.Close())
}

func inTransaction(ctx context.Context, conn *sql.Conn, fn func(ctx context.Context, tx *sql.Tx) error) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(ctx, tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// taken reports whether a uniqueness constraint refused a change.
func taken(err error) bool {
	const sqliteConstraint = 19
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqliteConstraint
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeOf(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}
